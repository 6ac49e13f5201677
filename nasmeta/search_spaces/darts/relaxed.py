"""All genotypes as one relaxed network: every state leads to every later node by a mixture."""

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from torch import Tensor, nn

from nasmeta.search_spaces.darts.architecture import CELLS, INPUTS, Cell, DartsGenotype
from nasmeta.search_spaces.darts.network import OPS, DartsBody
from nasmeta.search_spaces.relaxation.mixture import Alpha, MixedNodes, RelaxedNetwork
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.darts.space import DartsSpace


def relaxed(space: "DartsSpace", task: TaskSpec, relaxation: Relaxation) -> RelaxedNetwork:
    """The relaxed network in the skeleton of `build`."""
    fed = range(INPUTS, INPUTS + space.nodes)
    alpha = Alpha(CELLS, fed, len(space.ops), relaxation.inputs)

    def make_nodes(width: int, reduce: bool) -> nn.Module:
        divisor = relaxation.channel_divisor
        return MixedNodes(
            alpha, CELLS[reduce], OPS, space.ops, width, inputs=INPUTS, stride=1 + reduce, divisor=divisor
        )

    def derive(values: Mapping[str, Tensor]) -> DartsGenotype:
        normal, reduce = (_cell(space, alpha, name, values) for name in CELLS)
        return DartsGenotype(normal, reduce)

    body = DartsBody(space, task, make_nodes)
    return RelaxedNetwork(space, task, alpha, body, body.features, derive)


def _cell(space: "DartsSpace", alpha: Alpha, name: str, values: Mapping[str, Tensor]) -> Cell:
    """Each node's two strongest inputs with their heaviest operations (section 2.4 of DARTS).

    The strength of an input is the weight of its heaviest operation, times the input's own weight if inputs
    have weights. If pairs of inputs have weights, the heaviest pair is taken. Weights are those at
    temperature 1, whatever it was in training.
    """
    strengths, best = (part.split(list(alpha.fed)) for part in values[name].softmax(-1).max(-1))
    if alpha.inputs != "all":
        logits = values[f"{name}_inputs"].split(alpha.choices)
    cell = []
    for number, count in enumerate(alpha.fed):
        if alpha.inputs == "pairs":
            pairs = list(combinations(range(count), 2))
            first, second = pairs[int(logits[number].argmax())]
        else:
            strength = strengths[number]
            if alpha.inputs == "edges":
                strength = strength * logits[number].softmax(-1)
            first, second = sorted(strength.argsort(descending=True, stable=True)[:2].tolist())
        a, b = (space.ops[int(best[number][state])] for state in (first, second))
        cell.append(((a, first), (b, second)))
    return tuple(cell)
