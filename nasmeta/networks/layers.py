"""Replaces torch's layers of a network by our own, and back."""

from torch import Tensor, nn

from nasmeta.networks.batch_norm import EpisodicBatchNorm
from nasmeta.networks.forward_pass import Activation, ForwardPass, Norm, Pooling
from nasmeta.networks.group_norm import FusedGroupNorm
from nasmeta.networks.kernels.stacked import StackedConv2d
from nasmeta.search_spaces.ops import Block, StridedPointwise

Place = tuple[nn.Module, str]
"""A module and the name of one of its children."""


def adopt(module: nn.Module, current: ForwardPass) -> list[EpisodicBatchNorm]:
    """Replaces the norms and plain convolutions inside `module`, in place; returns its batch norms in order.

    The new layers compute as `current` says. A batch norm takes over the 2x2 max-pooling that follows it in a
    Sequential. On one core, ProtoNet trains in 72 to 82 % of the time and predicts in 68 to 73 % (4-conv-64,
    28x28, CPU time, medians of 7 interleaved repetitions on 2026-11-26). Other learners take 63 to 103 %.
    Raises ValueError if a batch norm has no weight and bias; such a group norm stays torch's.
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
                    setattr(owner, name, _batch_norm(child, places[number + 1 :], current))
                elif type(child) is nn.GroupNorm and child.affine:
                    setattr(owner, name, _group_norm(child, places[number + 1 :], current))
    return [m for m in module.modules() if isinstance(m, EpisodicBatchNorm)]


def make_plain(module: nn.Module) -> None:
    """Makes every layer torch's own, in place; norms have the population's moments."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(
                child, EpisodicBatchNorm | FusedGroupNorm | Fusible | StackedConv2d | StridedPointwise
            ):
                setattr(parent, name, child.plain())


class Fusible(nn.Module):
    """An activation or a pooling that the norm before it may compute.

    layer: the layer. current: the network's pass. activation: what the norm would compute, which says whether
    it does; for a pooling, the activation between them. norm: the kind of the norm.
    """

    def __init__(self, layer: nn.Module, current: ForwardPass, activation: Activation, norm: Norm) -> None:
        super().__init__()
        self.layer, self.current, self.activation, self.norm = layer, current, activation, norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x if self.current.fuses(x, self.activation, self.norm) else self.layer(x)
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


def _batch_norm(
    norm: nn.BatchNorm1d | nn.BatchNorm2d, following: list[Place], current: ForwardPass
) -> EpisodicBatchNorm:
    """Our norm, which takes over the max-pooling that follows and may compute what follows besides."""
    activation, pooling, places = _computable(following)
    first = getattr(*places[0]) if places else None
    pool = first if first is not None and _pooling(first) == "max" else None
    if pool is not None:
        setattr(*places.pop(0), nn.Identity())
    _make_fusible(places, current, activation, "batch")
    return EpisodicBatchNorm(norm, current, pool, activation, pooling)


def _group_norm(norm: nn.GroupNorm, following: list[Place], current: ForwardPass) -> FusedGroupNorm:
    """Our norm, which may compute what follows."""
    activation, pooling, places = _computable(following)
    _make_fusible(places, current, activation, "group")
    return FusedGroupNorm(norm, current, activation, pooling)


def _make_fusible(places: list[Place], current: ForwardPass, activation: Activation, norm: Norm) -> None:
    for owner, name in places:
        setattr(owner, name, Fusible(getattr(owner, name), current, activation, norm))


def _computable(following: list[Place]) -> tuple[Activation, Pooling, list[Place]]:
    """The activation and the pooling that a norm before `following` may compute, and where these are."""
    layers = [getattr(owner, name) for owner, name in following[:2]]
    match [(_activation(layer), _pooling(layer)) for layer in layers]:
        case [(None, "max"), ("relu", None)]:  # ReLU of a maximum is the maximum of ReLUs
            return "relu", "max", following[:2]
        case [(None, pooling), *_] if pooling:
            return "none", pooling, following[:1]
        case [(activation, None), (None, pooling)] if activation and pooling:
            return activation, pooling, following[:2]
        case [(activation, None), *_] if activation:
            return activation, "none", following[:1]
    return "none", "none", []


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
