"""The norm of the gradient (Abdelfattah et al. 2021, arXiv:2101.08134).

The sum over the weights of convolutions and linear layers of each one's Euclidean gradient norm. The loss is
that of the learner's first meta-iteration on a batch of episodes, adaptation included (Reptile, which has no
such gradient: its direction), so that it is the few-shot problem that is looked at, where the paper takes a
minibatch of classification. The mean over batches.
"""

from nasmeta.evaluators.zero_cost.untrained import Untrained, mean


def grad_norm(net: Untrained) -> float:
    """Not negative."""
    return mean(float(sum(g.norm() for g in gradients.values())) for gradients in net.gradients())
