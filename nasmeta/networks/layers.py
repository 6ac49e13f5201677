"""Replaces torch's layers of a network by our own, and back."""

from torch import Tensor, nn

from nasmeta.networks.batch_norm import EpisodicBatchNorm
from nasmeta.networks.forward_pass import Activation, ForwardPass, Pooling
from nasmeta.networks.kernels.stacked import StackedConv2d
from nasmeta.search_spaces.ops import Block, StridedPointwise

Place = tuple[nn.Module, str]
"""A module and the name of one of its children."""


def adopt(module: nn.Module, current: ForwardPass) -> list[EpisodicBatchNorm]:
    """Replaces the batch norms and plain convolutions inside `module`, in place; returns its norms in order.

    The new layers compute as `current` says. A norm takes over the 2x2 max-pooling that follows it in a
    Sequential. On one core, ProtoNet trains in 72 to 82 % of the time and predicts in 68 to 73 % (4-conv-64,
    28x28, CPU time, medians of 7 interleaved repetitions on 2026-11-26). Other learners take 63 to 103 %.
    Raises ValueError if a norm has no weight and bias.
    """
    for parent in list(module.modules()):
        for places in _sequences(parent):
            for number, (owner, name) in enumerate(places):
                child = getattr(owner, name)
                if type(child) is nn.Conv2d and StackedConv2d.supports(child):
                    setattr(owner, name, StackedConv2d(child, current))
                elif isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                    if not child.affine:
                        raise ValueError(f"{name}: a batch norm without weight and bias is not supported")
                    setattr(owner, name, _norm(child, places[number + 1 :], current))
    return [m for m in module.modules() if isinstance(m, EpisodicBatchNorm)]


def make_plain(module: nn.Module) -> None:
    """Makes every layer torch's own, in place; norms have the population's moments."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, EpisodicBatchNorm | Fusible | StackedConv2d | StridedPointwise):
                setattr(parent, name, child.plain())


class Fusible(nn.Module):
    """An activation or a pooling that the norm before it may compute.

    layer: the layer. current: the network's pass. activation: what the norm would compute, which says whether
    it does; for a pooling, the activation between them.
    """

    def __init__(self, layer: nn.Module, current: ForwardPass, activation: Activation) -> None:
        super().__init__()
        self.layer, self.current, self.activation = layer, current, activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.current.fuses(x, self.activation) else self.layer(x)
        return y

    def plain(self) -> nn.Module:
        return self.layer


def _sequences(parent: nn.Module) -> list[list[Place]]:
    """The children that run directly one after the other; those of a Block without a shortcut are one row."""
    places: list[Place] = [(parent, name) for name, _ in parent.named_children()]
    if isinstance(parent, nn.Sequential):
        return [places]
    if isinstance(parent, Block) and parent.shortcut is None:
        parts = {"branch": parent.branch, "tail": parent.tail}
        each = [
            _sequences(part) if isinstance(part, nn.Sequential) else [[(parent, name)]]
            for name, part in parts.items()
        ]
        return [[place for (row,) in each for place in row]]
    return [[place] for place in places]


def _norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, following: list[Place], current: ForwardPass) -> nn.Module:
    """Our norm, which takes over the max-pooling that follows and may compute what follows besides."""
    layers = [getattr(owner, name) for owner, name in following]
    activation: Activation = "none"
    pooling: Pooling = "none"
    pool, number = None, 0
    if layers and _pooling(layers[0]) == "max":
        pool, pooling, number = layers[0], "max", 1
        setattr(*following[0], nn.Identity())
    if layers[number:] and (found := _activation(layers[number])) and (pool is None or found == "relu"):
        activation = found  # ReLU of a maximum is the maximum of ReLUs
        setattr(*following[number], Fusible(layers[number], current, activation))
        number += 1
    if layers[number:] and pool is None and (kind := _pooling(layers[number])):
        pooling = kind
        setattr(*following[number], Fusible(layers[number], current, activation))
    return EpisodicBatchNorm(norm, current, pool, activation, pooling)


def _activation(layer: nn.Module) -> Activation | None:
    if isinstance(layer, nn.GELU):
        return "gelu" if layer.approximate == "none" else None
    if isinstance(layer, nn.ReLU):
        return "relu"
    return "silu" if isinstance(layer, nn.SiLU) else None


def _pooling(layer: nn.Module) -> Pooling | None:
    """max or avg, if it is a pooling of 2x2 windows that rounds down."""
    if not isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return None
    if (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode) != (2, 2, 0, False):
        return None
    if isinstance(layer, nn.AvgPool2d):
        return "avg" if layer.divisor_override is None else None
    return "max" if layer.dilation == 1 and not layer.return_indices else None
