"""Architectures together with the settings by which they are trained, as one search space.

How a network learns depends on its settings as much as on its architecture: an inner learning rate that suits
a shallow network ruins a deep one. A search under fixed settings finds what tolerates them. In this space a
point is an architecture with its own settings, so every strategy that asks and tells searches both at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from nasmeta.errors import ArchitectureError, ConfigError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.search_spaces.count import Bits
from nasmeta.search_spaces.decisions import Choose, Decidable
from nasmeta.search_spaces.graph import ArchitectureGraph
from nasmeta.search_spaces.relaxation.spec import Relaxation
from nasmeta.search_spaces.settings import Setting, Value, printed
from nasmeta.task import TaskSpec
from nasmeta.trial import Cost

if TYPE_CHECKING:
    from nasmeta.search_spaces.modules import FewShotNetwork
    from nasmeta.search_spaces.morphism import Weights

AT = " @ "
"""What separates an architecture's string from its settings."""


ONE_SET = (
    "tune: {} trains all architectures by one set of settings; use strategy=evolution with "
    "evaluator=scratch, or tune=null"
)


@dataclass(frozen=True)
class TunedArchitecture:
    """An architecture and the settings to train it by; it prints as `ARCH @ key=value,key=value`.

    settings: pairs of dotted key and value, in the order of the space.
    """

    arch: Any
    settings: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        return f"{self.arch}{AT}" + ",".join(f"{key}={printed(value)}" for key, value in self.settings)

    def having(self, key: str, value: Value) -> "TunedArchitecture":
        """The same with another value of `key`."""
        settings = tuple((k, value if k == key else v) for k, v in self.settings)
        return TunedArchitecture(self.arch, settings)


