"""Spaces small enough to hold whole, and the definition of connectedness."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.conv import ConvArchitecture, ConvBlock, ConvSpace
from nasmeta.search_spaces.mlp import MlpArchitecture, MlpLayer, MlpSpace


def tiny_conv(*, min_downsamples: int = 1, skip: bool = True) -> ConvSpace:
    """1 or 2 blocks of conv3 or res3, 8 or 16 wide: 228 architectures, 104 without skips."""
    return ConvSpace(
        min_blocks=min_downsamples,
        max_blocks=2,
        min_downsamples=min_downsamples,
        max_downsamples=2,
        widths=[8, 16],
        ops=["conv3", "res3"],
        norms=["bn"],
        activations=["relu"],
        downsamples=["max"],
        heads=["flatten", "gap"],
        skip=skip,
        squeeze_excite=False,
    )


def all_of_tiny_conv() -> list[ConvArchitecture]:
    """Its members, written down without its code."""
    kinds = [("conv", False), ("conv", True), ("res", False)]
    blocks = [
        ConvBlock(op, width, 3, "bn", "relu", down, skip)
        for (op, skip), width, down in product(kinds, (8, 16), ("none", "max"))
    ]
    rows = [*product(blocks), *product(blocks, blocks)]
    downs = [row for row in rows if any(block.downsample == "max" for block in row)]
    return [ConvArchitecture(row, head) for row in downs for head in ("flatten", "gap")]


def tiny_mlp() -> MlpSpace:
    """1 to 3 layers of 8 or 16 units, with skips: 2 * 2 * (1 + 6 + 36) = 172 architectures."""
    return MlpSpace(
        min_layers=1, max_layers=3, widths=[8, 16], activations=["relu", "tanh"], norms=["none"], skip=True
    )


def all_of_tiny_mlp() -> list[MlpArchitecture]:
    """Its members, written down without its code."""
    layers = [
        MlpLayer(w, a, "none", skip) for w, a, skip in product((8, 16), ("relu", "tanh"), (False, True))
    ]
    rows = [row for n in (1, 2, 3) for row in product(layers, repeat=n)]
    return [MlpArchitecture(row) for row in rows if _skips_fit(row)]


def _skips_fit(row: tuple[MlpLayer, ...]) -> bool:
    before = (0, *(layer.width for layer in row))
    return all(not layer.skip or layer.width == width for layer, width in zip(row, before, strict=False))


def reachable(space: SearchSpace[Any], start: Any) -> set[Any]:
    """Everything that edits lead to."""
    found, border = {start}, [start]
    while border:
        fresh = {near for arch in border for near in space.neighbors(arch)} - found
        found |= fresh
        border = list(fresh)
    return found


def drawn(space: SearchSpace[Any], rng: Any, draws: int) -> Iterator[Any]:
    """That many samples."""
    for _ in range(draws):
        yield space.sample(rng)


def mutual(space: SearchSpace[Any], members: Iterable[Any]) -> bool:
    """Whether b is a neighbor of a exactly where a is one of b."""
    near = {arch: set(space.neighbors(arch)) for arch in members}
    return all(arch in near[other] for arch in near for other in near[arch])
