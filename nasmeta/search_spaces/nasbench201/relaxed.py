"""All NAS-Bench-201 cells as one relaxed network: five weighted operations per edge, including "none"."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from nasmeta.errors import ConfigError
from nasmeta.search_spaces.nasbench201.architecture import NODES, OPERATIONS, Nasbench201Cell
from nasmeta.search_spaces.nasbench201.network import OPS, skeleton
from nasmeta.search_spaces.relaxation.mixture import Alpha, MixedNodes, RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.nasbench201.space import Nasbench201Space


def relaxed(space: "Nasbench201Space", task: TaskSpec, relaxation: Relaxation) -> RelaxedNetwork:
    """The relaxed network in the skeleton of `build`.

    Raises ConfigError for pairs of inputs: a node has all its edges, so there is nothing to choose.
    """
    if relaxation.inputs == "pairs":
        raise ConfigError(
            "strategy.inputs: pairs chooses two inputs of a node, and a cell of nasbench201 has all of them; "
            "use all or edges, or search_space=darts"
        )
    alpha = Alpha(("cell",), range(1, NODES), len(OPERATIONS), relaxation.inputs)
    body, features = skeleton(
        space,
        task,
        lambda width: MixedNodes(
            alpha, "cell", OPS, OPERATIONS, width, inputs=1, stride=1, divisor=relaxation.channel_divisor
        ),
    )
    return RelaxedNetwork(space, task, alpha, body, features, derive)


def derive(alpha: Mapping[str, Tensor]) -> Nasbench201Cell:
    """The cell with the heaviest operation of each edge; it may be "none", as in the benchmark's searches."""
    return Nasbench201Cell(tuple(OPERATIONS[i] for i in alpha["cell"].argmax(-1).tolist()))
