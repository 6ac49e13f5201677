"""A space with one more architecture, `adaptive`: the relaxed network, from which each task takes its own."""

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The architecture that stands for all architectures of a space at once."""

    def __str__(self) -> str:
        return "adaptive"


ADAPTIVE = Adaptive()


def with_adaptive(space: SearchSpace[Any], relaxation: Relaxation) -> SearchSpace[Any]:
    """The same space, which also parses and builds `adaptive`. No draw and no edit leads to it."""

    def parse(text: str) -> Any:
        return ADAPTIVE if text == str(ADAPTIVE) else space.parse(text)

    def graph(arch: Any) -> ArchitectureGraph:
        """Of `adaptive`, input and output only: what is between them differs from task to task."""
        return GraphBuilder().finish(0) if arch == ADAPTIVE else space.graph(arch)

    def build(arch: Any, task: TaskSpec) -> "FewShotNetwork":
        return space.relaxed(task, relaxation) if arch == ADAPTIVE else space.build(arch, task)

    wider = copy(space)
    vars(wider).update(parse=parse, graph=graph, build=build)
    return wider
