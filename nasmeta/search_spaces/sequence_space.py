"""Spaces whose architectures are sequences of blocks: their edits, and how weights pass from one to another.

One edit is one of these:
- one attribute of one block changes; the width moves by one notch of the list;
- a block is inserted or removed next to one that differs from it in at most one attribute, the width by any
  amount;
- all widths move one notch up or down;
- an edit of the space's own (`macro_edits`).

Every edit can be undone by one edit.

A space that knows its limits (`with_draws_for`) draws architectures that spend them. The number of
parameters is log-uniform between a quarter of the limit and the limit, and widths do not shrink from input to
output: a drawn form is scaled to the number, and what is left widens single blocks, from the last to the
first. Without a limit on parameters, it is that of the hand-designed network (the widest that meets the other
limits). FLOPs are at most the limit, or else FLOPS times those of the hand-designed network. Memory and flash
are limited only if the run limits them. One draw in eight is not scaled but repaired, so that every
architecture within these limits has a positive probability.
"""

import math
import re
from abc import abstractmethod
from bisect import bisect_left
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
from nasmeta.search_spaces.count import Bits
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost, Limits

if TYPE_CHECKING:
    from nasmeta.search_spaces.morphism import Weights

B = TypeVar("B")

FLOPS = 3
"""Without a limit on FLOPs: how many times the FLOPs of the hand-designed network a draw may cost."""

LEAST = 1 / 4
"""The smallest share of the parameters that a scaled draw aims at."""

UNSCALED = 1 / 8
"""The share of the draws that are not scaled."""

SHAPES = 8
"""Forms drawn until one can be scaled to the number of parameters."""

SCALES = [2 ** (step / 8) for step in range(-64, 65)]
WIDEST = 1024
"""The widest hand-designed network that `reference_within` tries."""


