"""The mlp space: fully connected networks, for regression on few features and for flattened images.

sequence_space.py has the edits. One that would leave a skip between layers of different widths does not
exist. Edits connect the space.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from nasmeta.search_spaces import options, sequence
from nasmeta.search_spaces.count import IMAGE, Bits, Count
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.mlp import architecture, weights
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.sequence_space import SequenceSpace
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork

# Layer norm over a single unit is constant.
SMALLEST_WIDTH = 2


class MlpSpace(SequenceSpace[MlpArchitecture, MlpLayer]):
    """Networks of `min_layers` to `max_layers` hidden layers. Inputs of any shape are flattened.

    widths: the allowed numbers of units, ascending. activations, norms: which of those in architecture.py are
    allowed. skip: whether a layer may add its input, if that is as wide.
    Raises ConfigError if a list or a range is empty or has a wrong value.
    """

    operations = architecture.VOCABULARY
    block_name = "layer"
    transparent = staticmethod(weights.transparent)
    graph = staticmethod(architecture.graph)

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
        options.ordered("min_layers", min_layers, "max_layers", max_layers)
        widest = options.widths("widths", widths)
        super().__init__(fewest=min_layers, most=max_layers, widths=widest)
        self.activations = options.names("activations", activations, architecture.ACTIVATIONS)
        self.norms = options.names("norms", norms, architecture.NORMS)
        self.skips = (False, True) if skip else (False,)

    # The named networks, and what belongs to the space

    def initial(self) -> MlpArchitecture:
        """As few layers as the space allows, with its smallest width and without norm."""
        return self._uniform(self.widths[0], self.fewest)

    def reference(self) -> MlpArchitecture:
        """Two hidden layers of 40 ReLU units, MAML's network for sinusoids (Finn et al. 2017, section 5.1).

        If the space does not contain it, the member that comes nearest, choice by choice.
        """
        return self.reference_of(options.closest(self.widths, 40))

    def reference_of(self, width: int) -> MlpArchitecture:
        return self._uniform(width, min(max(2, self.fewest), self.most))

    def forms(self) -> Iterator[MlpArchitecture]:
        """The reference with layer norm; with a third layer; with both."""
        reference = self.reference()
        normed = tuple(replace(x, norm=options.preferred(self.norms, "layer")) for x in reference.blocks)
        deeper = self._uniform(reference.widths[0], min(len(normed) + 1, self.most))
        yield MlpArchitecture(normed)
        yield deeper
        yield MlpArchitecture((normed[0],) * len(deeper.blocks))

    def _uniform(self, width: int, layers: int) -> MlpArchitecture:
        activation = options.preferred(self.activations, "relu")
        norm = options.preferred(self.norms, "none")
        return MlpArchitecture((MlpLayer(width, activation, norm),) * layers)

    @property
    def decisions(self) -> Mapping[str, Sequence[Any]]:
        return {
            "layers": self.depths,
            "width": self.widths,
            "activation": self.activations,
            "norm": self.norms,
            "skip": self.skips,
        }

    def problem(self, arch: MlpArchitecture) -> str | None:
        previous = 0
        for number, layer in enumerate(arch.blocks, 1):
            if layer.skip and layer.width != previous:
                return f"layer {number}: a skip needs a layer of {layer.width} units before it"
            previous = layer.width
        return super().problem(arch)

    @property
    def size(self) -> int:
        """The number of architectures: a first layer, then layers that may skip at one of the widths."""
        kinds = len(self.activations) * len(self.norms)
        later = kinds * (len(self.widths) + len(self.skips) - 1)
        return sum(kinds * len(self.widths) * later ** (depth - 1) for depth in self.depths)

    # Draws and edits

    def draw(self, rng: np.random.Generator) -> MlpArchitecture:
        """Depth is uniform; widths by `widths_column`; activations, norms and skips by `column`, evenly.

        A drawn skip is dropped if the width changes there. Every architecture has a positive probability.
        """
        n = int(rng.integers(self.fewest, self.most + 1))
        widths = sequence.widths_column(self.widths, n, rng)
        activations = sequence.column(self.activations, n, rng)
        norms = sequence.column(self.norms, n, rng)
        skips = sequence.column(self.skips, n, rng)
        fits = [width == previous for width, previous in zip(widths, [0, *widths], strict=False)]
        rows = zip(widths, activations, norms, skips, fits, strict=True)
        return MlpArchitecture(tuple(MlpLayer(w, a, norm, skip and fit) for w, a, norm, skip, fit in rows))

    def formula_cost(self, arch: MlpArchitecture, task: TaskSpec, bits: Bits = 32) -> Cost:
        count, x = Count(prod(task.input_shape)), IMAGE
        for layer in arch.blocks:
            batch = layer.norm == "batch"
            y = count.product(x, count.sizes[x] * layer.width, layer.width, bias=not batch)
            if layer.norm != "none":
                y = count.norm(y, layer.width, folds=batch)
            x = count.write(layer.width, y, x) if layer.skip else y
        count.product(x, count.sizes[x] * task.outputs, task.outputs, bias=True)
        return count.cost(bits)

    def decide(self, choose: Choose) -> MlpArchitecture:
        """Decides the number of layers, then their attributes. A layer can skip only after one as wide."""
        layers: list[MlpLayer] = []
        for _ in range(choose("layers", self.depths)):
            width = choose("width", self.widths)
            activation = choose("activation", self.activations)
            norm = choose("norm", self.norms)
            fits = bool(layers) and layers[-1].width == width
            layers.append(MlpLayer(width, activation, norm, choose("skip", self.skips if fits else (False,))))
        return MlpArchitecture(tuple(layers))

    def variants(self, block: MlpLayer, *, any_width: bool) -> tuple[tuple[MlpLayer, ...], ...]:
        return (
            tuple(replace(block, width=w) for w in self.other_widths(block.width, any_width=any_width)),
            tuple(replace(block, activation=a) for a in self.activations if a != block.activation),
            tuple(replace(block, norm=norm) for norm in self.norms if norm != block.norm),
            tuple(replace(block, skip=skip) for skip in self.skips if skip != block.skip),
        )

    def with_widths(self, arch: MlpArchitecture, widths: Sequence[int]) -> MlpArchitecture:
        """`arch` with another width of each layer, without the skips that no longer fit."""
        rows = zip(arch.blocks, widths, [0, *widths], strict=False)
        layers = (replace(x, width=w, skip=x.skip and w == previous) for x, w, previous in rows)
        return MlpArchitecture(tuple(layers))

    # Strings, graphs, networks and their weights

    def read(self, text: str) -> MlpArchitecture:
        return architecture.parse(text, self.decisions)

    def build(self, arch: MlpArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.mlp.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[MlpArchitecture]:
        return Sharing(largest=self._largest, name=weights.shared_name)

    def _largest(self) -> Iterator[MlpArchitecture]:
        """Architectures with all layers at full width, one for each norm."""
        for norm in self.norms:
            layer = MlpLayer(self.widths[-1], self.activations[0], norm)
            yield MlpArchitecture((layer,) * self.most)
