"""Random mlp architectures, and edits of them: what is one step away, and how two are crossed.

One edit is: one attribute of one layer (the width by one notch of the list); a layer inserted or removed
beside one that differs from it in at most one attribute, the width by any amount; all widths one notch up or
down. What would leave a
skip between layers of different widths is no edit. All edits can be undone by one edit, and they connect
the space.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import sequence
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.choices import MlpChoices

MlpLayers = sequence.Blocks[MlpLayer]


def sample(choices: MlpChoices, rng: np.random.Generator) -> MlpArchitecture:
    """Depth uniform; widths by `widths_column`; activations, norms and skips by `column`, evenly.

    A skip that was drawn where the width changes is dropped. Every architecture has a positive probability.
    """
    n = int(rng.integers(choices.min_layers, choices.max_layers + 1))
    widths = sequence.widths_column(choices.widths, n, rng)
    activations = sequence.column(choices.activations, n, rng)
    norms = sequence.column(choices.norms, n, rng)
    skips = sequence.column(choices.flags(), n, rng)
    fits = [width == previous for width, previous in zip(widths, [0, *widths], strict=False)]
    rows = zip(widths, activations, norms, skips, fits, strict=True)
    return MlpArchitecture(tuple(MlpLayer(w, a, norm, skip and fit) for w, a, norm, skip, fit in rows))


def variants(choices: MlpChoices, layer: MlpLayer, *, any_width: bool) -> tuple[tuple[MlpLayer, ...], ...]:
    """The layers that differ from `layer` in one attribute, grouped; the width by one notch or any."""
    widths = choices.widths if any_width else sequence.notches(choices.widths, layer.width)
    return (
        tuple(replace(layer, width=width) for width in widths if width != layer.width),
        tuple(replace(layer, activation=a) for a in choices.activations if a != layer.activation),
        tuple(replace(layer, norm=norm) for norm in choices.norms if norm != layer.norm),
        tuple(replace(layer, skip=skip) for skip in choices.flags() if skip != layer.skip),
    )


def neighbors(choices: MlpChoices, arch: MlpArchitecture) -> Iterator[MlpArchitecture]:
    """Every architecture of the space that is one edit from `arch`, each once, in a fixed order."""
    layers = arch.layers
    near = partial(variants, choices, any_width=False)
    alike = partial(variants, choices, any_width=True)
    seen = {arch}
    for edit in (
        sequence.replacements(layers, near),
        sequence.insertions(layers, alike),
        sequence.removals(layers, alike),
        _scaled(choices, layers),
    ):
        for candidate in map(MlpArchitecture, edit):
            if candidate not in seen and choices.contains(candidate):
                seen.add(candidate)
                yield candidate


def _scaled(choices: MlpChoices, layers: MlpLayers) -> list[MlpLayers]:
    rows = sequence.scaled(choices.widths, [layer.width for layer in layers])
    return [tuple(replace(x, width=w) for x, w in zip(layers, row, strict=True)) for row in rows]


def mutate(choices: MlpChoices, arch: MlpArchitecture, rng: np.random.Generator) -> MlpArchitecture:
    """A random neighbour: an attribute 1/2, depth 3/8, scale 1/8.

    What does not apply or leaves the space is drawn again. Raises ArchitectureError where `arch` is the
    only architecture of the space.
    """
    layers = arch.layers
    near = partial(variants, choices, any_width=False)
    alike = partial(variants, choices, any_width=True)
    edits: list[tuple[float, Callable[[], MlpLayers | None]]] = [
        (4, lambda: sequence.draw_replacement(layers, near, rng)),
        (1.5, lambda: sequence.draw_insertion(layers, alike, rng)),
        (1.5, lambda: sequence.draw_removal(layers, alike, rng)),
        (1, lambda: sequence.choose(_scaled(choices, layers), rng)),
    ]
    drawn = sequence.draw_edit(
        edits, lambda new: new != layers and choices.contains(MlpArchitecture(new)), rng
    )
    found = MlpArchitecture(drawn) if drawn else sequence.choose(list(neighbors(choices, arch)), rng)
    if found is None:
        raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
    return found


def crossover(
    choices: MlpChoices, a: MlpArchitecture, b: MlpArchitecture, rng: np.random.Generator
) -> MlpArchitecture:
    """The first layers of one parent, the last layers of the other, cut where no repair is needed."""
    first, second = (a, b) if rng.random() < 0.5 else (b, a)

    def accept(layers: MlpLayers) -> bool:
        return choices.contains(MlpArchitecture(layers))

    return MlpArchitecture(sequence.one_point_crossover(first.layers, second.layers, accept, rng))
