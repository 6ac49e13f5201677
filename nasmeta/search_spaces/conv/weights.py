"""The weights of conv networks: which ones they share, and how to start one network from another.

Sharing: slimmable widths, one set of weights per operation, optional blocks. Block i of every network,
counted from the input, has one set of weights for each operation. A narrower block takes the first channels
of it; a shallower network ends earlier. Both norms see the same convolutions and have their own affine
parameters. Projections and squeeze-excites do not depend on the operation next to them. Activations and
poolings have no weights. There is one head for averaged maps, and one for each size of a flattened map.

Morphism: the new network computes the old one's function if it differs only by
- wider blocks under batch norm (also with squeeze-excite, a shortcut on both sides of the edit, any
  operation);
- larger kernels of the same kind of operation;
- inserted blocks that are as wide as their input and have a shortcut (skip or res), ReLU, no downsampling,
  and a block before them that ends in ReLU. Their last norm begins at zero, so they add nothing.

Batch norm of copied channels is a copy. The groups of group norm change with the width, so widening under it
is only a start. Everything else (other operations, norms or activations, narrower blocks, new shortcuts,
removed blocks) keeps the values that fit by name and shape, block by block; the rest is fresh. ProtoNet
compares embeddings, in which copied features of the last block count more, so for it too this is only a
start.
"""

import numpy as np
import torch

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.network import final_size
from nasmeta.search_spaces.morphism import Weights, aligned, copied, grown, grown_head
from nasmeta.task import TaskSpec

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


def morph(
    old: ConvArchitecture, new: ConvArchitecture, weights: Weights, fresh: Weights, rng: np.random.Generator
) -> Weights:
    """Parameters for `new` from those of `old`, with the names and shapes of `fresh`, a new network's."""
    result = {name: value for name, value in copied(weights, fresh).items() if not name.startswith("body.")}
    counterparts = aligned(old.blocks, new.blocks, difference)
    for number, counterpart in enumerate(counterparts):
        prefix = f"body.block{number + 1}."
        own = {name.removeprefix(prefix): v for name, v in fresh.items() if name.startswith(prefix)}
        if counterpart is not None:
            source = f"body.block{counterpart + 1}."
            had = {n.removeprefix(source): v for n, v in weights.items() if n.startswith(source)}
            values = (
                _grown_block(had, own, rng) if _same_kind(old, counterpart, new, number) else copied(had, own)
            )
        else:
            values = _transparent(new, number, own)
        result |= {prefix + name: value for name, value in values.items()}
    if old.head == new.head and old.blocks[-1].width:
        positions = weights["head.weight"].shape[1] // old.blocks[-1].width
        same = fresh["head.weight"].shape[1] == positions * new.blocks[-1].width
        wide = (
            grown_head(weights["head.weight"], fresh["head.weight"].shape, positions, rng) if same else None
        )
        result["head.weight"] = fresh["head.weight"] if wide is None else wide
    return {name: result[name] for name in fresh}


def difference(a: ConvBlock, b: ConvBlock) -> float:
    """How much two blocks differ: 0 if they are equal, 2 at most."""
    parts = (
        a.op != b.op,
        a.kernel != b.kernel,
        a.width != b.width,
        a.norm != b.norm,
        a.activation != b.activation,
        a.downsample != b.downsample,
        a.shortcut != b.shortcut,
        a.se != b.se,
    )
    return sum(parts) * 0.25


def _same_kind(old: ConvArchitecture, i: int, new: ConvArchitecture, j: int) -> bool:
    """Whether the blocks have the same operation and the same parts, so that tensors may grow."""
    a, b = old.blocks[i], new.blocks[j]
    return (a.op, a.norm, a.se, a.shortcut) == (b.op, b.norm, b.se, b.shortcut)


def _grown_block(had: Weights, fresh: Weights, rng: np.random.Generator) -> Weights:
    values = {}
    for name, value in fresh.items():
        wide = grown(had[name], value.shape, rng) if name in had else None
        values[name] = value if wide is None else wide
    return values


def _transparent(arch: ConvArchitecture, number: int, fresh: Weights) -> Weights:
    """The weights of an inserted block that adds nothing to its shortcut, if that is the identity."""
    block = arch.blocks[number]
    before = arch.blocks[number - 1] if number else None
    passes = before is not None and before.width == block.width and not block.downsamples
    if not (passes and block.shortcut):
        return fresh
    norm = f"branch.{LAST_NORM[block.op]}."
    return {n: torch.zeros_like(v) if n.startswith(norm) else v for n, v in fresh.items()}
