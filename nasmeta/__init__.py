"""Architecture search joined with meta-learning: the network that learns new tasks fastest."""

__version__ = "0.1.0"
