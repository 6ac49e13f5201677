"""The mlp space: fully connected networks, for regression on few features and for flattened images."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nasmeta.errors import ConfigError
from nasmeta.search_spaces import options
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.mlp import architecture, decisions, edits, sharing, strings
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.choices import SMALLEST_WIDTH, MlpChoices
from nasmeta.search_spaces.mlp.graph import NODES_BESIDE_LAYERS, NODES_PER_LAYER, VOCABULARY, graph
from nasmeta.search_spaces.sharing import Sharing
from nasmeta.task import TaskSpec

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights


class MlpSpace(SearchSpace[MlpArchitecture]):
    """See the head of this file. Inputs of any shape are flattened.

    The names of `activations` and `norms` are those of `architecture`; `skip` says whether a layer may add
    its input, where that is as wide. Raises ConfigError for lists and ranges that make no space.
    """

    operations = VOCABULARY

    def __init__(
        self,
        *,
        min_layers: Annotated[int, Field(ge=1)],
        max_layers: Annotated[int, Field(ge=1)],
        widths: list[Annotated[int, Field(ge=SMALLEST_WIDTH)]],
        activations: list[str],
        norms: list[str],
        skip: bool,
    ) -> None:
        if min_layers < 1:
            raise ConfigError(f"search_space.min_layers={min_layers}: a network has at least 1 hidden layer")
        options.ordered("min_layers", min_layers, "max_layers", max_layers)
        self._choices = MlpChoices(
            widths=options.widths("widths", widths, SMALLEST_WIDTH),
            activations=options.names("activations", activations, architecture.ACTIVATIONS),
            norms=options.names("norms", norms, architecture.NORMS),
            skip=skip,
            min_layers=min_layers,
            max_layers=max_layers,
        )

    def initial(self) -> MlpArchitecture:
        """As few layers as the space allows, of its smallest width, without norm."""
        return self._uniform(self._choices.widths[0], self._choices.min_layers)

    def reference(self) -> MlpArchitecture:
        """Two hidden layers of 40 ReLU units, MAML's network for sinusoids (Finn et al. 2017, section 5.1).

        A space that was configured without it gives the member that comes nearest, choice by choice.
        """
        layers = min(max(2, self._choices.min_layers), self._choices.max_layers)
        return self._uniform(options.closest(self._choices.widths, 40), layers)

    def _uniform(self, width: int, layers: int) -> MlpArchitecture:
        activation = options.preferred(self._choices.activations, "relu")
        norm = options.preferred(self._choices.norms, "none")
        return MlpArchitecture((MlpLayer(width, activation, norm),) * layers)

    def sample(self, rng: np.random.Generator) -> MlpArchitecture:
        return edits.sample(self._choices, rng)

    def mutate(self, arch: MlpArchitecture, rng: np.random.Generator) -> MlpArchitecture:
        return edits.mutate(self._choices, arch, rng)

    def crossover(self, a: MlpArchitecture, b: MlpArchitecture, rng: np.random.Generator) -> MlpArchitecture:
        return edits.crossover(self._choices, a, b, rng)

    def neighbors(self, arch: MlpArchitecture) -> Iterator[MlpArchitecture]:
        return edits.neighbors(self._choices, arch)

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return decisions.decisions(self._choices)

    def decide(self, choose: Choose) -> MlpArchitecture:
        return decisions.decide(self._choices, choose)

    def graph(self, arch: MlpArchitecture) -> ArchitectureGraph:
        return graph(arch)

    def parse(self, text: str) -> MlpArchitecture:
        return strings.parse(text, self._choices)

    def build(self, arch: MlpArchitecture, task: TaskSpec) -> "FewShotNetwork":
        from nasmeta.search_spaces.mlp.network import build

        return build(arch, task)

    def sharing(self, task: TaskSpec) -> Sharing[MlpArchitecture]:
        return sharing.sharing(self._choices)

    def morph(
        self,
        old: MlpArchitecture,
        new: MlpArchitecture,
        weights: "Weights",
        fresh: "Weights",
        rng: np.random.Generator,
    ) -> "Weights":
        from nasmeta.search_spaces.mlp.morph import morph

        return morph(old, new, weights, fresh, rng)

    def widened(self, number: int, rounds: int) -> "MlpSpace":
        """Narrow and shallow first: the lowest widths and depths, in even steps up to all of them."""
        whole = self._choices
        space = copy(self)
        space._choices = replace(
            whole,
            widths=whole.widths[: options.step(1, len(whole.widths), number, rounds)],
            max_layers=options.step(whole.min_layers, whole.max_layers, number, rounds),
        )
        return space

    @property
    def size(self) -> int:
        return self._choices.size()

    @property
    def max_nodes(self) -> int:
        """The most nodes that a graph can have, for fixed-length encodings."""
        return self._choices.max_layers * NODES_PER_LAYER + NODES_BESIDE_LAYERS
