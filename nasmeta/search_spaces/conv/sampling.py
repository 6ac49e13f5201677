"""The forms of random conv architectures; sequence_space.py scales them to a budget.

- depth: uniform.
- number of downsamplings: uniform, within the depth. Their places: with probability 1/2 spread evenly,
  from a random block on; with 1/4 the first blocks; with 1/4 anywhere.
- widths: `widths_column`: growing pyramids 1/2, constant 1/4, independent 1/4.
- everything else: `column`: with probability 1/2 one draw for all blocks, otherwise one draw per block, by
  the weights below.
- head: uniform.

Every architecture has a positive probability, because the independent branches alone reach all of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, skips
from nasmeta.search_spaces.sequence import column, widths_column

if TYPE_CHECKING:
    from nasmeta.search_spaces.conv.space import ConvSpace

# Odds, renormalized over what a space allows. 1x1 convolutions see no neighbourhood and 5x5 ones cost
# three times as much as 3x3 ones, so both are rarer.
WEIGHTS: dict[str, float] = {
    "conv1": 1,
    "conv3": 5,
    "conv5": 1,
    "sep3": 3,
    "sep5": 2,
    "res1": 1,
    "res3": 4,
    "res5": 2,
    "bn": 1,
    "gn": 1,
    "relu": 2,
    "gelu": 1,
    "silu": 1,
    "max": 2,
    "avg": 1,
    "stride": 1,
}
SE_PROBABILITY = 0.25


def sample(space: "ConvSpace", rng: np.random.Generator) -> ConvArchitecture:
    """A random architecture of `space`, with the distribution of this module's docstring."""
    n = int(rng.integers(space.fewest, space.most + 1))
    tokens = _column(space.ops, n, rng)
    widths = widths_column(space.widths, n, rng)
    norms = _column(space.norms, n, rng)
    activations = _column(space.activations, n, rng)
    kinds = _column(space.downsamples, n, rng)
    positions = _downsampling_positions(space, n, rng)
    shortcuts = column([False, True], n, rng)
    ses = column([False, True], n, rng, [1 - SE_PROBABILITY, SE_PROBABILITY])
    blocks = tuple(
        ConvBlock(
            op=OPERATIONS[tokens[i]][0],
            kernel=OPERATIONS[tokens[i]][1],
            width=widths[i],
            norm=norms[i],
            activation=activations[i],
            downsample=kinds[i] if i in positions else "none",
            skip=shortcuts[i] and True in skips(tokens[i], space.skips),
            se=ses[i] and space.ses[-1],
        )
        for i in range(n)
    )
    return ConvArchitecture(blocks, space.heads[int(rng.integers(len(space.heads)))])


def _column(options: tuple[str, ...], n: int, rng: np.random.Generator) -> list[str]:
    return column(options, n, rng, [WEIGHTS[option] for option in options])


def _downsampling_positions(space: "ConvSpace", n: int, rng: np.random.Generator) -> set[int]:
    d = int(rng.integers(space.min_downsamples, min(space.max_downsamples, n) + 1))
    places = rng.random()
    if places < 0.5:
        phase = int(rng.integers(n))
        return {(i * n + phase) // d for i in range(d)}
    return set(range(d)) if places < 0.75 else {int(i) for i in rng.choice(n, size=d, replace=False)}
