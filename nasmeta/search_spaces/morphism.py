"""Weights of one network as the start of another: from state dict to state dict.

Net2Net (Chen, Goodfellow & Shlens 2016, arXiv:1511.05641) and network morphism (Wei et al. 2016,
arXiv:1603.01670): a network that is wider, deeper or has larger kernels computes the same function. Here are
the operations on single tensors; a space says which tensor becomes which.

Unit j of a wider layer copies unit j mod n of the n old ones (Net2Net draws the copies at random). All layers
follow this rule, so shortcuts stay consistent and no layer needs to know another's choice. Copies with equal
outgoing weights would have equal gradients for ever. Net2Net adds noise against that; here each consumer
divides a unit's weight among its copies in random shares, which keeps the function exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
L = TypeVar("L")

GAP_COST = 1.0
"""The cost of a layer without a counterpart. Two layers differ by at most 2, a removal and an insertion."""


def grown(old: Tensor, shape: torch.Size, rng: np.random.Generator) -> Tensor | None:
    """`old` as a weight or bias of `shape`; None if a dimension would shrink.

    Dimension 0 produces units, 1 consumes them, 2 and 3 are the kernel. New producers are copies. A
    consumer's weight is divided among the copies of the unit it consumes. A kernel is padded with zeros.
    """
    if old.dim() != len(shape) or any(a > b for a, b in zip(old.shape, shape, strict=True)):
        return None
    grown = old[torch.arange(shape[0]) % old.shape[0]]
    if len(shape) > 1 and shape[1] > old.shape[1]:
        grown = grown[:, torch.arange(shape[1]) % old.shape[1]] * _shares(old, shape[1], rng)
    if len(shape) == 4 and shape[2:] != old.shape[2:]:
        high, wide = (new - had for new, had in zip(shape[2:], old.shape[2:], strict=True))
        grown = F.pad(grown, (wide // 2, wide // 2, high // 2, high // 2))
    return grown


def grown_head(old: Tensor, fresh: Tensor, positions: int, rng: np.random.Generator) -> Tensor | None:
    """A linear layer's weight [outputs, channels * positions], grown to the shape of `fresh`, by channels."""
    channels = torch.Size((fresh.shape[0], fresh.shape[1] // positions, 1, positions))
    wide = grown(old.unflatten(1, (-1, 1, positions)), channels, rng)
    return None if wide is None else wide.flatten(1)


def _shares(old: Tensor, units: int, rng: np.random.Generator) -> Tensor:
    """Positive shares [units, 1, ...] that sum to one over the copies of each old unit."""
    copies = np.arange(units) % old.shape[1]
    drawn = rng.uniform(0.5, 1.5, units)
    shares = drawn / np.bincount(copies, weights=drawn)[copies]
    single = np.bincount(copies)[copies] == 1
    values = torch.as_tensor(np.where(single, 1.0, shares), dtype=old.dtype, device=old.device)
    return values.view(-1, *[1] * (old.dim() - 2))


def copied(weights: Weights, fresh: Weights) -> Weights:
    """`fresh`, with the values of `weights` for entries with the same name and shape."""
    return {
        name: weights[name] if name in weights and weights[name].shape == value.shape else value
        for name, value in fresh.items()
    }


def morphed(
    old: Sequence[Any],
    new: Sequence[Any],
    weights: Weights,
    fresh: Weights,
    prefix: str,
    *,
    grows: Callable[[Any, Any], bool],
    inserted: Callable[[Sequence[Any], int, Weights], Weights],
    rng: np.random.Generator,
) -> Weights:
    """Parameters for a network of the blocks `new` from those of a network of `old`, as `SearchSpace.morph`.

    The parameters of block i, from 0, are named prefix + str(i + 1) + "." + name. grows: whether the weights
    of a block can grow into those of its counterpart; otherwise values that fit are copied. inserted: the
    weights of block i, which has no counterpart, from its fresh ones, named without the prefix.
    """
    result = {name: value for name, value in copied(weights, fresh).items() if not name.startswith("body.")}
    for number, counterpart in enumerate(aligned(old, new, difference)):
        place = f"{prefix}{number + 1}."
        own = _part(fresh, place)
        if counterpart is None:
            values = inserted(new, number, own)
        else:
            had = _part(weights, f"{prefix}{counterpart + 1}.")
            grow = grows(old[counterpart], new[number])
            values = _grown_block(had, own, rng) if grow else copied(had, own)
        result |= {place + name: value for name, value in values.items()}
    head = weights["head.weight"], fresh["head.weight"]
    positions, now = (h.shape[1] // blocks[-1].width for h, blocks in zip(head, (old, new), strict=True))
    wide = grown_head(*head, positions, rng) if positions == now else None
    return {name: result[name] for name in fresh} | ({} if wide is None else {"head.weight": wide})


def _part(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): v for name, v in weights.items() if name.startswith(prefix)}


def _grown_block(had: Weights, fresh: Weights, rng: np.random.Generator) -> Weights:
    wide = {name: grown(had[name], value.shape, rng) for name, value in fresh.items() if name in had}
    return fresh | {name: value for name, value in wide.items() if value is not None}


def difference(a: Any, b: Any) -> float:
    """How much two blocks differ: twice the share of their attributes that do."""
    differs = [bool(getattr(a, field.name) != getattr(b, field.name)) for field in fields(a)]
    return 2 * sum(differs) / len(differs)


def aligned(old: Sequence[L], new: Sequence[L], difference: Callable[[L, L], float]) -> list[int | None]:
    """The counterpart of each new layer among the old ones, in order, or None: the cheapest edit script.

    A counterpart costs its difference (0 to 2); an inserted or a removed layer costs GAP_COST. Among equally
    cheap scripts it takes the one whose counterparts come earliest.
    """
    rows, columns = len(old), len(new)
    cost = np.zeros((rows + 1, columns + 1))  # cost of aligning what follows
    for i in range(rows, -1, -1):
        for j in range(columns, -1, -1):
            options = []
            if i < rows and j < columns:
                options.append(difference(old[i], new[j]) + cost[i + 1, j + 1])
            if j < columns:
                options.append(GAP_COST + cost[i, j + 1])
            if i < rows:
                options.append(GAP_COST + cost[i + 1, j])
            cost[i, j] = min(options, default=0.0)
    counterparts: list[int | None] = []
    i = 0
    while (j := len(counterparts)) < columns:
        if i < rows and cost[i, j] == difference(old[i], new[j]) + cost[i + 1, j + 1]:
            counterparts.append(i)
            i += 1
        elif cost[i, j] == GAP_COST + cost[i, j + 1]:
            counterparts.append(None)
        else:
            i += 1
    return counterparts
