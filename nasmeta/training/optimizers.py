"""The outer optimizer: a torch optimizer, and a learning-rate schedule that depends on the iteration only.

Each option of conf/optimizer names one of the functions at the end; its keys are that function's arguments.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from nasmeta.errors import ConfigError
from nasmeta.networks.network import Parameters
from nasmeta.runtime import plain_optimizers

Schedule = Literal["constant", "linear", "cosine"]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class OuterOptimizer:
    """Makes a torch optimizer, and gives its learning rate at each meta-iteration.

    make: parameters or parameter groups -> optimizer. lr: the peak learning rate, above 0.
    warmup: share of the iterations, in [0, 1), over which the rate rises.
    """

    make: Callable[[list[Tensor] | list[dict[str, Any]]], Optimizer]
    lr: float
    schedule: Schedule
    warmup: float

    @property
    def open_ended(self) -> bool:
        """Whether the rates of earlier iterations do not depend on how many there are."""
        return self.schedule == "constant" and self.warmup == 0

    def rate(self, iteration: int, iterations: int) -> float:
        """The learning rate of a meta-iteration in [0, iterations).

        It rises linearly over the first `warmup` share of the iterations. Then it stays constant, or falls to
        zero, linearly (as Reptile's) or along half a cosine (Loshchilov & Hutter 2017, eq. 5).
        """
        warmup = self.warmup * iterations
        if iteration < warmup:
            return self.lr * (iteration + 1) / (warmup + 1)
        done = (iteration - warmup) / (iterations - warmup)
        factor = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
        return self.lr * factor[self.schedule]


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate; a group's is `rate` times its "scale", if it has one.

    A recordable optimizer reads it from the device in single precision. Others of one kernel get it rounded
    likewise, so that recorded and launched steps have the same bits.
    """
    for group in optimizer.param_groups:
        own = rate * group.get("scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = float(np.float32(own)) if is_one_kernel(optimizer) else own


def make_recordable(optimizer: Optimizer) -> None:
    """Prepares an optimizer of one kernel for a CUDA graph, which reads the rates that `set_rate` sets."""
    # The first step is launched, of which torch would warn.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = True


def is_one_kernel(optimizer: Optimizer) -> bool:
    """Whether one kernel updates all parameters."""
    return bool(optimizer.defaults.get("fused"))


def restore(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Restores the moments of a state_dict. Options stay: another device may have others."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": saved["state"]})
    _start_momentum(optimizer)


def _start_momentum(optimizer: Optimizer) -> None:
    """Gives every parameter of SGD in one kernel a momentum, of 0 before its first gradient.

    torch's kernel takes momenta of all parameters or of none, so it fails if some get gradients later than
    others, as those of a supernet do.
    """
    for group in optimizer.param_groups:
        if group.get("fused") and group.get("momentum"):
            for parameter in group["params"]:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))


def _outer(
    optimizer: type[Optimizer], lr: float, schedule: Schedule, warmup: float, **options: Any
) -> OuterOptimizer:
    def make(parameters: list[Tensor] | list[dict[str, Any]]) -> Optimizer:
        together = {"fused" if _has_one_kernel(optimizer, parameters[0]) else "foreach": True}
        made = optimizer(parameters, lr=lr, **together, **options)  # type: ignore[call-arg,arg-type]
        _start_momentum(made)
        return made

    return OuterOptimizer(make, lr, schedule, warmup)


def _has_one_kernel(optimizer: type[Optimizer], first: Tensor | dict[str, Any]) -> bool:
    """Whether torch has one kernel that updates all parameters, of which `first` is one or a group."""
    one = first["params"][0] if isinstance(first, dict) else first
    return one.device.type == "cuda" and "fused" in signature(optimizer).parameters


def adam(
    *, lr: Rate, beta1: Share, beta2: Share, weight_decay: Decay, schedule: Schedule, warmup: Share
) -> OuterOptimizer:
    """Adam (Kingma & Ba 2015)."""
    betas = (beta1, beta2)
    return _outer(plain_optimizers.Adam, lr, schedule, warmup, betas=betas, weight_decay=weight_decay)


def adamw(
    *, lr: Rate, beta1: Share, beta2: Share, weight_decay: Decay, schedule: Schedule, warmup: Share
) -> OuterOptimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    betas = (beta1, beta2)
    return _outer(plain_optimizers.AdamW, lr, schedule, warmup, betas=betas, weight_decay=weight_decay)


def rmsprop(
    *, lr: Rate, alpha: Share, momentum: Share, weight_decay: Decay, schedule: Schedule, warmup: Share
) -> OuterOptimizer:
    """RMSProp (Tieleman & Hinton 2012); `alpha` is the smoothing of the squared gradient."""
    return _outer(
        plain_optimizers.RMSprop,
        lr,
        schedule,
        warmup,
        alpha=alpha,
        momentum=momentum,
        weight_decay=weight_decay,
    )


def sgd(
    *, lr: Rate, momentum: Share, nesterov: bool, weight_decay: Decay, schedule: Schedule, warmup: Share
) -> OuterOptimizer:
    """Stochastic gradient descent. With lr 1 and a linear schedule it is Reptile's own outer step.

    Raises ConfigError for Nesterov's momentum without momentum.
    """
    if nesterov and not momentum:
        raise ConfigError(
            "optimizer.nesterov: is a kind of momentum, and optimizer.momentum is 0; use "
            "optimizer.nesterov=false, or more momentum"
        )
    return _outer(
        plain_optimizers.SGD,
        lr,
        schedule,
        warmup,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )


def descend(parameters: Parameters, gradients: Parameters, optimizer: Optimizer) -> None:
    """A step of the optimizer; a parameter without a gradient stays as it is."""
    for name, parameter in parameters.items():
        parameter.grad = gradients.get(name)
    optimizer.step()
