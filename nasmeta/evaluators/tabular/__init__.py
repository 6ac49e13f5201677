"""Accuracies looked up instead of trained: tables of a whole space, and the evaluator that reads them."""
