"""Which tensors the networks of a space share when one set of weights serves them all.

Nothing is masked. The sub-network of an architecture is the plain network that `build` makes,
and each of its parameters is the leading part of a shared tensor along every dimension (the "slimmable"
widths of Yu et al. 2019, arXiv:1812.08928). A space says which tensor: parameters of two architectures with
the same shared name are the same weights.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

from nasmeta.search_spaces.base import A

Edge = tuple[int, int, str]
"""An edge of a cell: source, target and operation. States are numbered, first the cell's inputs."""


@dataclass(frozen=True)
class Sharing(Generic[A]):
    """How the architectures of a space share weights, for tasks of one kind.

    name: maps an architecture and the name of a parameter of its network to the shared name. No two
    parameters of a network have the same.
    largest: architectures that can be built, in the space or not. Their networks together contain every
    shared tensor, and each of its dimensions at full length. The first one that has a tensor in full length
    along dimension 0 gives its initial values.
    """

    largest: Callable[[], Iterable[A]]
    name: Callable[[A, str], str]


def edge_name(name: str, edges: Sequence[Edge]) -> str:
    """The shared name of a parameter of a network of cells; `edges` are those of the cell that it is in.

    In each cell, an edge has one set of weights per operation. The names are those of a relaxed network.
    """
    place, ops, rest = name.partition(".ops.")  # body.cells.3.nodes.ops.5.1.weight
    if not ops:
        return name
    number, _, parameter = rest.partition(".")
    source, target, op = edges[int(number)]
    return f"{place}.edges.{source}-{target}.ops.{op}.{parameter}"
