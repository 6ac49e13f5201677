"""Jacobian covariance (Mellor et al. 2020, arXiv:2006.04647v1).

Row i of J is the gradient of the sum of the outputs with respect to input i. The score is S = -sum_k [log(v_k
+ e) + 1 / (v_k + e)] over the eigenvalues v of the rows' correlation matrix, with e = 1e-5. If a network
tells inputs apart, its rows are hardly correlated, the eigenvalues are near 1, and the score is near its
maximum -N. Inputs are the support and query examples of a task together, without labels. The result is the
mean over tasks.
"""

from statistics import fmean

import torch

from nasmeta.evaluators.zero_cost.untrained import Untrained

EPSILON = 1e-5


def jacob_cov(net: Untrained) -> float:
    """At most minus the number of a task's examples; NaN if an output does not depend on an input."""
    return fmean(_score(net, support_x, query_x) for support_x, _, query_x, _ in net.tasks())


def _score(net: Untrained, support_x: torch.Tensor, query_x: torch.Tensor) -> float:
    x, outputs = net.outputs(support_x, query_x)
    (jacobian,) = torch.autograd.grad(outputs.sum(), x)
    return correlation_score(jacobian.flatten(1))


def correlation_score(jacobian: torch.Tensor) -> float:
    """S of a Jacobian [N, D], in double precision."""
    correlation = torch.corrcoef(jacobian.double().cpu())
    if not correlation.isfinite().all():
        return float("nan")
    values = torch.linalg.eigvalsh(correlation).clamp_min(0)  # rounding may leave them slightly negative
    return -float((torch.log(values + EPSILON) + 1 / (values + EPSILON)).sum())
