"""Edits of conv architectures: what is one step away, and how two are crossed.

One edit is one of these:
- one attribute of one block changes. The width moves by one notch of the list. An operation change to or from
  "res" may remove or add the skip, which "res" does not have;
- a block is inserted or removed next to one that differs from it in at most one attribute, the width by any
  amount;
- all widths move one notch up or down;
- a downsampling moves to the next or the previous block;
- the head changes.

Every edit can be undone by one edit, and edits connect the space.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import sequence
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, skips

if TYPE_CHECKING:
    from nasmeta.search_spaces.conv.space import ConvSpace

ConvBlocks = sequence.Blocks[ConvBlock]


def variants(space: "ConvSpace", block: ConvBlock, *, any_width: bool) -> tuple[tuple[ConvBlock, ...], ...]:
    """The blocks that differ from `block` in one attribute, by attribute; the width by one notch or any."""
    widths = space.widths if any_width else sequence.notches(space.widths, block.width)
    return (
        _other_operations(space, block),
        tuple(replace(block, width=width) for width in widths if width != block.width),
        tuple(replace(block, norm=norm) for norm in space.norms if norm != block.norm),
        tuple(replace(block, activation=a) for a in space.activations if a != block.activation),
        tuple(replace(block, downsample=d) for d in ("none", *space.downsamples) if d != block.downsample),
        tuple(replace(block, skip=skip) for skip in skips(block.token, space.skips) if skip != block.skip),
        tuple(replace(block, se=se) for se in space.ses if se != block.se),
    )


def _other_operations(space: "ConvSpace", block: ConvBlock) -> tuple[ConvBlock, ...]:
    found = []
    for token in space.ops:
        op, kernel = OPERATIONS[token]
        if token != block.token:
            free = (op == "res") != (block.op == "res")
            allowed = skips(token, space.skips) if free else (block.skip,)
            found += [replace(block, op=op, kernel=kernel, skip=skip) for skip in allowed]
    return tuple(found)


def neighbors(space: "ConvSpace", arch: ConvArchitecture) -> Iterator[ConvArchitecture]:
    """Every architecture of the space that is one edit away from `arch`, each once, in a fixed order."""
    near = partial(variants, space, any_width=False)
    alike = partial(variants, space, any_width=True)
    seen = {arch}
    for edit in (
        sequence.replacements(arch.blocks, near),
        sequence.insertions(arch.blocks, alike),
        sequence.removals(arch.blocks, alike),
    ):
        yield from _new(space, (ConvArchitecture(blocks, arch.head) for blocks in edit), seen)
    macro = [*_scaled(space, arch.blocks), *_moved(arch.blocks)]
    yield from _new(space, (ConvArchitecture(blocks, arch.head) for blocks in macro), seen)
    yield from _new(space, (replace(arch, head=head) for head in space.heads), seen)


def _new(
    space: "ConvSpace", candidates: Iterator[ConvArchitecture], seen: set[ConvArchitecture]
) -> Iterator[ConvArchitecture]:
    for candidate in candidates:
        if candidate not in seen and space.contains(candidate):
            seen.add(candidate)
            yield candidate


def _scaled(space: "ConvSpace", blocks: ConvBlocks) -> list[ConvBlocks]:
    rows = sequence.scaled(space.widths, [block.width for block in blocks])
    return [tuple(replace(b, width=w) for b, w in zip(blocks, row, strict=True)) for row in rows]


def _moved(blocks: ConvBlocks) -> list[ConvBlocks]:
    """The sequences with one downsampling moved to an adjacent block that has none."""
    moved = []
    for i, (left, right) in enumerate(pairwise(blocks)):
        if left.downsamples != right.downsamples:
            pair = (replace(left, downsample=right.downsample), replace(right, downsample=left.downsample))
            moved.append((*blocks[:i], *pair, *blocks[i + 2 :]))
    return moved


def mutate(space: "ConvSpace", arch: ConvArchitecture, rng: np.random.Generator) -> ConvArchitecture:
    """A random neighbour: an attribute 1/2, depth 1/4, scale 1/10, a downsampling's place 1/10, head 1/20.

    An edit that does not apply or leaves the space is drawn again. Raises ArchitectureError if `arch` is the
    only architecture of the space.
    """
    blocks = arch.blocks
    near = partial(variants, space, any_width=False)
    alike = partial(variants, space, any_width=True)
    edits: list[tuple[float, Callable[[], ConvBlocks | None]]] = [
        (0.5, lambda: sequence.draw_replacement(blocks, near, rng)),
        (0.125, lambda: sequence.draw_insertion(blocks, alike, rng)),
        (0.125, lambda: sequence.draw_removal(blocks, alike, rng)),
        (0.1, lambda: sequence.choose(_scaled(space, blocks), rng)),
        (0.1, lambda: sequence.choose(_moved(blocks), rng)),
    ]
    whole: list[tuple[float, Callable[[], ConvArchitecture | None]]] = [
        (weight, partial(_with_blocks, arch, edit)) for weight, edit in edits
    ]
    heads = [head for head in space.heads if head != arch.head]
    whole += [(0.05, lambda: replace(arch, head=heads[int(rng.integers(len(heads)))]))] if heads else []
    drawn = sequence.draw_edit(whole, lambda new: new != arch and space.contains(new), rng)
    found = drawn or sequence.choose(list(neighbors(space, arch)), rng)
    if found is None:
        raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
    return found


def _with_blocks(arch: ConvArchitecture, edit: Callable[[], ConvBlocks | None]) -> ConvArchitecture | None:
    blocks = edit()
    return None if blocks is None else replace(arch, blocks=blocks)


def crossover(
    space: "ConvSpace", a: ConvArchitecture, b: ConvArchitecture, rng: np.random.Generator
) -> ConvArchitecture:
    """The first blocks of one parent, the last blocks of the other, and the head of either.

    Cuts are drawn among those that need no repair, so each block comes unchanged from a parent. Which parent
    gives the first blocks is random too.
    """
    first, second = (a, b) if rng.random() < 0.5 else (b, a)
    head = first.head if rng.random() < 0.5 else second.head

    def accept(blocks: ConvBlocks) -> bool:
        return space.contains(ConvArchitecture(blocks, head))

    return ConvArchitecture(sequence.one_point_crossover(first.blocks, second.blocks, accept, rng), head)
