"""The architectures of a run, drawn. It may be anybody's: its configuration goes through the allow-list."""

from typing import TYPE_CHECKING

from nasmeta.config.schema import parse
from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.plots import draw_architecture

if TYPE_CHECKING:
    from nasmeta.reporting.figures import Figure
    from nasmeta.reporting.load import Run

MAX_OPERATIONS = 400
"""A drawing of more would not be read, and takes long."""

MAX_CHARACTERS = 20_000
"""An operation takes about ten."""

REASON_WIDTH = 400

ADAPTIVE = "adaptive"
"""How the architecture prints of which every task takes its own (search_spaces/relaxation/adaptive.py)."""


def drawn(run: "Run", arch: str, *, trusted: bool) -> "Figure | str":
    """The drawing of an architecture of the run's search space, or the reason why there is none.

    Unless the run is trusted, its configuration may name nothing outside nasmeta, as for `nasmeta evaluate`.
    """
    if len(arch) > MAX_CHARACTERS:
        return f"its name has {len(arch)} characters, and more than {MAX_CHARACTERS} are not read"
    if arch == ADAPTIVE:
        return "every task takes an architecture of its own, so there is none to draw"
    try:
        space = parse(run.config, trusted=trusted).build("search_space")
        graph = space.graph(space.parse(arch))
        if len(graph.operations) > MAX_OPERATIONS:
            return f"it has {len(graph.operations)} operations, and more than {MAX_OPERATIONS} are not drawn"
        return draw_architecture(graph)
    except Exception as error:  # a page without this drawing is better than none, whatever is stored
        return shorten(str(error), REASON_WIDTH) or type(error).__name__
