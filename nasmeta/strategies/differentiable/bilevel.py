"""The bilevel problem of DARTS (Liu, Simonyan & Yang 2019, arXiv:1806.09055, section 2.3).

Minimize L_valid(w*(alpha), alpha) over alpha, with w*(alpha) = argmin over w of L_train(w, alpha) (eq. 3, 4).

One step of gradient descent replaces w* (eq. 5): the architecture descends d/dalpha L_valid(w - xi
dL_train/dw, alpha). First order means xi = 0. Parameters are dictionaries that hold both w and alpha; the
arguments `alpha` are the names of the latter.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
Batch = TypeVar("Batch")
GradientAt = Callable[[Parameters, Batch], Parameters]
"""The derivative of a batch's loss with respect to all parameters, at the given values."""

RADIUS = 0.01
"""The half-width of the finite difference is epsilon = RADIUS / |dL_valid/dw'| (footnote 2 there)."""


def first_order(at: GradientAt[Batch], point: Parameters, alpha: Iterable[str], valid: Batch) -> Parameters:
    """dL_valid(w, alpha)/dalpha."""
    gradients = at(point, valid)
    return {name: gradients[name] for name in alpha}


def second_order(
    at: GradientAt[Batch],
    point: Parameters,
    alpha: Iterable[str],
    train: Batch,
    valid: Batch,
    xi: float | Tensor,
) -> Parameters:
    """dL_valid(w', alpha)/dalpha - xi (d2 L_train/dalpha dw) v, with v = dL_valid(w', alpha)/dw' (eq. 7).

    w' = w - xi dL_train(w, alpha)/dw. The product of the second derivative and v is the paper's finite
    difference (eq. 8): [dL_train(w + eps v)/dalpha - dL_train(w - eps v)/dalpha] / (2 eps).
    """
    names = tuple(alpha)
    weights = [name for name in point if name not in names]
    stepped = moved(point, weights, at(point, train), -xi)
    by_valid = at(stepped, valid)
    v = {name: by_valid[name] for name in weights}
    # The norm stays on the device. If it is zero (nothing left to learn), the second term is 0, not NaN.
    epsilon = RADIUS / torch.cat([value.flatten() for value in v.values()]).norm().clamp_min(1e-12)
    ahead, behind = (at(moved(point, weights, v, sign * epsilon), train) for sign in (1.0, -1.0))
    return {name: by_valid[name] - xi * (ahead[name] - behind[name]) / (2 * epsilon) for name in names}


def moved(point: Parameters, names: Iterable[str], direction: Parameters, step: float | Tensor) -> Parameters:
    """point + step * direction for `names`; the other parameters are those of `point`."""
    return point | {name: (point[name] + step * direction[name]).detach() for name in names}