class JointSpace(SearchSpace[TunedArchitecture]):
    """The architectures of `space`, each with every combination of the levels of `settings`.

    The initial and the reference architecture have the configured settings. A mutation changes the
    architecture or one setting, each with probability 1/2; of a space with one architecture, a setting.
    """

    def __init__(self, space: SearchSpace[Any], settings: Sequence[Setting]) -> None:
        self.space, self.settings = space, tuple(settings)
        self.operations = (*space.operations, *(setting.key for setting in settings))

    @property
    def defaults(self) -> tuple[tuple[str, Value], ...]:
        return tuple((setting.key, setting.default) for setting in self.settings)

    def initial(self) -> TunedArchitecture:
        return TunedArchitecture(self.space.initial(), self.defaults)

    def reference(self) -> TunedArchitecture:
        return TunedArchitecture(self.space.reference(), self.defaults)

    def relatives(self) -> list[TunedArchitecture]:
        return [TunedArchitecture(arch, self.defaults) for arch in self.space.relatives()]

    def reference_within(self, fits: Callable[[TunedArchitecture], bool]) -> TunedArchitecture:
        reference = self.space.reference_within(lambda arch: fits(TunedArchitecture(arch, self.defaults)))
        return TunedArchitecture(reference, self.defaults)

    def cheaper(self, arch: TunedArchitecture, rng: np.random.Generator) -> TunedArchitecture | None:
        cheaper = self.space.cheaper(arch.arch, rng)
        return None if cheaper is None else TunedArchitecture(cheaper, arch.settings)

    def sample(self, rng: np.random.Generator) -> TunedArchitecture:
        """A random architecture of the space, with independent random settings."""
        return TunedArchitecture(self.space.sample(rng), self.draw(rng))

    def draw(self, rng: np.random.Generator) -> tuple[tuple[str, Value], ...]:
        """Random settings, all levels of each equally likely."""
        return tuple((s.key, s.levels[int(rng.integers(len(s.levels)))]) for s in self.settings)

    def mutate(self, arch: TunedArchitecture, rng: np.random.Generator) -> TunedArchitecture:
        if rng.random() < 0.5 and self.space.size != 1:
            return TunedArchitecture(self.space.mutate(arch.arch, rng), arch.settings)
        setting = self.settings[int(rng.integers(len(self.settings)))]
        near = setting.near(dict(arch.settings)[setting.key])
        return arch.having(setting.key, near[int(rng.integers(len(near)))])

    def crossover(
        self, a: TunedArchitecture, b: TunedArchitecture, rng: np.random.Generator
    ) -> TunedArchitecture:
        arch = self.space.crossover(a.arch, b.arch, rng)
        pairs = zip(a.settings, b.settings, strict=True)
        return TunedArchitecture(arch, tuple(pair[int(rng.integers(2))] for pair in pairs))

    def neighbors(self, arch: TunedArchitecture) -> Iterator[TunedArchitecture]:
        for near in self.space.neighbors(arch.arch):
            yield TunedArchitecture(near, arch.settings)
        values = dict(arch.settings)
        for setting in self.settings:
            for value in setting.near(values[setting.key]):
                yield arch.having(setting.key, value)

    def graph(self, arch: TunedArchitecture) -> ArchitectureGraph:
        """The architecture's graph with a node for each setting, between input and output.

        The place of the value among the setting's levels, from 1, is the node's width.
        """
        plain, count = self.space.graph(arch.arch), len(self.settings)
        inner = len(plain.operations) - 1
        adjacency = np.zeros((inner + count + 1,) * 2, dtype=np.bool_)
        adjacency[:inner, :inner] = plain.adjacency[:inner, :inner]
        adjacency[:inner, -1] = plain.adjacency[:inner, -1]
        adjacency[0, inner:-1] = adjacency[inner:-1, -1] = True
        values = dict(arch.settings)
        return ArchitectureGraph(
            (*plain.operations[:-1], *(setting.key for setting in self.settings), plain.operations[-1]),
            adjacency,
            (*plain.widths[:-1], *(1 + s.levels.index(values[s.key]) for s in self.settings), 0),
        )

    def drawing(self, arch: TunedArchitecture) -> ArchitectureGraph:
        return self.space.drawing(arch.arch)

    def parse(self, text: str) -> TunedArchitecture:
        plain, found, rest = text.partition(AT)
        example = ",".join(f"{key}={printed(value)}" for key, value in self.defaults)
        if not found:
            raise ArchitectureError(f"{tokens.quote(text)} lacks its settings: write ARCH{AT}{example}")
        pairs = [pair.partition("=") for pair in rest.split(",")]
        if [key for key, _, _ in pairs] != [setting.key for setting in self.settings]:
            raise ArchitectureError(f"settings {tokens.quote(rest)}: give, in this order, {example}")
        values = zip(self.settings, pairs, strict=True)
        settings = tuple((setting.key, setting.parse(value)) for setting, (_, _, value) in values)
        return TunedArchitecture(self.space.parse(plain), settings)

    def contains(self, arch: TunedArchitecture) -> bool:
        return self.space.contains(arch.arch) and super().contains(arch)

    def build(self, arch: TunedArchitecture, task: TaskSpec) -> "FewShotNetwork":
        return self.space.build(arch.arch, task)

    def formula_cost(self, arch: TunedArchitecture, task: TaskSpec, bits: Bits = 32) -> Cost | None:
        """That of the architecture: settings cost nothing."""
        return self.space.formula_cost(arch.arch, task, bits)

    def relaxed(self, task: TaskSpec, relaxation: Relaxation) -> NoReturn:
        raise ConfigError(ONE_SET.format("a relaxed network"))

    def sharing(self, task: TaskSpec) -> NoReturn:
        raise ConfigError(ONE_SET.format("a supernet"))

    def canonical(self, arch: TunedArchitecture) -> TunedArchitecture:
        return TunedArchitecture(self.space.canonical(arch.arch), arch.settings)

    def part_for_round(self, number: int, rounds: int) -> "JointSpace":
        return joint(self.space.part_for_round(number, rounds), self.settings)

    def buildable(self, task: TaskSpec) -> "JointSpace":
        return joint(self.space.buildable(task), self.settings)

    def morph(
        self,
        old: TunedArchitecture,
        new: TunedArchitecture,
        weights: "Weights",
        fresh: "Weights",
        rng: np.random.Generator,
    ) -> "Weights":
        return self.space.morph(old.arch, new.arch, weights, fresh, rng)

    @property
    def used_operations(self) -> tuple[str, ...]:
        return self.space.used_operations

    @property
    def size(self) -> int | None:
        combinations = prod(len(setting.levels) for setting in self.settings)
        return None if self.space.size is None else self.space.size * combinations


class DecidableJointSpace(JointSpace):
    """A JointSpace over a space whose architectures are decided step by step; settings come last."""

    space: Any

    @property
    def decisions(self) -> Mapping[str, Sequence[object]]:
        return {**self.space.decisions, **{setting.key: setting.levels for setting in self.settings}}

    def decide(self, choose: Choose) -> TunedArchitecture:
        arch = self.space.decide(choose)
        return TunedArchitecture(arch, tuple((s.key, choose(s.key, s.levels)) for s in self.settings))


def joint(space: SearchSpace[Any], settings: Sequence[Setting]) -> JointSpace:
    """The joint space of `space` and `settings`; it is decidable if `space` is."""
    kind = DecidableJointSpace if isinstance(space, Decidable) else JointSpace
    return kind(space, settings)
