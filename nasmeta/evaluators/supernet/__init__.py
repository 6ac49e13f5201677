"""Judges candidates by weights that they inherit from one meta-learned set of weights."""
