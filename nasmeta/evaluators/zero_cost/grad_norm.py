"""The norm of the gradient (Abdelfattah et al. 2021, arXiv:2101.08134).

The sum, over the weights of convolutions and linear layers, of the Euclidean norm of each one's gradient; the
mean over batches. The loss is that of the learner's first meta-iteration on a batch of episodes, adaptation
included (for Reptile, which has no such gradient, its direction). So it measures the few-shot problem, while
the paper takes a minibatch of classification.
"""

from statistics import fmean

from nasmeta.evaluators.zero_cost.untrained import Untrained


def grad_norm(net: Untrained) -> float:
    """The gradient norm, which is not negative."""
    return fmean(float(sum(g.norm() for g in gradients.values())) for gradients in net.gradients())
