"""Scores of untrained networks: one proxy per file, and the evaluator that uses them."""
