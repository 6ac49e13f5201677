"""Architectures as sequences of decisions: what controllers and other sequence models need of a space."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from nasmeta.search_spaces.base import Architecture

A_co = TypeVar("A_co", bound=Architecture, covariant=True)
T = TypeVar("T")


class Choose(Protocol):
    """Takes one decision: an element of `options`, which are one or more of the space's `decisions[kind]`."""

    def __call__(self, kind: str, options: Sequence[T]) -> T: ...


@runtime_checkable
class Decidable(Protocol[A_co]):
    """A space that says which decisions make an architecture; optional, beside SearchSpace.

    `decisions` maps each kind of decision to all its options, in a fixed order: the vocabularies of a
    controller, which learns one embedding and one softmax a kind. Decisions of one kind share what is
    learned: a width is the same thing in every layer.
    """

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        """Kind -> options; hashable, each once."""

    def decide(self, choose: Choose) -> A_co:
        """The architecture that `choose` makes, called once a decision, in an order that suits the space.

        Which decisions come, and which options they have, may depend on what was chosen before, so that
        every sequence of answers ends inside the space; each architecture is the end of exactly one.
        """
