"""A surrogate of the evaluator: an ensemble of graph networks that predicts scores, and acquisitions.

All files here but `graphs` and `targets` load torch, so a strategy imports them only when it needs them.
"""
