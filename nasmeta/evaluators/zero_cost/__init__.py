"""Scores of networks that nobody has trained: one proxy a file, and the evaluator that asks them."""
