"""Gradient-based search: `Differentiable`."""

from nasmeta.strategies.differentiable.strategy import Differentiable

__all__ = ["Differentiable"]
