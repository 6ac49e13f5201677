"""Accuracies looked up instead of trained: a table of a whole space, and the evaluator that reads it."""
