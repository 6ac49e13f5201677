"""Evaluators say what an architecture is worth at a budget. One file per evaluator."""
