"""The shared weights of the conv space: slimmable widths, one set of weights an operation, optional blocks.

Block i of every network, counted from the input, has one set of weights for each operation, of which a
narrower block takes the first channels; a shallower network ends earlier. Both norms see the same
convolutions and have affine parameters of their own; projections and squeeze-excites do not depend on the
operation they stand beside. Activations and poolings have no weights. The head that follows an averaged map
is one; of those that follow a flattened map there is one for each size of it.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.choices import ConvChoices
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec

# Where the convolutions are in the branches of `ops`; what else has weights there is a norm.
CONVOLUTIONS = {"conv": ("0",), "sep": ("0", "1"), "res": ("0", "3", "6"), "projection": ("0",)}


def sharing(choices: ConvChoices, task: TaskSpec) -> Sharing[ConvArchitecture]:
    """Raises ArchitectureError, when it is used, where the task has no images."""
    return Sharing(
        largest=lambda: largest(choices, task), name=lambda arch, name: shared_name(arch, name, task)
    )


def shared_name(arch: ConvArchitecture, name: str, task: TaskSpec) -> str:
    """The name of the shared tensor that `name`, a parameter of the network of `arch`, is a part of."""
    from nasmeta.search_spaces.conv.network import final_size  # loads torch

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


def largest(choices: ConvChoices, task: TaskSpec) -> Iterator[ConvArchitecture]:
    """Every operation at full width and depth, every projection, and every head."""
    wide, next_widest = choices.widths[-1], choices.widths[-2:][0]
    depth = choices.max_blocks
    for token, norm in product(choices.operations, choices.norms):
        block = _widest(choices, token, norm)
        rows = [(block,) * depth]
        narrower = replace(block, width=next_widest)
        if block.shortcut and wide != next_widest:  # a change of width is projected
            rows += [tuple((block, narrower)[(i + odd) % 2] for i in range(depth)) for odd in (0, 1)]
        elif block.shortcut and "stride" in choices.downsamples:
            strided = replace(block, downsample="stride")
            rows += [(block,) * i + (strided,) + (block,) * (depth - i - 1) for i in range(depth)]
        yield from (ConvArchitecture(row, choices.heads[0]) for row in rows)
    yield from _heads(choices, task)


def _widest(choices: ConvChoices, token: str, norm: str) -> ConvBlock:
    op, kernel = OPERATIONS[token]
    skip, se = True in choices.skips(token), choices.se
    return ConvBlock(op, choices.widths[-1], kernel, norm, choices.activations[0], "none", skip, se)


def _heads(choices: ConvChoices, task: TaskSpec) -> Iterator[ConvArchitecture]:
    """An architecture for each head: pooling drops an odd last row, a stride does not."""
    from nasmeta.search_spaces.conv.network import final_size  # loads torch

    plain = _widest(choices, choices.operations[0], choices.norms[0])
    smallest = min(task.input_shape[1:], default=0)
    seen = set()
    for count in range(choices.min_downsamples, choices.max_downsamples + 1):
        for kinds in product(choices.downsamples, repeat=count) if 2**count <= smallest else ():
            row = tuple(replace(plain, downsample=kind) for kind in kinds) or (plain,)
            for head in choices.heads:
                arch = ConvArchitecture(row, head)
                key = head, final_size(arch, task) if head == "flatten" else None
                if key not in seen:
                    seen.add(key)
                    yield arch
