"""Architectures of the conv space: a sequence of blocks and how the last feature map becomes a vector.

The names below are a file format: journals and checkpoints hold strings made of them. Add, never rename.
"""

from dataclasses import dataclass

from nasmeta.errors import ArchitectureError

# Token of a string -> (kind, kernel size). "conv" is a plain convolution, "sep" a depthwise-separable one,
# "res" a residual bottleneck. There is no sep1: a depthwise 1x1 only rescales what the following 1x1 mixes,
# so that sep1 would be conv1 under a second name.
OPERATIONS: dict[str, tuple[str, int]] = {
    "conv1": ("conv", 1),
    "conv3": ("conv", 3),
    "conv5": ("conv", 5),
    "sep3": ("sep", 3),
    "sep5": ("sep", 5),
    "res1": ("res", 1),
    "res3": ("res", 3),
    "res5": ("res", 5),
}
NORMS: tuple[str, ...] = ("bn", "gn")
ACTIVATIONS: tuple[str, ...] = ("relu", "gelu", "silu")
DOWNSAMPLES: tuple[str, ...] = ("none", "max", "avg", "stride")
HEADS: tuple[str, ...] = ("flatten", "gap")

_TOKENS = {operation: token for token, operation in OPERATIONS.items()}


@dataclass(frozen=True)
class ConvBlock:
    """norm(op(x)), squeeze-excite if `se`, plus the shortcut if any, activation, downsampling, in this order.

    op: "conv", "sep" or "res"; width: output channels; kernel: 1, 3 or 5; norm: "bn" (batch) or "gn" (group);
    downsample: "none", "max" or "avg" (2x2 pooling), "stride" (the spatial convolution has stride 2).
    skip: an identity shortcut around the convolution, or a 1x1 projection where the shape changes. A residual
    bottleneck always has one, so for "res" skip is False: one network, one form.
    Raises ArchitectureError for an operation that does not exist and for "res" with skip.
    """

    op: str
    width: int
    kernel: int
    norm: str
    activation: str
    downsample: str
    skip: bool = False
    se: bool = False

    def __post_init__(self) -> None:
        if (self.op, self.kernel) not in _TOKENS:
            raise ArchitectureError(
                f"no operation {self.op!r} has kernel {self.kernel!r}; valid: {', '.join(OPERATIONS)}"
            )
        if self.op == "res" and self.skip:
            raise ArchitectureError("a res operation always has its shortcut: write it without +skip")

    @property
    def token(self) -> str:
        """Operation and kernel as strings have them, such as "conv3"."""
        return _TOKENS[self.op, self.kernel]

    @property
    def downsamples(self) -> bool:
        """Whether the block halves height and width."""
        return self.downsample != "none"

    @property
    def shortcut(self) -> bool:
        """Whether the network has a path around the block's operation."""
        return self.skip or self.op == "res"

    def __str__(self) -> str:
        flags = "+skip" * self.skip + "+se" * self.se
        return f"{self.token}-{self.width}.{self.norm}.{self.activation}.{self.downsample}{flags}"


@dataclass(frozen=True)
class ConvArchitecture:
    """Blocks from input to output, then "flatten" (every position counts) or "gap" (their average)."""

    blocks: tuple[ConvBlock, ...]
    head: str

    @property
    def downsamplings(self) -> int:
        """How many blocks halve height and width."""
        return sum(block.downsamples for block in self.blocks)

    def __str__(self) -> str:
        return "_".join([*map(str, self.blocks), self.head])
