"""Connection sensitivity (SNIP, Lee et al. 2019, arXiv:1810.02340), summed over the network.

|w * dL/dw| estimates how much the loss would change if connection w were cut. SNIP prunes by its normalized
values. As a score of a network (Abdelfattah et al. 2021, arXiv:2101.08134) it is summed without normalization
over the weights of convolutions and linear layers. L is the learner's loss on a batch of episodes, as in
grad_norm. The result is the mean over batches.
"""

from statistics import fmean

from nasmeta.evaluators.zero_cost.untrained import Untrained


def snip(net: Untrained) -> float:
    """The summed sensitivity, which is not negative."""
    weights = {name: weight.detach() for name, weight in net.weights().items()}
    return fmean(
        float(sum((weights[name] * gradient).abs().sum() for name, gradient in gradients.items()))
        for gradients in net.gradients()
    )
