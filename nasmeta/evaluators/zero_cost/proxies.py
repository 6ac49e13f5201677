"""The proxies by name, and the functions that they are for a problem."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.failures import FAILURES
from nasmeta.evaluators.zero_cost.embedding import embedding
from nasmeta.evaluators.zero_cost.grad_norm import grad_norm
from nasmeta.evaluators.zero_cost.jacob_cov import jacob_cov
from nasmeta.evaluators.zero_cost.naswot import naswot
from nasmeta.evaluators.zero_cost.snip import snip
from nasmeta.evaluators.zero_cost.synflow import synflow
from nasmeta.evaluators.zero_cost.untrained import Proxy, Untrained
from nasmeta.training.problem import Problem

Name = Literal["synflow", "jacob_cov", "naswot", "grad_norm", "snip", "embedding", "params", "flops"]

PROXIES: dict[str, Proxy] = {
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "naswot": naswot,
    "grad_norm": grad_norm,
    "snip": snip,
    "embedding": embedding,
    "params": lambda net: float(net.cost.params),
    "flops": lambda net: float(net.cost.flops),
}
"""`params` and `flops` are the baselines that any other proxy has to beat (Ning et al. 2021, "Evaluating
efficient performance estimators of neural architectures", arXiv:2008.03064)."""

CLASSIFICATION_ONLY = frozenset({"embedding"})


def check_kind(names: Iterable[str], problem: Problem, key: str) -> None:
    """Raises ConfigError, which names `key`, if one of the proxies is not for these tasks."""
    senseless = sorted(CLASSIFICATION_ONLY & set(names))
    if senseless and problem.task.kind != "classification":
        raise ConfigError(f"{key}: {senseless[0]} is for classification, and these tasks have no classes")


def scorer(problem: Problem, name: str, batches: int) -> Callable[[Any], float]:
    """A function from architectures to the proxy `name` on a training's first `batches`, for a strategy.

    It returns NaN if the proxy cannot be computed. Raises ConfigError if there is no such proxy, or if it is
    not for these tasks.
    """
    if name not in PROXIES:
        raise ConfigError(f"strategy.proxy: {name!r} is not a zero-cost score; {suggest(name, PROXIES)}")
    check_kind([name], problem, "strategy.proxy")

    def score(arch: Any) -> float:
        try:
            return PROXIES[name](Untrained.of(problem, arch, batches))
        except FAILURES:
            return math.nan

    return score
