"""A surrogate of the evaluator: an ensemble of graph networks that predicts scores, and its acquisitions.

Every file here but `graphs` and `targets` loads torch, so a strategy imports them when it first needs them.
"""
