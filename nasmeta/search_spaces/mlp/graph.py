"""Mlp architectures as graphs of operations."""

from nasmeta.search_spaces.graph import ArchitectureGraph, GraphBuilder
from nasmeta.search_spaces.mlp.architecture import ACTIVATIONS, MlpArchitecture

VOCABULARY: tuple[str, ...] = ("input", "output", "linear", "layer", "batch", "add", *ACTIVATIONS)
# linear, norm, add, activation.
NODES_PER_LAYER = 4
NODES_BESIDE_LAYERS = 2


def graph(arch: MlpArchitecture) -> ArchitectureGraph:
    """Every operation a node: linear -> (norm) -> ("add") -> activation; different architectures differ.

    A skip is an edge from the layer's input to "add". Widths are units.
    """
    builder = GraphBuilder()
    for layer in arch.layers:
        source = builder.last
        end = builder.add("linear", layer.width)
        if layer.norm != "none":
            end = builder.add(layer.norm, layer.width)
        if layer.skip:
            builder.add("add", layer.width, source, end)
        builder.add(layer.activation, layer.width)
    return builder.finish()
