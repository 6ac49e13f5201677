"""Continuous relaxations: all networks of a space as one, whose architecture is learned by gradients."""
