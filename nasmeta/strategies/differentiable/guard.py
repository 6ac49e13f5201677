"""When to stop before the architecture collapses to skip connections.

Unguarded DARTS ends with skips: they speed up the descent of the weights more than they help the network
(Zela et al. 2020, arXiv:1909.09656, section 3). There are two early warnings. One is the number of skips of
the derived architecture (DARTS+, Liang et al. 2019, arXiv:1909.06035, criterion 1, which stops at two in the
normal cell). The other is the dominant eigenvalue of d2 L_valid / dalpha2, which grows first (DARTS-ES, Zela
et al. 2020, section 4.3).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.strategies.differentiable.bilevel import RADIUS, Parameters, moved

if TYPE_CHECKING:
    import numpy as np

WINDOW = 3
"""Epochs over which eigenvalues are averaged, as in the paper."""

LAG = 5
"""k: epochs between the two means that are compared. The search returns to the earlier epoch."""

RATIO = 0.75
"""The search stops if the mean eigenvalue k epochs ago is less than this share of the present one."""

POWER_STEPS = 10
"""The most steps of the power iteration. Each takes two gradients."""

SETTLED = 0.001
"""The power iteration ends if a step changes the eigenvalue by less than this share of it."""


def skips(graph: ArchitectureGraph) -> int:
    """The number of skip connections among the used operations of all cells."""
    return graph.operations.count("skip_connect")


def has_sharpened(eigenvalues: Sequence[float]) -> bool:
    """Whether mean(i - k) / mean(i) < RATIO; mean(i) is over the WINDOW epochs up to i."""
    if len(eigenvalues) < WINDOW + LAG:
        return False
    now = sum(eigenvalues[-WINDOW:]) / WINDOW
    before = sum(eigenvalues[-WINDOW - LAG : -LAG]) / WINDOW
    return now > 0 and before / now < RATIO


def dominant_eigenvalue(
    at: Callable[[Parameters], Parameters], point: Parameters, rng: "np.random.Generator"
) -> float:
    """The eigenvalue of largest magnitude of the derivative of `at` at `point`, a symmetric matrix.

    Power iteration from a random direction. Products with the matrix are finite differences of gradients.
    """
    names = list(point)

    def product(direction: Parameters) -> Parameters:
        ahead, behind = (at(moved(point, names, direction, sign * RADIUS)) for sign in (1.0, -1.0))
        return {name: (ahead[name] - behind[name]) / (2 * RADIUS) for name in names}

    direction = {
        name: torch.from_numpy(rng.standard_normal(tuple(value.shape))).to(value)
        for name, value in point.items()
    }
    eigenvalue = 0.0
    for _ in range(POWER_STEPS):
        length = _flat(direction).norm()
        if not length > 0:
            return 0.0
        direction = {name: value / length for name, value in direction.items()}
        image = product(direction)
        before, eigenvalue = eigenvalue, float(_flat(direction) @ _flat(image))
        if abs(eigenvalue - before) < SETTLED * abs(eigenvalue):
            break
        direction = image
    return eigenvalue


def _flat(values: Parameters) -> torch.Tensor:
    return torch.cat([value.flatten() for value in values.values()])
