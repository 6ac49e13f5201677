"""The proxies by name."""

from typing import Literal

from nasmeta.evaluators.zero_cost.embedding import embedding
from nasmeta.evaluators.zero_cost.grad_norm import grad_norm
from nasmeta.evaluators.zero_cost.jacob_cov import jacob_cov
from nasmeta.evaluators.zero_cost.naswot import naswot
from nasmeta.evaluators.zero_cost.snip import snip
from nasmeta.evaluators.zero_cost.synflow import synflow
from nasmeta.evaluators.zero_cost.untrained import Proxy

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
