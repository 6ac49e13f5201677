"""The weights of conv networks: which ones they share, and how to start one network from another.

Sharing: block i of every network, counted from the input, has one set of weights for each operation. A
narrower block takes its first channels; a shallower network ends earlier. Convolutions do not depend on the
norm after them; each norm has its own affine parameters. Projections and squeeze-excites do not depend on the
operation beside them. There is one head for averaged maps, and one for each size of a flattened map.

Morphism: the new network computes the old one's function if it differs only by
- wider blocks under batch norm (also with squeeze-excite and with any operation), if every shortcut stays an
  identity or stays a projection;
- larger kernels of the same kind of operation;
- inserted blocks that are as wide as their input and have a shortcut (skip or res), ReLU, no downsampling,
  and a block before them that ends in ReLU or ReLU6, or that have ReLU6 and the block before them too. Their
  last norm begins at zero, so they add nothing.

Under group norm, widening changes the function, because the groups change with the width. So it does for
ProtoNet, which compares embeddings: copied features of the last block count more. All other edits (other
operations, norms or activations, narrower blocks, new shortcuts, removed blocks) keep the values that fit by
name and shape, block by block; the rest is fresh.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, final_size, skips
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.conv.space import ConvSpace
    from nasmeta.search_spaces.morphism import Weights

# The positions of convolutions in the branches of `ops`. All else that has weights there is a norm.
CONVOLUTIONS = {"conv": ("0",), "sep": ("0", "1"), "res": ("0", "3", "6"), "projection": ("0",)}
# The position of the last norm in an operation's branch.
LAST_NORM = {"conv": 1, "sep": 2, "res": 7}


def shared_name(arch: ConvArchitecture, name: str, task: TaskSpec) -> str:
    """The name of the shared tensor of which `name`, a parameter of the network of `arch`, is a part."""
    if name.startswith("head."):
        size = "x".join(map(str, final_size(arch, task))) if arch.head == "flatten" else ""
        return f"{arch.head}{size}.{name}"
    _, place, path, index, *rest = name.split(".")  # body.block3.branch.0.weight
    block = arch.blocks[int(place.removeprefix("block")) - 1]
    if len(rest) == 2:  # body.block3.branch.2.squeeze.weight
        return ".".join([place, *rest])
    op, token = ("projection", "projection") if path == "shortcut" else (block.op, block.token)
    norm = () if index in CONVOLUTIONS[op] else (block.norm,)
    return ".".join([place, token, *norm, index, *rest])


def grows(old: ConvBlock, new: ConvBlock) -> bool:
    """Whether the blocks have the same operation and the same parts, so that tensors may grow."""
    return (old.op, old.norm, old.se, old.shortcut) == (new.op, new.norm, new.se, new.shortcut)


def transparent(blocks: Sequence[ConvBlock], number: int, fresh: "Weights") -> "Weights":
    """The weights of an inserted block that adds nothing to its shortcut, if that is the identity."""
    block = blocks[number]
    same_shape = number > 0 and blocks[number - 1].width == block.width and not block.downsamples
    if not (same_shape and block.shortcut):
        return fresh
    norm = f"branch.{LAST_NORM[block.op]}."
    return {n: v.new_zeros(v.shape) if n.startswith(norm) else v for n, v in fresh.items()}


def largest(space: "ConvSpace", task: TaskSpec) -> Iterator[ConvArchitecture]:
    """Architectures with every operation at full width and depth, every projection, and every head."""
    wide, next_widest = space.widths[-1], space.widths[-2:][0]
    depth = space.most
    for token, norm in product(space.ops, space.norms):
        block = _widest(space, token, norm)
        rows = [(block,) * depth]
        narrower = replace(block, width=next_widest)
        if block.shortcut and wide != next_widest:  # a change of width is projected
            rows += [tuple((block, narrower)[(i + odd) % 2] for i in range(depth)) for odd in (0, 1)]
        elif block.shortcut and "stride" in space.downsamples:
            strided = replace(block, downsample="stride")
            rows += [(block,) * i + (strided,) + (block,) * (depth - i - 1) for i in range(depth)]
        yield from (ConvArchitecture(row, space.heads[0]) for row in rows)
    yield from _all_heads(space, task)


def _widest(space: "ConvSpace", token: str, norm: str) -> ConvBlock:
    op, kernel = OPERATIONS[token]
    skip, se = skips(token, space.skips)[-1], space.ses[-1]
    return ConvBlock(op, space.widths[-1], kernel, norm, space.activations[0], "none", skip, se)


def _all_heads(space: "ConvSpace", task: TaskSpec) -> Iterator[ConvArchitecture]:
    """An architecture for each head size: pooling drops an odd last row, a stride does not."""
    plain = _widest(space, space.ops[0], space.norms[0])
    smallest = min(task.input_shape[1:], default=0)
    seen = set()
    for count in range(space.min_downsamples, space.max_downsamples + 1):
        for kinds in product(space.downsamples, repeat=count) if 2**count <= smallest else ():
            row = tuple(replace(plain, downsample=kind) for kind in kinds) or (plain,)
            for head in space.heads:
                arch = ConvArchitecture(row, head)
                key = head, final_size(arch, task) if head == "flatten" else None
                if key not in seen:
                    seen.add(key)
                    yield arch
