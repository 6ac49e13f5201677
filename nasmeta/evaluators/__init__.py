"""Evaluators: what an architecture is worth at a budget. One file an evaluator."""
