"""The weights of mlp networks: which ones they share, and how to start one network from another.

Sharing: slimmable widths and optional layers. Layer i of every network, counted from the input, takes the
first units of one linear layer, whatever follows it. Each kind of norm has its own affine parameters. A
shallower network ends earlier. There is one head.

Morphism: the new network computes the old one's function if it differs only by
- wider layers (under layer norm only by a whole factor, which keeps its moments);
- inserted ReLU layers that are as wide as the ReLU layer before them, and have either a skip, to which they
  add nothing at first, or no norm. They begin as the identity (Net2DeeperNet).

Everything else (other activations or norms, narrower layers, new skips, removed layers) keeps the values that
fit by name and shape, layer by layer; the rest is fresh.
"""

import numpy as np
import torch

from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.morphism import Weights, aligned, copied, grown


def shared_name(arch: MlpArchitecture, name: str) -> str:
    """The name of the shared tensor of which `name`, a parameter of the network of `arch`, is a part."""
    if name.startswith("head."):
        return name
    _, place, _, index, parameter = name.split(".")  # body.layer2.branch.0.weight
    norm = arch.layers[int(place.removeprefix("layer")) - 1].norm
    return f"{place}.{'linear' if index == '0' else norm}.{parameter}"


def morph(
    old: MlpArchitecture, new: MlpArchitecture, weights: Weights, fresh: Weights, rng: np.random.Generator
) -> Weights:
    """Parameters for `new` from those of `old`, with the names and shapes of `fresh`, a new network's."""
    result = {name: value for name, value in copied(weights, fresh).items() if not name.startswith("body.")}
    for number, counterpart in enumerate(aligned(old.layers, new.layers, difference)):
        prefix = f"body.layer{number + 1}."
        own = {name.removeprefix(prefix): v for name, v in fresh.items() if name.startswith(prefix)}
        if counterpart is None:
            values = _transparent(new, number, own)
        else:
            source = f"body.layer{counterpart + 1}."
            had = {n.removeprefix(source): v for n, v in weights.items() if n.startswith(source)}
            values = _grown_layer(had, own, rng)
        result |= {prefix + name: value for name, value in values.items()}
    head = grown(weights["head.weight"], fresh["head.weight"].shape, rng)
    result["head.weight"] = fresh["head.weight"] if head is None else head
    return {name: result[name] for name in fresh}


def difference(a: MlpLayer, b: MlpLayer) -> float:
    """How much two layers differ: 0 if they are equal, 2 at most."""
    return 0.5 * sum((a.width != b.width, a.activation != b.activation, a.norm != b.norm, a.skip != b.skip))


def _grown_layer(had: Weights, fresh: Weights, rng: np.random.Generator) -> Weights:
    values = {}
    for name, value in fresh.items():
        wide = grown(had[name], value.shape, rng) if name in had else None
        values[name] = value if wide is None else wide
    return values


def _transparent(arch: MlpArchitecture, number: int, fresh: Weights) -> Weights:
    """The weights of an inserted layer that passes its input on, if its form allows it."""
    layer = arch.layers[number]
    if not number or arch.layers[number - 1].width != layer.width:
        return fresh
    zeros = {name: torch.zeros_like(value) for name, value in fresh.items()}
    if layer.skip:
        return zeros if layer.norm == "none" else {**zeros, "branch.0.weight": fresh["branch.0.weight"]}
    if layer.norm == "none":
        return {**zeros, "branch.0.weight": torch.eye(layer.width).to(fresh["branch.0.weight"])}
    return fresh
