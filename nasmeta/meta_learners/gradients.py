"""Losses, gradients and metrics, the building blocks of inner and outer loops."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nasmeta.networks.network import Parameters
from nasmeta.task import Kind

Metrics = dict[str, Tensor]
Gradients = tuple[Parameters, Metrics]
"""A gradient for every meta-learned parameter, and the metrics of the same pass."""


def task_loss(kind: Kind, outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of logits [n, way] and labels [n], or the mean squared error of [n, outputs].

    For T tasks, [T, n, ...], it is the sum of their losses, so that each task's weights get the gradient of
    that task's own loss.
    """
    tasks = len(outputs) if outputs.dim() == 3 else 1
    if kind == "classification":
        return tasks * F.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    return tasks * F.mse_loss(outputs, targets)


def gradient(loss: Tensor, parameters: Parameters, *, create_graph: bool = False) -> Parameters:
    """dloss/dparameters by name; zeros for parameters that the loss does not depend on."""
    places = list(parameters.values())
    gradients = torch.autograd.grad(
        loss, places, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, gradients, strict=True))


def laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """`gradient` with the strides of `parameter`, as an optimizer that is one kernel on a GPU needs it.

    Convolutions of channels_last images give the gradient of their weight in channels_last.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter, requires_grad=False).copy_(gradient)


def gradient_step(
    parameters: Parameters, loss: Tensor, rates: Mapping[str, Tensor | float], *, create_graph: bool
) -> Parameters:
    """Returns parameters - rate * dloss/dparameters for those with a rate, and all others unchanged.

    Without `create_graph` the gradient counts as a constant (first-order MAML). The new parameters still
    depend on the old ones and on the rates.
    """
    gradients = gradient(loss, {name: parameters[name] for name in rates}, create_graph=create_graph)
    moved = {name: _moved(parameters[name], gradients[name], rate) for name, rate in rates.items()}
    return parameters | moved


def _moved(parameter: Tensor, gradient: Tensor, rate: Tensor | float) -> Tensor:
    """parameter - rate * gradient."""
    return parameter.add(gradient, alpha=-rate) if isinstance(rate, float) else parameter - rate * gradient


def batch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of right answers, over the last dimension of labels: [..., M, way], [..., M] -> [...]."""
    return (logits.argmax(-1) == labels).float().mean(-1)


def task_metrics(kind: Kind, loss: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """The loss, and for classification the accuracy of logits [..., n, way] on labels [..., n]."""
    if kind == "regression":
        return {"loss": loss.detach()}
    return {"loss": loss.detach(), "accuracy": batch_accuracy(outputs.detach(), targets).mean()}


class Mean:
    """The weighted mean of dictionaries of tensors, summed in the order of `add`; it stays on the device."""

    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}
        self.weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        for name, value in values.items():
            self.total[name] = torch.add(self.total.get(name, 0.0), value.detach(), alpha=weight)
        self.weight += weight

    def get(self) -> dict[str, Tensor]:
        return {name: total / self.weight for name, total in self.total.items()}
