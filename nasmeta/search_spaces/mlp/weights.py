"""The weights of mlp networks: which ones they share, and how to start one network from another.

Sharing: layer i of every network, counted from the input, takes the first units of one linear layer, whatever
follows it. Each kind of norm has its own affine parameters. A shallower network ends earlier. There is one
head.

Morphism: the new network computes the old one's function if it differs only by
- wider layers (under layer norm only by a whole factor, which keeps its moments);
- inserted ReLU layers that are as wide as the ReLU layer before them, and have either a skip, to which they
  add nothing at first, or no norm. They begin as the identity (Net2DeeperNet).

All other edits (other activations or norms, narrower layers, new skips, removed layers) keep the values that
fit by name and shape, layer by layer; the rest is fresh.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer

if TYPE_CHECKING:
    from nasmeta.search_spaces.morphism import Weights


def shared_name(arch: MlpArchitecture, name: str) -> str:
    """The name of the shared tensor of which `name`, a parameter of the network of `arch`, is a part."""
    if name.startswith("head."):
        return name
    _, place, _, index, parameter = name.split(".")  # body.layer2.branch.0.weight
    norm = arch.blocks[int(place.removeprefix("layer")) - 1].norm
    return f"{place}.{'linear' if index == '0' else norm}.{parameter}"


def transparent(blocks: Sequence[MlpLayer], number: int, fresh: "Weights") -> "Weights":
    """The weights of an inserted layer that passes its input on, if its form allows it."""
    layer = blocks[number]
    if not number or blocks[number - 1].width != layer.width or not (layer.skip or layer.norm == "none"):
        return fresh
    zeros = {name: value.new_zeros(value.shape) for name, value in fresh.items()}
    weight = "branch.0.weight"
    if layer.skip:
        return zeros if layer.norm == "none" else {**zeros, weight: fresh[weight]}
    return {**zeros, weight: zeros[weight].fill_diagonal_(1)}
