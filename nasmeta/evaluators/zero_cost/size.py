"""Parameters and FLOPs as proxies: the baselines that any other proxy has to beat.

Ning et al. 2021 ("Evaluating efficient performance estimators of neural architectures", arXiv:2008.03064)
compare proxies with them.
"""

from nasmeta.evaluators.zero_cost.untrained import Untrained


def params(net: Untrained) -> float:
    """The number of parameters."""
    return float(net.cost.params)


def flops(net: Untrained) -> float:
    """Operations of one example's forward pass."""
    return float(net.cost.flops)
