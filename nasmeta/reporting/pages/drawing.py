"""Draws the architectures of a run.

The run may come from anybody, so its configuration goes through the allow-list.
"""

from nasmeta.config.schema import parse
from nasmeta.reporting.figures.architecture import draw_architecture
from nasmeta.reporting.figures.canvas import Figure
from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.read.load import Run

MAX_OPERATIONS = 400
"""A drawing of more operations would be unreadable and would take long."""

MAX_CHARACTERS = 20_000
"""The longest architecture string that is read. An operation takes about ten characters."""

REASON_WIDTH = 400

ADAPTIVE = "adaptive"
"""How an architecture prints if every task has its own (see search_spaces/relaxation/adaptive.py)."""


def drawn(run: Run, arch: str, *, trusted: bool) -> Figure | str:
    """The drawing of an architecture of the run's search space, or the reason why there is none.

    As for `nasmeta evaluate`, the configuration of a run that is not `trusted` may name nothing outside
    nasmeta.
    """
    if len(arch) > MAX_CHARACTERS:
        return f"its name has {len(arch)} characters, and more than {MAX_CHARACTERS} are not read"
    if arch == ADAPTIVE:
        return "every task takes an architecture of its own, so there is none to draw"
    try:
        space = parse(run.config, trusted=trusted, groups=["search_space"]).build("search_space")
        graph = space.drawing(space.parse(arch))
        if len(graph.operations) > MAX_OPERATIONS:
            return f"it has {len(graph.operations)} operations, and more than {MAX_OPERATIONS} are not drawn"
        return draw_architecture(graph)
    except Exception as error:  # whatever is stored, a page without this drawing is better than no page
        return shorten(str(error), REASON_WIDTH) or type(error).__name__
