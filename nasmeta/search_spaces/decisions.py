"""Architectures as sequences of decisions, for controllers and other sequence models."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from nasmeta.search_spaces.base import Architecture

A_co = TypeVar("A_co", bound=Architecture, covariant=True)
T = TypeVar("T")


class Choose(Protocol):
    """Takes one decision: returns one of `options`, which are one or more of `decisions[kind]`."""

    def __call__(self, kind: str, options: Sequence[T]) -> T: ...


@runtime_checkable
class Decidable(Protocol[A_co]):
    """A space whose architectures are sequences of decisions. A SearchSpace need not be one.

    `decisions` maps each kind of decision to all its options, in a fixed order. These are the vocabularies of
    a controller, which learns one embedding and one softmax per kind. Decisions of one kind share what is
    learned: a width means the same in every layer.
    """

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        """Kind -> options; options are hashable, and each comes once."""

    def decide(self, choose: Choose) -> A_co:
        """Builds an architecture by calling `choose` once per decision.

        Which decision comes next, and its options, may depend on earlier choices. Every sequence of answers
        ends inside the space, and exactly one leads to each architecture.
        """
