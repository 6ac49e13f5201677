"""Kernels in Triton's language, each beside the formula that it computes. Imported only if `kernels=triton`.

Sizes of tensors are arguments that are known at run time. Kinds of layers (kernel, stride, activation,
pooling) and tiles of channels are constants, so a new architecture compiles nothing if its kinds and tiles
were seen.
"""
