"""A surrogate of the evaluator: an ensemble of graph networks that predicts scores, and acquisitions.

`acquisition`, `ensemble` and `networks` load torch, so `sampler` imports them only when it needs them.
"""
