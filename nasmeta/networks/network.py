"""A network as a pure function of its parameters."""

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasmeta.networks.batch_norm import EpisodicBatchNorm
from nasmeta.networks.execution import Execution
from nasmeta.networks.forward_pass import ForwardPass, Kernels
from nasmeta.networks.layers import adopt, make_plain
from nasmeta.networks.policy import OWN, Statistics

Parameters = dict[str, Tensor]


class Network:
    """A module with a `body` and a `head`, called with the parameters to use.

    module: some of its layers are replaced by our own, in place. Its own parameters only give names, shapes
    and initial values.

    Several threads may call the network at the same time, because each thread computes with its own copy.
    Parameters with one more dimension than the module's are stacked for T tasks. The inputs [T, n, ...] of
    each task are then answered with its own weights: [T, n, outputs].
    """

    def __init__(self, module: nn.Module) -> None:
        self.current = ForwardPass()
        self.norms = adopt(module, self.current)
        self.module = module
        self.execution = Execution()
        self.names = tuple(name for name, _ in module.named_parameters())
        self.body_names = tuple(name for name in self.names if name.startswith("body."))
        self.head_names = tuple(name for name in self.names if name.startswith("head."))
        self._copies = _Copies()

    def __call__(
        self,
        parameters: Parameters,
        x: Tensor,
        statistics: Statistics = OWN,
        kernels: Kernels = Kernels.FUSED,
    ) -> Tensor:
        """Logits or regression outputs [n, outputs]."""
        return self._run("", parameters, x, statistics, kernels)

    def embed(
        self,
        parameters: Parameters,
        x: Tensor,
        statistics: Statistics = OWN,
        kernels: Kernels = Kernels.FUSED,
    ) -> Tensor:
        """The body's embeddings [n, features]."""
        return self._run("body", parameters, x, statistics, kernels)

    def classify(self, parameters: Parameters, embeddings: Tensor) -> Tensor:
        """The head alone: [n, features] -> [n, outputs]."""
        return embeddings @ parameters["head.weight"].mT + parameters["head.bias"].unsqueeze(-2)

    def anneal(self, progress: float) -> None:
        """Tells a network that changes during the inner loop how far this thread's is, from 0 to 1."""
        anneal = getattr(self._running, "anneal", None)
        if anneal is not None:
            anneal(progress)

    def _run(
        self, part: str, parameters: Parameters, x: Tensor, statistics: Statistics, kernels: Kernels
    ) -> Tensor:
        names = self.body_names if part else self.names
        values = {name: parameters[name] for name in names}
        triton = self.execution.kernels == "triton" and kernels is not Kernels.PLAIN
        group_norms = triton and not self.execution.measured_only
        how = ForwardPass(statistics, kernels, triton, group_norms, twice=kernels is Kernels.TWICE)
        if parameters[self.names[0]].dim() == self.module.get_parameter(self.names[0]).dim():
            return self._forward(part, values, x, how)
        each = replace(how, kernels=Kernels.STACKED, stacked=True)
        outputs: Tensor = torch.vmap(lambda values, x: self._forward(part, values, x, each))(values, x)
        return outputs

    def _forward(self, part: str, values: Parameters, x: Tensor, how: ForwardPass) -> Tensor:
        call: Callable[..., Tensor] = self._compiled if self.execution.compile else self._copy
        mixed = self.execution.precision == "bf16"
        if mixed or self.execution.compile:
            how = replace(how, kernels=Kernels.PLAIN)
        if not mixed:
            return call(part, values, x, how)
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            return call(part, values, x, how).float()

    def _compiled(self, part: str, values: Parameters, x: Tensor, how: ForwardPass) -> Tensor:
        self.current.become(how)
        own = {name.removeprefix(f"{part}."): value for name, value in values.items()}
        outputs: Tensor = _compile()(self.module.get_submodule(part), own, (x,))
        return outputs

    @property
    def _running(self) -> nn.Module:
        """The module that computes this thread's passes."""
        return self.module if self.execution.compile else self._copy.module

    @property
    def _copy(self) -> "_Copy":
        if not hasattr(self._copies, "own"):
            self._copies.own = _Copy(self.module, self.current)
        own: _Copy = self._copies.own
        return own

    def to(self, device: torch.device) -> None:
        """Moves the module, with its buffers, to `device`."""
        self.module.to(device)
        self._copies = _Copies()

    def allocate(self, device: torch.device) -> None:
        """Gives a module of the `meta` device memory on `device`. Its parameters then have any values."""
        self.module.to_empty(device=device)
        for norm in self.norms:
            norm.mean.zero_()
            norm.variance.fill_(1)
        self._copies = _Copies()

    @property
    def features(self) -> int:
        """The width of an embedding."""
        return self.module.get_parameter("head.weight").shape[1]

    def population(self) -> dict[str, Tensor]:
        """The mean and variance of each batch norm over everything recorded since the last call, by name."""
        moments = {}
        for name, norm in self._running.named_modules():
            if isinstance(norm, EpisodicBatchNorm) and norm.recorded:
                means, variances = (torch.stack(part) for part in zip(*norm.recorded, strict=True))
                mean = means.mean(0)
                moments[f"{name}.mean"] = mean
                moments[f"{name}.variance"] = variances.mean(0) + (means - mean).square().mean(0)
                norm.recorded = []
        return moments

    def set_population(self, moments: dict[str, Tensor]) -> None:
        """Sets the moments that `Statistics(population=True)` uses, as `population` returned them."""
        for name, value in moments.items():
            self.module.get_buffer(name).copy_(value)

    def plain_body(self, parameters: Parameters, moments: dict[str, Tensor]) -> nn.Module:
        """A copy of the body in torch's own layers, with these parameters and these batch-norm moments."""
        body = copy.deepcopy(self.module.get_submodule("body"))
        with torch.no_grad():
            for name, place in [*body.named_parameters(), *body.named_buffers()]:
                place.copy_({**parameters, **moments}[f"body.{name}"])
        make_plain(body)
        return body


class _Copies(threading.local):
    """Each thread's copy of the module. Copying or pickling makes an empty one."""

    def __reduce__(self) -> tuple[type["_Copies"], tuple[()]]:
        return _Copies, ()


class _Copy:
    """One thread's copy of a module, whose parameters are plain attributes that are set before each call.

    It does what torch.func.functional_call does, in a tenth of the time. It shares the original's buffers.
    """

    def __init__(self, module: nn.Module, current: ForwardPass) -> None:
        shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
        self.module, self.current = copy.deepcopy((module, current), shared)
        self.places: dict[str, tuple[dict[str, Any], str]] = {}
        for prefix, owner in self.module.named_modules():
            for name, _ in list(owner.named_parameters(recurse=False)):
                delattr(owner, name)
                self.places[f"{prefix}.{name}" if prefix else name] = (vars(owner), name)

    def __call__(self, part: str, values: Parameters, x: Tensor, how: ForwardPass) -> Tensor:
        for name, value in values.items():
            attributes, attribute = self.places[name]
            attributes[attribute] = value
        self.current.become(how)
        outputs: Tensor = self.module.get_submodule(part)(x)
        return outputs


@cache
def _compile() -> Callable[..., Tensor]:
    return torch.compile(functional_call)
