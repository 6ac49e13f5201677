"""A network as a pure function of its parameters, and the building blocks of inner loops."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from nasmeta.networks.batch_norm import OWN, EpisodicBatchNorm, Statistics, make_episodic, make_plain
from nasmeta.networks.execution import Execution
from nasmeta.networks.kernels.stacked import StackedConv2d
from nasmeta.task import Kind

Parameters = dict[str, Tensor]
Forward = Callable[[Parameters], Tensor]


class Network:
    """A module with a `body` and a `head`, called with the parameters to use.

    The module's batch norms are replaced by ones that follow `Statistics`. The module's own parameters only
    give names, shapes and initial values. Several threads may call it at the same time, because each thread
    computes with its own copy.

    Parameters may have one dimension more than the module's: they are then stacked for T tasks. Each task's
    inputs, x [T, n, ...], are answered with its own weights: [T, n, outputs].
    """

    def __init__(self, module: nn.Module) -> None:
        self.norms = make_episodic(module)
        StackedConv2d.adopt(module)
        self.module = module
        self.execution = Execution()
        self.names = tuple(name for name, _ in module.named_parameters())
        self.body_names = tuple(name for name in self.names if name.startswith("body."))
        self.head_names = tuple(name for name in self.names if name.startswith("head."))
        self._copies = threading.local()

    def __getstate__(self) -> dict[str, object]:
        """The state to pickle or copy, without what belongs to this process and its threads."""
        return {name: value for name, value in vars(self).items() if name != "_copies"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _copies=threading.local())

    def __call__(self, parameters: Parameters, x: Tensor, statistics: Statistics = OWN) -> Tensor:
        """Logits or regression outputs [n, outputs]."""
        return self._run("", parameters, x, statistics)

    def embed(self, parameters: Parameters, x: Tensor, statistics: Statistics = OWN) -> Tensor:
        """The body's embeddings [n, features]."""
        return self._run("body", parameters, x, statistics)

    def anneal(self, progress: float) -> None:
        """Sets how far this thread's inner loop is, 0 to 1, for a network that changes during it."""
        anneal = getattr(self._copy().module, "anneal", None)
        if anneal is not None:
            anneal(progress)

    def classify(self, parameters: Parameters, embeddings: Tensor) -> Tensor:
        """The head alone: [n, features] -> [n, outputs]."""
        return embeddings @ parameters["head.weight"].mT + parameters["head.bias"].unsqueeze(-2)

    def _run(self, part: str, parameters: Parameters, x: Tensor, statistics: Statistics) -> Tensor:
        names = self.body_names if part else self.names
        values = [parameters[name] for name in names]
        if parameters[self.names[0]].dim() == self.module.get_parameter(self.names[0]).dim():
            return self._forward(part, names, values, x, statistics)
        each = replace(statistics, fused=False, stacked=True)
        together = torch.vmap(lambda values, x: self._forward(part, names, values, x, each))
        outputs: Tensor = together(values, x)
        return outputs

    def _forward(
        self, part: str, names: Sequence[str], values: Sequence[Tensor], x: Tensor, statistics: Statistics
    ) -> Tensor:
        own = self._copy()
        call: Callable[..., Tensor] = own
        if self.execution.compile:
            call, statistics = self._compiled, replace(statistics, fused=False, stacked=False)
        if self.execution.precision != "bf16":
            return call(part, names, values, x, statistics)
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            mixed = replace(statistics, fused=False, stacked=False)
            return call(part, names, values, x, mixed).float()

    def _copy(self) -> "_Copy":
        if not hasattr(self._copies, "own"):
            self._copies.own = _Copy(self.module)
        own: _Copy = self._copies.own
        return own

    def _compiled(
        self, part: str, names: Sequence[str], values: Sequence[Tensor], x: Tensor, statistics: Statistics
    ) -> Tensor:
        for norm in self.norms:
            norm.source = statistics
        own = {n.removeprefix("body.") if part else n: v for n, v in zip(names, values, strict=True)}
        outputs: Tensor = _compile()(self.module.get_submodule(part), own, (x,))
        return outputs

    def to(self, device: torch.device) -> None:
        """Moves to `device` what the network holds besides the parameters it is called with."""
        self.module.to(device)
        self._copies = threading.local()

    @property
    def features(self) -> int:
        """The width of an embedding."""
        weight: Tensor = self.module.get_parameter("head.weight")
        return weight.shape[1]

    def population(self) -> dict[str, Tensor]:
        """The mean and variance of each batch norm over everything recorded since the last call, by name."""
        moments = {}
        recorders = self.module if self.execution.compile else self._copy().module
        for name, norm in recorders.named_modules():
            if isinstance(norm, EpisodicBatchNorm) and norm.recorded:
                means, variances = (torch.stack(part) for part in zip(*norm.recorded, strict=True))
                mean = means.mean(0)
                moments[f"{name}.mean"] = mean
                moments[f"{name}.variance"] = variances.mean(0) + (means - mean).square().mean(0)
                norm.recorded = []
        return moments

    def plain_body(self, parameters: Parameters, moments: dict[str, Tensor]) -> nn.Module:
        """A copy of the body in torch's own layers, with these parameters and these batch-norm moments."""
        body = copy.deepcopy(self.module.get_submodule("body"))
        with torch.no_grad():
            for name, place in [*body.named_parameters(), *body.named_buffers()]:
                place.copy_({**parameters, **moments}[f"body.{name}"])
        make_plain(body)
        StackedConv2d.disown(body)
        return body

    def set_population(self, moments: dict[str, Tensor]) -> None:
        """Sets the moments that `Statistics(population=True)` uses, as `population` returned them."""
        for name, value in moments.items():
            self.module.get_buffer(name).copy_(value)


