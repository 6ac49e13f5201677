"""A space with one more architecture, `adaptive`: the relaxed network, from which each task takes its own."""

from copy import copy
from dataclasses import dataclass
from functools import partial
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
    """The same space, which also reads, draws and builds `adaptive`. No edit leads to it."""
    wider = copy(space)
    wrapped = {
        "parse": partial(_parse, space),
        "graph": partial(_graph, space),
        "build": partial(_build, space, relaxation),
    }
    vars(wider).update(wrapped)
    return wider


def _parse(space: SearchSpace[Any], text: str) -> Any:
    return ADAPTIVE if text == str(ADAPTIVE) else space.parse(text)


def _graph(space: SearchSpace[Any], arch: Any) -> ArchitectureGraph:
    """Input and output only: what is between them differs from task to task."""
    return GraphBuilder().finish(0) if arch == ADAPTIVE else space.graph(arch)


def _build(space: SearchSpace[Any], relaxation: Relaxation, arch: Any, task: TaskSpec) -> "FewShotNetwork":
    return space.relaxed(task, relaxation) if arch == ADAPTIVE else space.build(arch, task)
