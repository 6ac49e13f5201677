"""Builds the networks of mlp architectures."""

from collections import OrderedDict
from math import prod

from torch import nn

from nasmeta.search_spaces import ops
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.modules import FewShotNetwork
from nasmeta.task import TaskSpec


def build(arch: MlpArchitecture, task: TaskSpec) -> FewShotNetwork:
    """The network of `arch` for inputs [n, *task.input_shape], flattened; weights are PyTorch's draws."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    units = prod(task.input_shape)
    for number, layer in enumerate(arch.blocks, 1):
        layers[f"layer{number}"] = _layer(layer, units)
        units = layer.width
    return FewShotNetwork(nn.Sequential(layers), nn.Linear(units, task.outputs))


def _layer(layer: MlpLayer, units: int) -> ops.Block:
    # Batch norm subtracts any bias. Layer norm is over the units of one example, and does not.
    branch = nn.Sequential(nn.Linear(units, layer.width, bias=layer.norm != "batch"))
    if layer.norm == "layer":
        branch.append(nn.LayerNorm(layer.width))
    if layer.norm == "batch":
        branch.append(nn.BatchNorm1d(layer.width, track_running_stats=False))
    shortcut = nn.Identity() if layer.skip else None
    return ops.Block(branch, shortcut, ops.ACTIVATIONS[layer.activation]())
