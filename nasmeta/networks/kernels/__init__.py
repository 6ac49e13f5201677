"""Faster kernels for batch norm, convolution and pooling, with the formulas that they compute."""