@dataclass(frozen=True)
class Allowance:
    """What networks for `task` may cost: at most `params` parameters, and all else within `limits`."""

    task: TaskSpec
    params: float
    limits: Limits


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
        self._allowance: Allowance | None = None

    # What a space defines

    @property
    @abstractmethod
    def decisions(self) -> Mapping[str, Sequence[Any]]:
        """The options of each kind of decision; see decisions.Decidable."""

    @abstractmethod
    def read(self, text: str) -> A:
        """The architecture with this string, made of the space's `decisions`. Raises ArchitectureError."""

    @abstractmethod
    def variants(self, block: B, *, any_width: bool) -> tuple[tuple[B, ...], ...]:
        """The blocks that differ in one attribute, by attribute; the width by one notch or by any amount."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> A:
        """A random architecture, whatever it costs. Every architecture has a positive probability."""

    @abstractmethod
    def formula_cost(self, arch: A, task: TaskSpec, bits: Bits = 32) -> Cost:
        """What networks/cost.py counts, by formulas and without torch: a thousand times as fast."""

    @abstractmethod
    def reference_of(self, width: int) -> A:
        """The hand-designed network with this width in every block, one of `widths` or not."""

    @abstractmethod
    def forms(self) -> Iterator[A]:
        """Variants of the reference whose widths, from input to output, have promising proportions."""

    def problem(self, arch: A) -> str | None:
        """Why `arch`, made of this space's blocks, is not in the space; None if it is."""
        count = len(arch.blocks)
        if self.fewest <= count <= self.most:
            return None
        return f"{count} {self.block_name}s, and the space has {self.fewest} to {self.most}"

    def with_widths(self, arch: A, widths: Sequence[int]) -> A:
        """`arch` with another width of each block."""
        rows = zip(arch.blocks, widths, strict=True)
        return replace(arch, blocks=tuple(replace(block, width=width) for block, width in rows))

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

    def part_for_round(self, number: int, rounds: int) -> "SequenceSpace[A, B]":
        """Narrow and shallow first: the lowest widths and depths, growing in even steps to all of them."""
        space = copy(self)
        space.widths = self.widths[: options.step(1, len(self.widths), number, rounds)]
        space.most = options.step(self.shallowest, self.most, number, rounds)
        return space

    @property
    def shallowest(self) -> int:
        """The fewest blocks with which every choice but that of the depth is open."""
        return self.fewest

    # Draws that spend a budget

    def with_draws_for(self, task: TaskSpec, limits: Limits) -> "SequenceSpace[A, B]":
        space = copy(self)
        try:
            largest = space.buildable(task)
            opponent = largest.reference()
            if limits:
                opponent = largest.reference_within(
                    lambda arch: limits.allow(space.formula_cost(arch, task, limits.bits))
                )
            cost = space.formula_cost(opponent, task)
        except ArchitectureError:  # the space is for other inputs, which building a network says better
            return space
        flops = limits.flops or FLOPS * cost.flops
        space._allowance = Allowance(task, limits.params or cost.params, replace(limits, flops=flops))
        return space

    def buildable(self, task: TaskSpec) -> "SequenceSpace[A, B]":
        return self

    def sample(self, rng: np.random.Generator) -> A:
        """A random architecture; the module describes the distribution if the space knows its limits."""
        allowed = self._allowance
        if allowed is None:
            return self.draw(rng)
        space = self.buildable(allowed.task)
        if rng.random() < UNSCALED:
            repaired = space.repair(space.draw(rng), space._allows, rng)
            if repaired is not None:
                return repaired
        params = allowed.params * LEAST ** rng.random()
        fitting = None
        for _ in range(SHAPES):
            fitting = space.scaled_to(space.draw(rng), params) or fitting
            if fitting is not None and self.formula_cost(fitting, allowed.task).params >= params / 2:
                break
        return fitting or space.initial()

    def _allows(self, arch: A, params: float = math.inf) -> bool:
        """Whether `arch` costs at most what is allowed, and at most `params`."""
        assert self._allowance is not None
        allowed = self._allowance
        cost = self.formula_cost(arch, allowed.task, allowed.limits.bits)
        return cost.params <= min(params, allowed.params) and allowed.limits.allow(cost)

    def scaled_to(self, arch: A, params: float) -> A | None:
        """`arch` with ascending widths, scaled by one factor as far as `params` and the limits let it.

        What is left then widens single blocks, from the last to the first. None if none fits.
        """
        row = sorted(arch.widths)

        def scaled(scale: float) -> A:
            return self.with_widths(arch, [options.closest(self.widths, round(w * scale)) for w in row])

        fitting = bisect_left(SCALES, True, key=lambda scale: not self._allows(scaled(scale), params))
        return self._filled(scaled(SCALES[fitting - 1]), params) if fitting else None

    def _filled(self, arch: A, params: float) -> A:
        """`arch` with single blocks a notch wider, from the last to the first, while anything fits."""
        before = None
        while arch != before:
            before = arch
            for i in reversed(range(len(arch.widths))):
                row = arch.widths
                most = row[i + 1] if i + 1 < len(row) else math.inf
                wider = next((width for width in self.widths if row[i] < width <= most), row[i])
                candidate = self.with_widths(arch, [*row[:i], wider, *row[i + 1 :]])
                arch = candidate if self._allows(candidate, params) else arch
        return arch

    def relatives(self) -> list[A]:
        """The reference, then its other forms. Limits scale all of them, the reference to an even width."""
        allowed, reference = self._allowance, self.reference()
        forms: list[A | None] = [
            self.with_widths(form, [options.closest(self.widths, width) for width in form.widths])
            for form in self.forms()
        ]
        if allowed is not None:
            fitting = [even for w in self.widths if self._allows(even := self.reference_of(w))]
            reference = fitting[-1] if fitting else reference
            forms = [self.scaled_to(form, allowed.params) for form in self.forms()]
        members = [reference, *(form for form in forms if form is not None and self.problem(form) is None)]
        return list(dict.fromkeys(members))

    def reference_within(self, fits: Callable[[A], bool]) -> A:
        """The widest hand-designed network that fits, with one width, which need not be in `widths`."""
        widest = bisect_left(range(1, WIDEST + 1), True, key=lambda width: not fits(self.reference_of(width)))
        return self.reference_of(widest) if widest else self.reference()

    def cheaper(self, arch: A, rng: np.random.Generator) -> A | None:
        """One block a notch narrower, wide ones more likely; or, if all are narrow, one block less."""
        row = arch.widths
        odds = np.array([width if width > self.widths[0] else 0 for width in row], dtype=float)
        if odds.any():
            at = int(rng.choice(len(row), p=odds / odds.sum()))
            narrower = max(width for width in self.widths if width < row[at])
            return self.with_widths(arch, [*row[:at], narrower, *row[at + 1 :]])
        removed = (replace(arch, blocks=blocks) for blocks in sequence.shorter(arch.blocks))
        return sequence.choose([other for other in removed if self.problem(other) is None], rng)

    # Strings and edits

    def parse(self, text: str) -> A:
        width = re.search(r"[1-9]\d*(?=\.)", text)
        if width and len(width[0]) < 6 and str(found := self.reference_of(int(width[0]))) == text:
            return found  # an opponent under limits, of whatever width
        return self._drawable(text)

    def contains(self, arch: A) -> bool:
        try:
            return self._drawable(str(arch)) == arch
        except ArchitectureError:
            return False

    def _drawable(self, text: str) -> A:
        """The architecture `text`, if it can be drawn. Raises ArchitectureError that says what is wrong."""
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
