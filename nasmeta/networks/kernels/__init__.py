"""Kernels with derivatives written out, each with what it computes."""
