"""A space with one architecture more, `adaptive`: the relaxed network, of which every task takes its own."""

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
    """All architectures of a space at once."""

    def __str__(self) -> str:
        return "adaptive"


ADAPTIVE = Adaptive()


def with_adaptive(space: SearchSpace[Any], relaxation: Relaxation) -> SearchSpace[Any]:
    """The same space, which also reads, draws and builds `adaptive`; its edits do not lead there."""
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
    """Input and output: what is between them is a task's own."""
    return GraphBuilder().finish(0) if arch == ADAPTIVE else space.graph(arch)


def _build(space: SearchSpace[Any], relaxation: Relaxation, arch: Any, task: TaskSpec) -> "FewShotNetwork":
    return space.relaxed(task, relaxation) if arch == ADAPTIVE else space.build(arch, task)
