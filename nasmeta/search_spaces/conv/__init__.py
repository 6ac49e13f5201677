"""The macro space of convolutional networks: `ConvSpace` and its architectures. It does not load torch."""

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.space import ConvSpace

__all__ = ["ConvArchitecture", "ConvBlock", "ConvSpace"]
