"""A conv architecture decided block by block: how many, each block's attributes, then the head."""

from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.choices import ConvChoices
from nasmeta.search_spaces.decisions import Choose


def decisions(choices: ConvChoices) -> dict[str, tuple[object, ...]]:
    """The kinds of decisions and all their options."""
    return {
        "blocks": tuple(range(choices.min_blocks, choices.max_blocks + 1)),
        "operation": choices.operations,
        "width": choices.widths,
        "norm": choices.norms,
        "activation": choices.activations,
        "downsample": ("none", *choices.downsamples),
        "skip": choices.flags(choices.skip),
        "squeeze_excite": choices.flags(choices.se),
        "head": choices.heads,
    }


def decide(choices: ConvChoices, choose: Choose) -> ConvArchitecture:
    """A block downsamples only while more are allowed, and must where the blocks left are all needed."""
    count = choose("blocks", range(choices.min_blocks, choices.max_blocks + 1))
    blocks: list[ConvBlock] = []
    downsamplings = 0
    for left in range(count, 0, -1):
        token = choose("operation", choices.operations)
        op, kernel = OPERATIONS[token]
        may = choices.downsamples if downsamplings < choices.max_downsamples else ()
        need_not = ("none",) if downsamplings + left > choices.min_downsamples else ()
        block = ConvBlock(
            op=op,
            width=choose("width", choices.widths),
            kernel=kernel,
            norm=choose("norm", choices.norms),
            activation=choose("activation", choices.activations),
            downsample=choose("downsample", (*need_not, *may)),
            skip=choose("skip", choices.skips(token)),
            se=choose("squeeze_excite", choices.flags(choices.se)),
        )
        downsamplings += block.downsamples
        blocks.append(block)
    return ConvArchitecture(tuple(blocks), choose("head", choices.heads))
