"""What a conv space allows, and whether an architecture is inside."""

from dataclasses import dataclass
from math import comb

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock

# Below 4 channels the groups of group norm and the squeeze of squeeze-excite degenerate.
SMALLEST_WIDTH = 4


@dataclass(frozen=True)
class ConvChoices:
    """The allowed values, in order. widths ascend; downsamples are kinds, without "none"; skip and se say
    whether blocks may have them."""

    operations: tuple[str, ...]
    widths: tuple[int, ...]
    norms: tuple[str, ...]
    activations: tuple[str, ...]
    downsamples: tuple[str, ...]
    heads: tuple[str, ...]
    skip: bool
    se: bool
    min_blocks: int
    max_blocks: int
    min_downsamples: int
    max_downsamples: int

    def problem(self, arch: ConvArchitecture) -> str | None:
        """Why `arch` is not in the space, in words; None where it is."""
        for number, block in enumerate(arch.blocks, 1):
            wrong = self._block_problem(block)
            if wrong:
                return f"block {number}: {wrong}"
        if arch.head not in self.heads:
            return f"the head {arch.head!r} is not one of {', '.join(self.heads)}"
        count = len(arch.blocks)
        if not self.min_blocks <= count <= self.max_blocks:
            return f"{count} blocks, where the space has {self.min_blocks} to {self.max_blocks}"
        downs = arch.downsamplings
        if not self.min_downsamples <= downs <= self.max_downsamples:
            low, high = self.min_downsamples, self.max_downsamples
            return f"{downs} downsampling blocks, where the space has {low} to {high}"
        return None

    def contains(self, arch: ConvArchitecture) -> bool:
        """Whether `arch` is in the space."""
        return self.problem(arch) is None

    def _block_problem(self, block: ConvBlock) -> str | None:
        checks: tuple[tuple[str, object, tuple[object, ...]], ...] = (
            ("operation", block.token, self.operations),
            ("width", block.width, self.widths),
            ("norm", block.norm, self.norms),
            ("activation", block.activation, self.activations),
            ("downsampling", block.downsample, ("none", *self.downsamples)),
            ("skip", block.skip, self.flags(self.skip)),
            ("squeeze-excite", block.se, self.flags(self.se)),
        )
        for what, value, allowed in checks:
            if value not in allowed:
                return f"the {what} {value!r} is not one of {', '.join(map(str, allowed))}"
        return None

    @staticmethod
    def flags(allowed: bool) -> tuple[bool, ...]:
        """The values of an optional part."""
        return (False, True) if allowed else (False,)

    def skips(self, token: str) -> tuple[bool, ...]:
        """The values that `skip` may have beside an operation."""
        return self.flags(self.skip and not token.startswith("res"))

    def size(self) -> int:
        """The number of architectures."""
        shapes = sum(len(self.skips(token)) for token in self.operations)
        plain = shapes * len(self.widths) * len(self.norms) * len(self.activations) * len(self.flags(self.se))
        total = 0
        for n in range(self.min_blocks, self.max_blocks + 1):
            for d in range(self.min_downsamples, min(self.max_downsamples, n) + 1):
                total += comb(n, d) * len(self.downsamples) ** d * plain**n
        return total * len(self.heads)
