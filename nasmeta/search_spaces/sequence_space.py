"""Spaces whose architectures are sequences of blocks: their edits, and how weights pass from one to another.

One edit is one of these:
- one attribute of one block changes; the width moves by one notch of the list;
- a block is inserted or removed next to one that differs from it in at most one attribute, the width by any
  amount;
- all widths move one notch up or down;
- an edit of the space's own (`macro_edits`).

Every edit can be undone by one edit.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import options, sequence, tokens
from nasmeta.search_spaces.base import SearchSpace

if TYPE_CHECKING:
    from nasmeta.search_spaces.morphism import Weights

B = TypeVar("B")


@dataclass(frozen=True)
class BlockSequence(Generic[B]):
    """An architecture: blocks from input to output, each with a `width`."""

    blocks: tuple[B, ...]

    @property
    def widths(self) -> list[int]:
        """The width of each block."""
        blocks: tuple[Any, ...] = self.blocks
        return [block.width for block in blocks]


A = TypeVar("A", bound=BlockSequence[Any])


class SequenceSpace(SearchSpace[A], Generic[A, B]):
    """Sequences of `fewest` to `most` blocks, whose widths are in the ascending list `widths`.

    block_name: what a network's body calls a block: body.<block_name><number>, from 1.
    """

    block_name: ClassVar[str]

    def __init__(self, *, fewest: int, most: int, widths: Sequence[int]) -> None:
        self.fewest, self.most = fewest, most
        self.widths = tuple(widths)

    # What a space defines

    @property
    @abstractmethod
    def decisions(self) -> Mapping[str, Sequence[Any]]:
        """The options of each kind of decision; see decisions.Decidable."""

    @abstractmethod
    def read(self, text: str) -> A:
        """The architecture with this string, made of the space's `decisions`. Raises ArchitectureError."""

    @abstractmethod
    def problem(self, arch: A) -> str | None:
        """Why `arch`, made of this space's blocks, is not in the space; None if it is."""

    @abstractmethod
    def variants(self, block: B, *, any_width: bool) -> tuple[tuple[B, ...], ...]:
        """The blocks that differ in one attribute, by attribute; the width by one notch or by any amount."""

    @abstractmethod
    def with_widths(self, arch: A, widths: Sequence[int]) -> A:
        """`arch` with another width of each block."""

    def macro_edits(self, arch: A) -> Sequence[tuple[float, Sequence[A]]]:
        """Edits beyond those of any sequence: a weight, as in `mutate`, and what they lead to."""
        return ()

    def transparent(self, blocks: Sequence[B], number: int, fresh: "Weights") -> "Weights":
        """Weights of the inserted block `number` that pass its input on if its form allows it, else `fresh`.

        `fresh` are its new weights, named as in the block.
        """
        return fresh

    def grows(self, old: B, new: B) -> bool:
        """Whether a block's weights can grow into those of another; otherwise equal shapes are copied."""
        return True

    # What follows for all

    @property
    def depths(self) -> tuple[int, ...]:
        """The possible numbers of blocks."""
        return tuple(range(self.fewest, self.most + 1))

    def widened(self, number: int, rounds: int) -> "SequenceSpace[A, B]":
        """Narrow and shallow first: the lowest widths and depths, growing in even steps to all of them."""
        space = copy(self)
        space.widths = self.widths[: options.step(1, len(self.widths), number, rounds)]
        space.most = options.step(self.shallowest, self.most, number, rounds)
        return space

    @property
    def shallowest(self) -> int:
        """The fewest blocks with which every choice but that of the depth is open."""
        return self.fewest

    def parse(self, text: str) -> A:
        arch = self.read(text)
        problem = self.problem(arch)
        if problem:
            raise ArchitectureError(f"{tokens.quote(text)} is not in the search space: {problem}")
        return arch

    def other_widths(self, width: int, *, any_width: bool) -> list[int]:
        """The widths to which that of a block may change."""
        if any_width:
            return [other for other in self.widths if other != width]
        return sequence.notches(self.widths, width)

    def neighbors(self, arch: A) -> Iterator[A]:
        blocks = arch.blocks
        near, alike = self._variants()
        edits = chain(
            sequence.replacements(blocks, near),
            sequence.insertions(blocks, alike),
            sequence.removals(blocks, alike),
        )
        seen = {arch}
        for candidate in chain(
            (replace(arch, blocks=edited) for edited in edits),
            self._scaled(arch),
            *(archs for _, archs in self.macro_edits(arch)),
        ):
            if candidate not in seen and self.problem(candidate) is None:
                seen.add(candidate)
                yield candidate

    def mutate(self, arch: A, rng: np.random.Generator) -> A:
        """A random neighbour, with odds 10 : 5 : 2 for an attribute, the depth, and the scale.

        An edit that does not apply or leaves the space is drawn again. Raises ArchitectureError if `arch` is
        the only architecture of the space.
        """
        near, alike = self._variants()

        def edited(draw: sequence.DrawEdit[B], variants: sequence.Variants[B]) -> A | None:
            blocks = draw(arch.blocks, variants, rng)
            return None if blocks is None else replace(arch, blocks=blocks)

        edits: list[tuple[float, Callable[[], A | None]]] = [
            (10, lambda: edited(sequence.draw_replacement, near)),
            (2.5, lambda: edited(sequence.draw_insertion, alike)),
            (2.5, lambda: edited(sequence.draw_removal, alike)),
            (2, lambda: sequence.choose(self._scaled(arch), rng)),
            *((weight, partial(sequence.choose, archs, rng)) for weight, archs in self.macro_edits(arch)),
        ]
        drawn = sequence.draw_edit(edits, lambda new: new != arch and self.problem(new) is None, rng)
        found = drawn or sequence.choose(list(self.neighbors(arch)), rng)
        if found is None:
            raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
        return found

    def crossover(self, a: A, b: A, rng: np.random.Generator) -> A:
        """The first blocks of one parent, the last blocks of the other, and all else from either.

        Cuts are drawn among those that need no repair, so each block comes unchanged from a parent. Which
        parent gives the first blocks is random too.
        """
        first, second = (a, b) if rng.random() < 0.5 else (b, a)
        frame = first if rng.random() < 0.5 else second

        def accept(blocks: sequence.Blocks[B]) -> bool:
            return self.problem(replace(frame, blocks=blocks)) is None

        blocks = sequence.one_point_crossover(first.blocks, second.blocks, accept, rng)
        return replace(frame, blocks=blocks)

    def _variants(self) -> tuple[sequence.Variants[B], sequence.Variants[B]]:
        """The variants for replacements, and for insertions and removals."""
        return partial(self.variants, any_width=False), partial(self.variants, any_width=True)

    def _scaled(self, arch: A) -> list[A]:
        return [self.with_widths(arch, row) for row in sequence.scaled(self.widths, arch.widths)]

    def morph(
        self, old: A, new: A, weights: "Weights", fresh: "Weights", rng: np.random.Generator
    ) -> "Weights":
        """Weights grow block by block, along the cheapest alignment of both sequences; see morphism.py."""
        from nasmeta.search_spaces.morphism import morphed

        return morphed(
            old.blocks,
            new.blocks,
            weights,
            fresh,
            f"body.{self.block_name}",
            grows=self.grows,
            inserted=self.transparent,
            rng=rng,
        )
