"""Draws the architectures of a run.

The run may come from anybody, so its configuration goes through the allow-list.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from nasmeta.config.schema import parse
from nasmeta.reporting.figures.architecture import draw_architecture
from nasmeta.reporting.figures.canvas import Figure
from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.read.load import Run
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.joint import AT
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE

MAX_OPERATIONS = 400
"""A drawing of more operations would be unreadable and would take long."""

MAX_CHARACTERS = 20_000
"""The longest architecture string that is read. An operation takes about ten characters."""

LEAST, MOST = 4, 500
"""How many trials, at least and at most, are looked at to see what a search preferred."""

REASON_WIDTH = 400


def drawn(run: Run, arch: str, *, trusted: bool) -> Figure | str:
    """The drawing of an architecture of the run's search space, or the reason why there is none.

    As for `nasmeta evaluate`, the configuration of a run that is not `trusted` may name nothing outside
    nasmeta.
    """
    if len(arch) > MAX_CHARACTERS:
        return f"its name has {len(arch)} characters, and more than {MAX_CHARACTERS} are not read"
    if arch == str(ADAPTIVE):
        return "every task takes an architecture of its own, so there is none to draw"
    try:
        graph = next(_graphs(run, [arch], trusted=trusted))
        if len(graph.operations) > MAX_OPERATIONS:
            return f"it has {len(graph.operations)} operations, and more than {MAX_OPERATIONS} are not drawn"
        return draw_architecture(graph)
    except Exception as error:  # whatever is stored, a page without this drawing is better than no page
        return shorten(str(error), REASON_WIDTH) or type(error).__name__


def preferred(run: Run, *, trusted: bool) -> tuple[list[ArchitectureGraph], dict[str, list[Any]]]:
    """The graphs of the trials that did not fail, in their order, and what they have by name.

    That is their mean width, their number of operations, parameters, and the settings of `tune`. Of many
    trials, only MOST are looked at. Both are empty for fewer than LEAST, or if the space cannot be built.
    """
    good = [
        r
        for r in run.results
        if r.status == "ok" and r.arch != str(ADAPTIVE) and len(r.arch) < MAX_CHARACTERS
    ]
    if len(good) < LEAST:
        return [], {}
    good = [good[i] for i in np.unique(np.linspace(0, len(good) - 1, MOST).astype(int))]
    try:
        graphs = list(_graphs(run, [result.arch for result in good], trusted=trusted))
    except Exception:  # as for a drawing; that says the reason
        return [], {}
    widths = [[width for width in graph.widths if width] for graph in graphs]
    values: dict[str, list[Any]] = {
        "mean width": [float(np.mean(row)) if row else 0.0 for row in widths],
        "operations": [len(graph.operations) - 2 for graph in graphs],
        "parameters": [result.params for result in good],
    }
    settings = [dict(_setting(each) for each in r.arch.partition(AT)[2].split(",") if each) for r in good]
    for key in settings[0]:
        values[key] = [row.get(key) for row in settings]
    return graphs, {name: row for name, row in values.items() if None not in row}


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, float(value)
    except ValueError:
        return key, value


def _graphs(run: Run, archs: list[str], *, trusted: bool) -> Iterator[ArchitectureGraph]:
    space = parse(run.config, trusted=trusted, groups=["search_space"]).build("search_space")
    return (space.drawing(space.parse(arch.partition(AT)[0])) for arch in archs)
