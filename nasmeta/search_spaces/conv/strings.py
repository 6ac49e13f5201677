"""The canonical string of a conv architecture, read back.

conv3-64.bn.relu.max_sep3-96.gn.silu.none+skip+se_flatten: blocks joined by "_", the head last; a block is
operation-width.norm.activation.downsample, then the optional parts. Letters, digits and `-_.+` only: neither
a shell nor Hydra's override grammar reads anything into them.
"""

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.choices import ConvChoices

# What follows the first "+" -> (skip, se).
PARTS: dict[str, tuple[bool, bool]] = {
    "": (False, False),
    "skip": (True, False),
    "se": (False, True),
    "skip+se": (True, True),
}
EXAMPLE = "conv3-64.bn.relu.max"


def parse(text: str, choices: ConvChoices) -> ConvArchitecture:
    """The architecture of `choices` whose string is `text`.

    Raises ArchitectureError, in one line, that names the token, its block, and the nearest valid one.
    """
    *blocks, head = text.split("_")
    if not blocks:
        raise ArchitectureError(
            f"{tokens.quote(text)} is no conv architecture: blocks and a head joined by '_' are, "
            f"such as {EXAMPLE}_{EXAMPLE}_flatten"
        )
    parsed = tuple(_block(number, block, choices) for number, block in enumerate(blocks, 1))
    arch = ConvArchitecture(parsed, tokens.name("the head", head, choices.heads))
    problem = choices.problem(arch)
    if problem:
        raise ArchitectureError(f"{tokens.quote(text)} is not in the search space: {problem}")
    return arch


def _block(number: int, text: str, choices: ConvChoices) -> ConvBlock:
    main, plus, parts = text.partition("+")
    fields = main.split(".")
    operation, dash, width = fields[0].partition("-")
    if len(fields) != 4 or not dash or (plus and not parts):
        raise ArchitectureError(
            f"block {number}: {tokens.quote(text)} is not "
            f"operation-width.norm.activation.downsample, such as {EXAMPLE}"
        )
    where = f"block {number} ({tokens.quote(text)}):"
    token = tokens.name(f"{where} operation", operation, choices.operations)
    if token.startswith("res") and parts.startswith("skip"):
        raise ArchitectureError(f"{where} a res operation always has its skip; leave '+skip' out")
    skip, se = _parts(where, parts, token, choices)
    op, kernel = OPERATIONS[token]
    return ConvBlock(
        op=op,
        kernel=kernel,
        width=tokens.width(f"{where} width", width, choices.widths),
        norm=tokens.name(f"{where} norm", fields[1], choices.norms),
        activation=tokens.name(f"{where} activation", fields[2], choices.activations),
        downsample=tokens.name(f"{where} downsampling", fields[3], ("none", *choices.downsamples)),
        skip=skip,
        se=se,
    )


def _parts(where: str, text: str, token: str, choices: ConvChoices) -> tuple[bool, bool]:
    skips, ses = choices.skips(token), choices.flags(choices.se)
    allowed = [name for name, (skip, se) in PARTS.items() if skip in skips and se in ses]
    if text not in allowed:
        valid = ", ".join(f"+{name}" for name in allowed if name) or "none"
        raise ArchitectureError(
            f"{where} {tokens.quote('+' + text)} is not in the search space; valid: {valid}"
        )
    return PARTS[text]
