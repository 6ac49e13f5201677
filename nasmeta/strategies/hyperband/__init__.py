"""Successive halving, Hyperband and ASHA: `Hyperband`."""

from nasmeta.strategies.hyperband.strategy import Hyperband

__all__ = ["Hyperband"]
