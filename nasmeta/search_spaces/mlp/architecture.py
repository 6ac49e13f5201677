"""Architectures of the mlp space: hidden layers from input to output, their strings, and their graphs.

A string is fc40.relu.none_fc40.relu.layer+skip: layers joined by "_". A layer is fc<width>.activation.norm,
then "+skip" if it has one. Strings consist of letters, digits and `_.+`, which need no quotes in a shell or
in Hydra's overrides. Journals and checkpoints contain them, so the names are a file format: add, never
rename.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.sequence_space import BlockSequence

ACTIVATIONS: tuple[str, ...] = ("relu", "tanh", "gelu", "silu")
NORMS: tuple[str, ...] = ("none", "layer", "batch")
VOCABULARY: tuple[str, ...] = ("input", "output", "linear", "layer", "batch", "add", *ACTIVATIONS)
"""The labels of the graph's nodes."""

EXAMPLE = "fc40.relu.none"


@dataclass(frozen=True)
class MlpLayer:
    """activation(norm(linear(x)) + x if `skip`) with `width` units; norm: "none", "layer" or "batch"."""

    width: int
    activation: str
    norm: str
    skip: bool = False

    def __str__(self) -> str:
        return f"fc{self.width}.{self.activation}.{self.norm}{'+skip' * self.skip}"


@dataclass(frozen=True)
class MlpArchitecture(BlockSequence[MlpLayer]):
    """Hidden layers (the blocks) from input to output. A layer can skip only after one that is as wide."""

    def __str__(self) -> str:
        return "_".join(map(str, self.blocks))


def parse(text: str, options: Mapping[str, Sequence[Any]]) -> MlpArchitecture:
    """Reads a string made of `options`: kind of decision -> allowed values, as in `MlpSpace.decisions`.

    Raises ArchitectureError, in one line, that names the token, its layer, and the nearest valid token.
    """
    return MlpArchitecture(tuple(_layer(n, layer, options) for n, layer in enumerate(text.split("_"), 1)))


def _layer(number: int, text: str, options: Mapping[str, Sequence[Any]]) -> MlpLayer:
    main, plus, part = text.partition("+")
    fields = main.split(".")
    if len(fields) != 3 or not fields[0].startswith("fc") or (plus and not part):
        raise ArchitectureError(
            f"layer {number}: {tokens.quote(text)} is not fc<width>.activation.norm, such as {EXAMPLE}"
        )
    where = f"layer {number} ({tokens.quote(text)}):"
    if plus:
        tokens.name(f"{where} +", part, ["skip"] if True in options["skip"] else [])
    return MlpLayer(
        width=int(tokens.name(f"{where} width", fields[0][2:], map(str, options["width"]))),
        activation=tokens.name(f"{where} activation", fields[1], options["activation"]),
        norm=tokens.name(f"{where} norm", fields[2], options["norm"]),
        skip=bool(plus),
    )


def graph(arch: MlpArchitecture) -> ArchitectureGraph:
    """One node per operation: linear -> (norm) -> ("add") -> activation; different architectures differ.

    A skip is an edge from the layer's input to "add". Widths are units.
    """
    builder = GraphBuilder()
    for layer in arch.blocks:
        source = builder.last
        end = builder.add("linear", layer.width)
        if layer.norm != "none":
            end = builder.add(layer.norm, layer.width)
        if layer.skip:
            builder.add("add", layer.width, source, end)
        builder.add(layer.activation, layer.width)
    return builder.finish()
