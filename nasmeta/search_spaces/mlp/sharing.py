"""The shared weights of the mlp space: slimmable widths and optional layers.

Layer i of every network, counted from the input, takes the first units of one linear layer, whatever follows
it; each kind of norm has affine parameters of its own. A shallower network ends earlier; the head is one.
"""

from collections.abc import Iterator

from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.choices import MlpChoices
from nasmeta.search_spaces.sharing import Sharing


def sharing(choices: MlpChoices) -> Sharing[MlpArchitecture]:
    return Sharing(largest=lambda: largest(choices), name=shared_name)


def shared_name(arch: MlpArchitecture, name: str) -> str:
    """The name of the shared tensor that `name`, a parameter of the network of `arch`, is a part of."""
    if name.startswith("head."):
        return name
    _, place, _, index, parameter = name.split(".")  # body.layer2.branch.0.weight
    norm = arch.layers[int(place.removeprefix("layer")) - 1].norm
    return f"{place}.{'linear' if index == '0' else norm}.{parameter}"


def largest(choices: MlpChoices) -> Iterator[MlpArchitecture]:
    """All layers at full width, with each norm."""
    for norm in choices.norms:
        layer = MlpLayer(choices.widths[-1], choices.activations[0], norm)
        yield MlpArchitecture((layer,) * choices.max_layers)
