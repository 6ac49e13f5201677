"""Edits of architectures that are a sequence of blocks, whatever a block is.

All edits follow from a space's functions `variants(block)`: the blocks that differ from `block` in one
attribute, grouped by attribute, in a fixed order. They must be symmetric: if y is a variant of x, then x is a
variant of y. Two sequences are one edit apart if
- one block is replaced by a variant of it, or
- a block is inserted next to an equal block or next to a variant of it (or removed from there). A space may
  allow more variants here than for replacements, because an insertion has no smaller step.

Both relations are symmetric, so a space that filters them by membership has symmetric neighbours.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

B = TypeVar("B", bound=Hashable)
T = TypeVar("T")
Blocks = tuple[B, ...]
Variants = Callable[[B], tuple[tuple[B, ...], ...]]
DrawEdit = Callable[[Blocks[B], Variants[B], np.random.Generator], Blocks[B] | None]

DRAWS = 64


def replacements(blocks: Blocks[B], variants: Variants[B]) -> Iterator[Blocks[B]]:
    """Every sequence with one block replaced by a variant, in order of position."""
    for i, block in enumerate(blocks):
        for group in variants(block):
            for new in group:
                yield (*blocks[:i], new, *blocks[i + 1 :])


def insertions(blocks: Blocks[B], variants: Variants[B]) -> Iterator[Blocks[B]]:
    """Every sequence with one more block: a copy or a variant of its left or right neighbour."""
    for i, block in enumerate(blocks):
        for new in (block, *(new for group in variants(block) for new in group)):
            yield (*blocks[:i], new, *blocks[i:])
            yield (*blocks[: i + 1], new, *blocks[i + 1 :])


def removals(blocks: Blocks[B], variants: Variants[B]) -> Iterator[Blocks[B]]:
    """Every sequence with one block less, if an insertion could put that block back."""
    for i, block in enumerate(blocks):
        beside = blocks[max(i - 1, 0) : i] + blocks[i + 1 : i + 2]
        like = {block, *(near for group in variants(block) for near in group)}
        if like.intersection(beside):
            yield (*blocks[:i], *blocks[i + 1 :])


def shorter(blocks: Blocks[B]) -> Iterator[Blocks[B]]:
    """Every sequence with one block less."""
    for i in range(len(blocks)):
        yield (*blocks[:i], *blocks[i + 1 :])


def notches(widths: Sequence[int], width: int) -> list[int]:
    """The widths of the list next to `width`: one notch narrower, one wider."""
    i = bisect_left(widths, width)
    return [*widths[max(i - 1, 0) : i], *widths[bisect_right(widths, width) :][:1]]


def scaled(widths: Sequence[int], row: Sequence[int]) -> list[list[int]]:
    """`row` with all widths one notch down, and up, unless one of them is already at the end of the list."""
    rows = []
    for step in (-1, 1):
        places = [bisect_left(widths, width) + step for width in row]
        if min(places) >= 0 and max(places) < len(widths):
            rows.append([widths[place] for place in places])
    return rows


def draw_replacement(blocks: Blocks[B], variants: Variants[B], rng: np.random.Generator) -> Blocks[B] | None:
    """One of `replacements`: position, then attribute, then value, each drawn uniformly."""
    i = int(rng.integers(len(blocks)))
    new = _draw_variant(blocks[i], variants, rng)
    return None if new is None else (*blocks[:i], new, *blocks[i + 1 :])


def draw_insertion(blocks: Blocks[B], variants: Variants[B], rng: np.random.Generator) -> Blocks[B] | None:
    """One of `insertions`: position, then a copy or (evenly) a variant of it, then the side."""
    i = int(rng.integers(len(blocks)))
    new = blocks[i] if rng.random() < 0.5 else _draw_variant(blocks[i], variants, rng)
    at = i + int(rng.integers(2))
    return None if new is None else (*blocks[:at], new, *blocks[at:])


def draw_removal(blocks: Blocks[B], variants: Variants[B], rng: np.random.Generator) -> Blocks[B] | None:
    """One of `removals`, uniform over positions; None if no block may be removed."""
    return choose(list(removals(blocks, variants)), rng)


def choose(options: Sequence[T], rng: np.random.Generator) -> T | None:
    """One of `options`, uniformly; None if there are none."""
    return options[int(rng.integers(len(options)))] if options else None


def _draw_variant(block: B, variants: Variants[B], rng: np.random.Generator) -> B | None:
    group = choose([group for group in variants(block) if group], rng)
    return None if group is None else choose(group, rng)


def draw_edit(
    edits: Sequence[tuple[float, Callable[[], T | None]]],
    accept: Callable[[T], bool],
    rng: np.random.Generator,
) -> T | None:
    """The first accepted result of edits drawn by their weights; None after DRAWS refusals in a row."""
    weights = np.array([weight for weight, _ in edits])
    for kind in rng.choice(len(edits), size=DRAWS, p=weights / weights.sum()):
        result: T | None = edits[int(kind)][1]()
        if result is not None and accept(result):
            return result
    return None


def one_point_crossover(
    a: Blocks[B], b: Blocks[B], accept: Callable[[Blocks[B]], bool], rng: np.random.Generator
) -> Blocks[B]:
    """A prefix of `a` followed by a suffix of `b`, uniform over the accepted cuts.

    Cuts that take nothing from one parent are used only if no other is accepted. If none is accepted (which
    needs a parent that is itself not accepted), the result is `a`.
    """
    cuts = [(i, j) for i in range(len(a) + 1) for j in range(len(b) + 1)]
    accepted = [(i, j) for i, j in cuts if accept(a[:i] + b[j:])]
    mixed = [(i, j) for i, j in accepted if i > 0 and j < len(b)]
    cut = choose(mixed or accepted, rng)
    return a if cut is None else a[: cut[0]] + b[cut[1] :]


def column(
    options: Sequence[T], length: int, rng: np.random.Generator, weights: Sequence[float] | None = None
) -> list[T]:
    """One option per block: with probability 1/2 the same for all, otherwise drawn for each.

    Hand-designed networks repeat one choice, and searches need freedom: so both are likely, and every column
    has a positive probability. `weights` (default: equal) need not sum to one.
    """
    bounds = list(accumulate(weights or [1.0] * len(options)))
    same = rng.random() < 0.5
    draws = rng.random(1 if same else length).tolist()
    row = [options[bisect_right(bounds, draw * bounds[-1], hi=len(options) - 1)] for draw in draws]
    return row * length if same else row


def widths_column(widths: Sequence[int], length: int, rng: np.random.Generator) -> list[int]:
    """One width per block from the ascending `widths`: a pyramid, a constant, or anything.

    With probability 1/2 independent draws in ascending order (a growing pyramid, such as 24-48-64-96); with
    1/4 one draw for all (as in the 4-conv network); with 1/4 independent draws, unsorted.
    """
    shape = rng.random()
    constant = shape >= 0.75
    places = rng.integers(len(widths), size=1 if constant else length).tolist()
    row = [widths[place] for place in (sorted(places) if shape < 0.5 else places)]
    return row * length if constant else row
