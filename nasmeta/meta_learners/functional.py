"""A network as a pure function of its parameters, and the steps that inner loops are made of."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from nasmeta.meta_learners.normalization import OWN, Statistics, make_episodic
from nasmeta.task import Kind

Parameters = dict[str, Tensor]
Forward = Callable[[Parameters], Tensor]


class Network:
    """A module with `body` and `head`, called with the parameters it is to use.

    The module's batch norms are replaced by ones that obey `Statistics`; its own parameters only tell
    names, shapes and initial values.
    """

    def __init__(self, module: nn.Module) -> None:
        self.norms = make_episodic(module)
        self.module = module
        self.names = tuple(name for name, _ in module.named_parameters())
        self.body_names = tuple(name for name in self.names if name.startswith("body."))
        self.head_names = tuple(name for name in self.names if name.startswith("head."))

    def __call__(self, parameters: Parameters, x: Tensor, statistics: Statistics = OWN) -> Tensor:
        """Logits or regression outputs [n, outputs]."""
        self._set(statistics)
        output: Tensor = functional_call(self.module, {n: parameters[n] for n in self.names}, (x,))
        return output

    def embed(self, parameters: Parameters, x: Tensor, statistics: Statistics = OWN) -> Tensor:
        """The body's embeddings [n, features]."""
        self._set(statistics)
        body: nn.Module = self.module.body  # type: ignore[assignment]
        own = {name.removeprefix("body."): parameters[name] for name in self.body_names}
        embeddings: Tensor = functional_call(body, own, (x,))
        return embeddings

    def classify(self, parameters: Parameters, embeddings: Tensor) -> Tensor:
        """The head alone: [n, features] -> [n, outputs]."""
        return F.linear(embeddings, parameters["head.weight"], parameters["head.bias"])

    def _set(self, statistics: Statistics) -> None:
        for norm in self.norms:
            norm.source = statistics

    @property
    def features(self) -> int:
        """The width of an embedding."""
        weight: Tensor = self.module.get_parameter("head.weight")
        return weight.shape[1]

    def population(self) -> dict[str, Tensor]:
        """Mean and variance of each batch norm over everything recorded since the last call."""
        moments = {}
        for name, norm in self.module.named_modules():
            if norm in self.norms and norm.recorded:
                means, variances = (torch.stack(part) for part in zip(*norm.recorded, strict=True))
                mean = means.mean(0)
                moments[f"{name}.mean"] = mean
                moments[f"{name}.variance"] = variances.mean(0) + (means - mean).square().mean(0)
                norm.recorded = []
        return moments

    def set_population(self, moments: dict[str, Tensor]) -> None:
        """Makes `Statistics(population=True)` mean these moments, as `population` returned them."""
        for name, value in moments.items():
            self.module.get_buffer(name).copy_(value)


def all_examples(support_x: Tensor, query_x: Tensor) -> Tensor:
    """[T, N, ...] and [T, M, ...] -> [T * (N + M), ...], task by task; channels_last images stay so.

    Joined with the channels last in shape too: torch.cat knows no channels_last for five dimensions, and a
    grey image's channel would get the stride of a channels-first one.
    """
    last = torch.cat([support_x.movedim(2, -1), query_x.movedim(2, -1)], 1)
    return last.flatten(0, 1).movedim(-1, 1)


def task_loss(kind: Kind, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits [n, way] and labels [n], or mean squared error of [n, outputs]."""
    return F.cross_entropy(outputs, targets) if kind == "classification" else F.mse_loss(outputs, targets)


def gradient_step(
    parameters: Parameters,
    loss: Tensor,
    names: Sequence[str],
    rates: dict[str, Tensor] | float,
    *,
    create_graph: bool,
) -> Parameters:
    """parameters - rate * dloss/dparameters for `names`; the others are passed through.

    Without `create_graph` the gradient is a constant of the new parameters (first-order MAML), which
    still depend on the old ones and on the rates.
    """
    gradients = torch.autograd.grad(loss, [parameters[n] for n in names], create_graph=create_graph)
    stepped = {
        n: parameters[n] - (rates if isinstance(rates, float) else rates[n]) * g
        for n, g in zip(names, gradients, strict=True)
    }
    return parameters | stepped
