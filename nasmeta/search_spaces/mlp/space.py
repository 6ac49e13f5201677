"""The mlp space: fully connected networks, for regression on few features and for flattened images.

One edit is one of these:
- one attribute of one layer changes, the width by one notch of the list;
- a layer is inserted or removed next to one that differs from it in at most one attribute, the width by any
  amount;
- all widths move one notch up or down.

A change that would leave a skip between layers of different widths is not an edit. Every edit can be undone
by one edit, and edits connect the space.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces import options, sequence, tokens
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.mlp import architecture
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights

# Layer norm over a single unit is constant.
SMALLEST_WIDTH = 2

Layers = sequence.Blocks[MlpLayer]


class MlpSpace(SearchSpace[MlpArchitecture]):
    """Networks of `min_layers` to `max_layers` hidden layers. Inputs of any shape are flattened.

    widths: the allowed numbers of units, ascending. activations, norms: names of `architecture`. skip:
    whether a layer may add its input, if that is as wide. Raises ConfigError for lists and ranges that leave
    no space.
    """

    operations = architecture.VOCABULARY

    def __init__(
        self,
        *,
        min_layers: Annotated[int, Field(ge=1, le=100)],
        max_layers: Annotated[int, Field(ge=1, le=100)],
        widths: list[Annotated[int, Field(ge=SMALLEST_WIDTH, le=65536)]],
        activations: list[str],
        norms: list[str],
        skip: bool,
    ) -> None:
        if min_layers < 1:
            raise ConfigError(f"search_space.min_layers={min_layers}: a network has at least 1 hidden layer")
        options.ordered("min_layers", min_layers, "max_layers", max_layers)
        self.widths = options.widths("widths", widths, SMALLEST_WIDTH)
        self.activations = options.names("activations", activations, architecture.ACTIVATIONS)
        self.norms = options.names("norms", norms, architecture.NORMS)
        self.skips = (False, True) if skip else (False,)
        self.min_layers, self.max_layers = min_layers, max_layers

    # The named networks, and what belongs to the space

    def initial(self) -> MlpArchitecture:
        """As few layers as the space allows, with its smallest width and without norm."""
        return self._uniform(self.widths[0], self.min_layers)

    def reference(self) -> MlpArchitecture:
        """Two hidden layers of 40 ReLU units, MAML's network for sinusoids (Finn et al. 2017, section 5.1).

        If the space does not contain it, the member that comes nearest, choice by choice.
        """
        layers = min(max(2, self.min_layers), self.max_layers)
        return self._uniform(options.closest(self.widths, 40), layers)

    def _uniform(self, width: int, layers: int) -> MlpArchitecture:
        activation = options.preferred(self.activations, "relu")
        norm = options.preferred(self.norms, "none")
        return MlpArchitecture((MlpLayer(width, activation, norm),) * layers)

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return {
            "layers": self._depths,
            "width": self.widths,
            "activation": self.activations,
            "norm": self.norms,
            "skip": self.skips,
        }

    @property
    def _depths(self) -> tuple[int, ...]:
        return tuple(range(self.min_layers, self.max_layers + 1))

    def _problem(self, arch: MlpArchitecture) -> str | None:
        """Why `arch`, made of this space's layers, is not in the space; None if it is."""
        previous = 0
        for number, layer in enumerate(arch.layers, 1):
            if layer.skip and layer.width != previous:
                return f"layer {number}: a skip needs a layer of {layer.width} units before it"
            previous = layer.width
        count = len(arch.layers)
        if not self.min_layers <= count <= self.max_layers:
            return f"{count} layers, where the space has {self.min_layers} to {self.max_layers}"
        return None

    def _contains(self, layers: Layers) -> bool:
        return self._problem(MlpArchitecture(layers)) is None

    @property
    def size(self) -> int:
        """The number of architectures: a first layer, then layers that may skip at one of the widths."""
        kinds = len(self.activations) * len(self.norms)
        later = kinds * (len(self.widths) + len(self.skips) - 1)
        return sum(kinds * len(self.widths) * later ** (depth - 1) for depth in self._depths)

    def widened(self, number: int, rounds: int) -> "MlpSpace":
        """Narrow and shallow first: the lowest widths and depths, growing in even steps to all of them."""
        space = copy(self)
        space.widths = self.widths[: options.step(1, len(self.widths), number, rounds)]
        space.max_layers = options.step(self.min_layers, self.max_layers, number, rounds)
        return space

    # Draws and edits

    def sample(self, rng: np.random.Generator) -> MlpArchitecture:
        """Depth is uniform; widths by `widths_column`; activations, norms and skips by `column`, evenly.

        A drawn skip is dropped if the width changes there. Every architecture has a positive probability.
        """
        n = int(rng.integers(self.min_layers, self.max_layers + 1))
        widths = sequence.widths_column(self.widths, n, rng)
        activations = sequence.column(self.activations, n, rng)
        norms = sequence.column(self.norms, n, rng)
        skips = sequence.column(self.skips, n, rng)
        fits = [width == previous for width, previous in zip(widths, [0, *widths], strict=False)]
        rows = zip(widths, activations, norms, skips, fits, strict=True)
        return MlpArchitecture(tuple(MlpLayer(w, a, norm, skip and fit) for w, a, norm, skip, fit in rows))

    def decide(self, choose: Choose) -> MlpArchitecture:
        """Decides the number of layers, then their attributes. A layer can skip only after one as wide."""
        layers: list[MlpLayer] = []
        for _ in range(choose("layers", self._depths)):
            width = choose("width", self.widths)
            activation = choose("activation", self.activations)
            norm = choose("norm", self.norms)
            fits = bool(layers) and layers[-1].width == width
            layers.append(MlpLayer(width, activation, norm, choose("skip", self.skips if fits else (False,))))
        return MlpArchitecture(tuple(layers))

    def _variants(self, layer: MlpLayer, *, any_width: bool) -> tuple[Layers, ...]:
        """The layers that differ from `layer` in one attribute, by attribute; width by one notch or any."""
        widths = self.widths if any_width else sequence.notches(self.widths, layer.width)
        return (
            tuple(replace(layer, width=width) for width in widths if width != layer.width),
            tuple(replace(layer, activation=a) for a in self.activations if a != layer.activation),
            tuple(replace(layer, norm=norm) for norm in self.norms if norm != layer.norm),
            tuple(replace(layer, skip=skip) for skip in self.skips if skip != layer.skip),
        )

    def _scaled(self, layers: Layers) -> list[Layers]:
        rows = sequence.scaled(self.widths, [layer.width for layer in layers])
        return [tuple(replace(x, width=w) for x, w in zip(layers, row, strict=True)) for row in rows]

    def neighbors(self, arch: MlpArchitecture) -> Iterator[MlpArchitecture]:
        layers = arch.layers
        near = partial(self._variants, any_width=False)
        alike = partial(self._variants, any_width=True)
        seen = {layers}
        for edit in (
            sequence.replacements(layers, near),
            sequence.insertions(layers, alike),
            sequence.removals(layers, alike),
            self._scaled(layers),
        ):
            for candidate in edit:
                if candidate not in seen and self._contains(candidate):
                    seen.add(candidate)
                    yield MlpArchitecture(candidate)

    def mutate(self, arch: MlpArchitecture, rng: np.random.Generator) -> MlpArchitecture:
        """A random neighbour: an attribute 1/2, depth 3/8, scale 1/8.

        An edit that does not apply or leaves the space is drawn again. Raises ArchitectureError if `arch` is
        the only architecture of the space.
        """
        layers = arch.layers
        near = partial(self._variants, any_width=False)
        alike = partial(self._variants, any_width=True)
        edits: list[tuple[float, Callable[[], Layers | None]]] = [
            (4, lambda: sequence.draw_replacement(layers, near, rng)),
            (1.5, lambda: sequence.draw_insertion(layers, alike, rng)),
            (1.5, lambda: sequence.draw_removal(layers, alike, rng)),
            (1, lambda: sequence.choose(self._scaled(layers), rng)),
        ]
        drawn = sequence.draw_edit(edits, lambda new: new != layers and self._contains(new), rng)
        found = MlpArchitecture(drawn) if drawn else sequence.choose(list(self.neighbors(arch)), rng)
        if found is None:
            raise ArchitectureError(f"{arch} has no neighbour: the search space has one architecture")
        return found

    def crossover(self, a: MlpArchitecture, b: MlpArchitecture, rng: np.random.Generator) -> MlpArchitecture:
        """The first layers of one parent, the last layers of the other, cut where no repair is needed."""
        first, second = (a, b) if rng.random() < 0.5 else (b, a)
        return MlpArchitecture(sequence.one_point_crossover(first.layers, second.layers, self._contains, rng))

    # Strings, graphs, networks and their weights

    def parse(self, text: str) -> MlpArchitecture:
        arch = architecture.parse(text, self.decisions)
        problem = self._problem(arch)
        if problem:
            raise ArchitectureError(f"{tokens.quote(text)} is not in the search space: {problem}")
        return arch

    def graph(self, arch: MlpArchitecture) -> ArchitectureGraph:
        return architecture.graph(arch)

    @property
    def max_nodes(self) -> int:
        """The largest possible number of nodes of a graph, for fixed-length encodings."""
        return self.max_layers * architecture.NODES_PER_LAYER + architecture.NODES_BESIDE_LAYERS

    def build(self, arch: MlpArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.mlp.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[MlpArchitecture]:
        from nasmeta.search_spaces.mlp.weights import shared_name

        return Sharing(largest=self._largest, name=shared_name)

    def _largest(self) -> Iterator[MlpArchitecture]:
        """Architectures with all layers at full width, one for each norm."""
        for norm in self.norms:
            layer = MlpLayer(self.widths[-1], self.activations[0], norm)
            yield MlpArchitecture((layer,) * self.max_layers)

    def morph(
        self,
        old: MlpArchitecture,
        new: MlpArchitecture,
        weights: "Weights",
        fresh: "Weights",
        rng: np.random.Generator,
    ) -> "Weights":
        from nasmeta.search_spaces.mlp.weights import morph

        return morph(old, new, weights, fresh, rng)
