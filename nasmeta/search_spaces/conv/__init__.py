"""The macro space of convolutional networks: `ConvSpace`, its architectures, and nothing that loads torch."""

from nasmeta.search_spaces.conv.architecture import ConvArchitecture, ConvBlock
from nasmeta.search_spaces.conv.space import ConvSpace

__all__ = ["ConvArchitecture", "ConvBlock", "ConvSpace"]
