"""The proxies by name, and the untrained networks that they are given."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from nasmeta.errors import Interrupted
from nasmeta.evaluators.zero_cost.embedding import embedding
from nasmeta.evaluators.zero_cost.grad_norm import grad_norm
from nasmeta.evaluators.zero_cost.jacob_cov import jacob_cov
from nasmeta.evaluators.zero_cost.naswot import naswot
from nasmeta.evaluators.zero_cost.snip import snip
from nasmeta.evaluators.zero_cost.synflow import synflow
from nasmeta.evaluators.zero_cost.untrained import Proxy, Untrained
from nasmeta.networks.cost import measure_cost
from nasmeta.task import TaskBatch
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop

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


def untrained(problem: Problem, arch: Any, batches: int, stop: Stop = lambda: False) -> Untrained:
    """An architecture as a trial would start it, with the first `batches` of its meta-training.

    It computes in single precision and uncompiled, whatever the run does: neither pays for a few batches.
    Raises ArchitectureError if it cannot be built. Reading its batches raises Interrupted once `stop()` is
    true.
    """

    def episodes() -> Iterator[TaskBatch]:
        for iteration in range(batches):
            if stop():
                raise Interrupted(f"stopped after {iteration} of {batches} batches of a proxy")
            yield problem.train.batch(iteration, problem.meta_batch)

    cost = measure_cost(problem.space, arch, problem.task)
    plain = replace(problem, execution=replace(problem.execution, compile=False, precision="fp32"))
    return Untrained(problem.learner, plain.initial_state(arch), episodes, cost)
