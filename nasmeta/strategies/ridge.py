"""Ridge regression on named features: a predictor that fits a handful of trials in milliseconds.

It uses the dual form, because there are fewer trials than features. The penalty is the one of a grid with the
least leave-one-out error, which has a closed form (Allen 1974; Hastie, Tibshirani & Friedman 2009, section
7.10). With K of the n centred rows, C = (K + penalty I)^-1 and a = C y, the error on trial i is
a_i / (C_ii - 1 / (n penalty)): the second term is the mean's, which is fitted as well, without a penalty.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Features = Mapping[Hashable, float]
"""Name -> value; a feature that is not named is zero."""

PENALTIES = tuple(10.0**power for power in range(-6, 3))
"""The grid of penalties, relative to the mean squared length of the centred features."""


@dataclass(frozen=True)
class RidgeModel:
    """A fitted regression. `predict` returns `intercept` plus the weighted features; unknown ones count 0."""

    intercept: float
    weights: dict[Hashable, float]

    def predict(self, features: Features) -> float:
        return self.intercept + sum(self.weights.get(name, 0.0) * value for name, value in features.items())


def fit(rows: Sequence[Features], targets: Sequence[float]) -> RidgeModel:
    """The regression of `targets` on one or more `rows`; their mean if there is one row or all are equal."""
    places = {name: i for i, name in enumerate(dict.fromkeys(name for row in rows for name in row))}
    x = np.zeros((len(rows), len(places)))
    for i, row in enumerate(rows):
        x[i, [places[name] for name in row]] = list(row.values())
    y = np.asarray(targets, dtype=np.float64)
    centre, mean = x.mean(axis=0), float(y.mean())
    x = x - centre
    kernel = x @ x.T
    scale = float(np.trace(kernel)) / len(rows)
    if len(rows) < 2 or scale == 0:
        return RidgeModel(mean, {})
    values, vectors = np.linalg.eigh(kernel)
    alphas = [_dual(values, vectors, y - mean, penalty * scale) for penalty in PENALTIES]
    best = min(alphas, key=lambda found: found[1])[0]
    weights = x.T @ best
    return RidgeModel(mean - float(centre @ weights), dict(zip(places, weights.tolist(), strict=True)))


def _dual(values: np.ndarray, vectors: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """The dual weights C y and their leave-one-out error."""
    inverse = (vectors / (np.maximum(values, 0) + penalty)) @ vectors.T
    alpha = inverse @ y
    return alpha, float(np.mean((alpha / (np.diag(inverse) - 1 / (len(y) * penalty))) ** 2))
