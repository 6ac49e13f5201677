"""An mlp architecture decided layer by layer: the number of layers, then width, activation, norm and skip."""

from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.choices import MlpChoices


def decisions(choices: MlpChoices) -> dict[str, tuple[object, ...]]:
    """The kinds of decisions and all their options."""
    return {
        "layers": tuple(range(choices.min_layers, choices.max_layers + 1)),
        "width": choices.widths,
        "activation": choices.activations,
        "norm": choices.norms,
        "skip": choices.flags(),
    }


def decide(choices: MlpChoices, choose: Choose) -> MlpArchitecture:
    """A layer may skip only where the one before is as wide."""
    layers: list[MlpLayer] = []
    for _ in range(choose("layers", range(choices.min_layers, choices.max_layers + 1))):
        width = choose("width", choices.widths)
        activation = choose("activation", choices.activations)
        norm = choose("norm", choices.norms)
        fits = bool(layers) and layers[-1].width == width
        skip = choose("skip", choices.flags() if fits else (False,))
        layers.append(MlpLayer(width, activation, norm, skip))
    return MlpArchitecture(tuple(layers))
