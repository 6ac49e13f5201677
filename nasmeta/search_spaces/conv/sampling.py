"""The forms of random conv architectures; sequence_space.py scales them to a budget.

The odds follow what makes draws poor after a few hundred meta-iterations (docs/learning.md): strided
convolutions, batch norm of maps of one pixel, embeddings of many numbers, 1x1 convolutions, SiLU, many or
narrow first blocks, and, under MAML, group norm.

- depth: odds 1/(1 + distance to the hand-designed network's).
- number of downsamplings: uniform, within the depth. Their places: with probability 3/4 spread evenly, the
  last in the last block; with 1/4 anywhere.
- widths: with probability 3/4 growing evenly, the last 1, 2 or 4 times the first; with 1/4 independent.
- everything else: `column`: with probability 1/2 one draw for all blocks, otherwise one draw per block, by
  the odds below.
- head: flatten with probability 1/2, and a quarter of that for every downsampling less than allowed.

Every architecture has a positive probability, because the independent branches alone reach all of them.
"""

from typing import TYPE_CHECKING

import numpy as np

from nasmeta.search_spaces import options
from nasmeta.search_spaces.conv.architecture import OPERATIONS, ConvArchitecture, ConvBlock, skips
from nasmeta.search_spaces.sequence import column

if TYPE_CHECKING:
    from nasmeta.search_spaces.conv.space import ConvSpace

# Odds, renormalized over what a space allows.
ODDS: dict[str, float] = {
    "conv1": 1,
    "conv3": 24,
    "conv5": 4,
    "sep3": 6,
    "sep5": 2,
    "res1": 1,
    "res3": 4,
    "res5": 2,
    "bn": 4,
    "gn": 1,
    "relu": 4,
    "relu6": 1,
    "gelu": 2,
    "silu": 1,
    "max": 12,
    "avg": 4,
    "stride": 1,
}
SKIP_PROBABILITY = 1 / 3
SE_PROBABILITY = 0.1


def sample(space: "ConvSpace", rng: np.random.Generator) -> ConvArchitecture:
    """A random architecture of `space`, with the distribution of this module's docstring."""
    n = _depth(space, rng)
    tokens = _column(space.ops, n, rng)
    widths = _widths(space, n, rng)
    norms = _column(space.norms, n, rng)
    activations = _column(space.activations, n, rng)
    kinds = _column(space.downsamples, n, rng)
    positions = _downsampling_positions(space, n, rng)
    shortcuts = column([False, True], n, rng, [1 - SKIP_PROBABILITY, SKIP_PROBABILITY])
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
    return ConvArchitecture(blocks, _head(space, len(positions), rng))


def _depth(space: "ConvSpace", rng: np.random.Generator) -> int:
    usual = len(space.reference().blocks)
    odds = np.array([1 / (1 + abs(depth - usual)) for depth in space.depths])
    return int(rng.choice(space.depths, p=odds / odds.sum()))


def _widths(space: "ConvSpace", n: int, rng: np.random.Generator) -> list[int]:
    if rng.random() < 0.25:
        return [space.widths[place] for place in rng.integers(len(space.widths), size=n)]
    first, growth = space.widths[int(rng.integers(len(space.widths)))], 2 ** int(rng.integers(3))
    row = (first * growth ** (i / max(n - 1, 1)) for i in range(n))
    return [options.closest(space.widths, round(width)) for width in row]


def _column(names: tuple[str, ...], n: int, rng: np.random.Generator) -> list[str]:
    return column(names, n, rng, [ODDS[name] for name in names])


def _downsampling_positions(space: "ConvSpace", n: int, rng: np.random.Generator) -> set[int]:
    d = int(rng.integers(space.min_downsamples, min(space.max_downsamples, n) + 1))
    if rng.random() < 0.75:
        return {(i + 1) * n // d - 1 for i in range(d)}
    return {int(i) for i in rng.choice(n, size=d, replace=False)}


def _head(space: "ConvSpace", downsamplings: int, rng: np.random.Generator) -> str:
    flatten = 0.5 / 4 ** (space.max_downsamples - downsamplings)
    odds = [flatten if head == "flatten" else 1 - flatten for head in space.heads]
    return column(space.heads, 1, rng, odds)[0]
