"""The space of multi-layer perceptrons: `MlpSpace` and its architectures. It does not load torch."""

from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.space import MlpSpace

__all__ = ["MlpArchitecture", "MlpLayer", "MlpSpace"]
