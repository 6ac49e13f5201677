"""Architectures of the mlp space: hidden layers from input to output.

The names below are a file format: journals and checkpoints hold strings made of them. Add, never rename.
"""

from dataclasses import dataclass

ACTIVATIONS: tuple[str, ...] = ("relu", "tanh", "gelu", "silu")
NORMS: tuple[str, ...] = ("none", "layer", "batch")


@dataclass(frozen=True)
class MlpLayer:
    """activation(norm(linear(x)) + x if `skip`); `width` units. norm: "none", "layer" or "batch"."""

    width: int
    activation: str
    norm: str
    skip: bool = False

    def __str__(self) -> str:
        return f"fc{self.width}.{self.activation}.{self.norm}{'+skip' * self.skip}"


@dataclass(frozen=True)
class MlpArchitecture:
    """Hidden layers from input to output; a layer may skip only where the one before is as wide."""

    layers: tuple[MlpLayer, ...]

    def __str__(self) -> str:
        return "_".join(map(str, self.layers))
