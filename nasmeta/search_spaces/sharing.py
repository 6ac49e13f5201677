"""Which tensors the networks of a space share when one set of weights serves them all.

A network is never masked or switched. The sub-network of an architecture is the network that `build` makes,
and each of its parameters is the leading part of a shared tensor along every dimension (the "slimmable"
widths of Yu et al. 2019, arXiv:1812.08928). A space says which tensor: parameters of two architectures with
the same shared name are the same weights.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nasmeta.search_spaces.base import Architecture

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class Sharing(Generic[A]):
    """How the architectures of a space share weights, for tasks of one kind.

    name: (architecture, parameter of its network) -> shared name. It differs for any two parameters of a
    network.

    largest: buildable architectures, members of the space or not. Their networks together contain every
    shared tensor, and each of its dimensions at full length. The first one that has a tensor in full length
    along dimension 0 gives its initial values.
    """

    largest: Callable[[], Iterable[A]]
    name: Callable[[A, str], str]