class _Copy:
    """One thread's copy of a module, whose parameters are plain attributes that are set before each call.

    It does what torch.func.functional_call does, in a tenth of the time. It shares the original's buffers.
    """

    def __init__(self, module: nn.Module) -> None:
        shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        self.module = copy.deepcopy(module, shared)
        self.norms = [m for m in self.module.modules() if isinstance(m, EpisodicBatchNorm)]
        self.convolutions = [m for m in self.module.modules() if isinstance(m, StackedConv2d)]
        self.stacked = False
        self.places: dict[str, tuple[dict[str, object], str]] = {}
        for prefix, owner in self.module.named_modules():
            for name in [name for name, p in owner._parameters.items() if p is not None]:
                del owner._parameters[name]
                self.places[f"{prefix}.{name}" if prefix else name] = (owner.__dict__, name)

    def __call__(
        self, part: str, names: Sequence[str], values: Sequence[Tensor], x: Tensor, statistics: Statistics
    ) -> Tensor:
        for name, value in zip(names, values, strict=True):
            attributes, attribute = self.places[name]
            attributes[attribute] = value
        for norm in self.norms:
            norm.source = statistics
        if statistics.stacked != self.stacked:
            self.stacked = statistics.stacked
            for convolution in self.convolutions:
                convolution.stacked = self.stacked
        outputs: Tensor = self.module.get_submodule(part)(x)
        return outputs


@cache
def _compile() -> Callable[..., Tensor]:
    return torch.compile(functional_call)


def side_by_side(parameters: Parameters, tensors: Sequence[Tensor]) -> tuple[Parameters, tuple[Tensor, ...]]:
    """Prepares parameters and tensors [T, ...] for a call of a Network on T tasks.

    One task: the tensors lose their first dimension. Several: the parameters are repeated, [T, ...].
    """
    tasks = len(tensors[0])
    if tasks == 1:
        return parameters, tuple(tensor[0] for tensor in tensors)
    return {n: p.expand(tasks, *p.shape) for n, p in parameters.items()}, tuple(tensors)


def all_examples(support_x: Tensor, query_x: Tensor) -> Tensor:
    """Joins [T, N, ...] and [T, M, ...] task by task: [T * (N + M), ...]; channels_last images stay so.

    The channels are moved last in shape too, because torch.cat has no channels_last for five dimensions. The
    channel of a grey image would otherwise get the stride of a channels-first one.
    """
    last = torch.cat([support_x.movedim(2, -1), query_x.movedim(2, -1)], 1)
    return last.flatten(0, 1).movedim(-1, 1)


def task_loss(kind: Kind, outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of logits [n, way] and labels [n], or the mean squared error of [n, outputs].

    For T tasks, [T, n, ...], it is the sum of their losses, so that each task's weights get the gradient of
    that task's own loss.
    """
    tasks = len(outputs) if outputs.dim() == 3 else 1
    if kind == "classification":
        return tasks * F.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    return tasks * F.mse_loss(outputs, targets)


def gradient_step(
    parameters: Parameters,
    loss: Tensor,
    names: Sequence[str],
    rates: Mapping[str, Tensor | float] | float,
    *,
    create_graph: bool,
) -> Parameters:
    """Returns parameters - rate * dloss/dparameters for `names`, and all other parameters unchanged.

    Without `create_graph` the gradient counts as a constant (first-order MAML). The new parameters still
    depend on the old ones and on the rates.
    """
    before = [parameters[n] for n in names]
    # A parameter that this pass did not use (of an operation that was not sampled) stays as it is.
    gradients = torch.autograd.grad(
        loss, before, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    if isinstance(rates, float):
        return parameters | dict(zip(names, torch._foreach_add(before, gradients, alpha=-rates), strict=True))
    stepped = {n: p - rates[n] * g for n, p, g in zip(names, before, gradients, strict=True)}
    return parameters | stepped


def scaled(
    rates: Mapping[str, Tensor] | float, names: Sequence[str], scale: Mapping[str, float]
) -> Mapping[str, Tensor | float] | float:
    """The learning rates of `names`, times their factors in `scale` (1 if there is no factor)."""
    if not scale:
        return rates
    return {n: (rates if isinstance(rates, float) else rates[n]) * scale.get(n, 1.0) for n in names}
