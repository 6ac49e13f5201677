"""Kernels in Triton's language, each beside the formula that it computes. Imported only if `kernels=triton`.

Sizes of tensors are arguments that are known at run time, so a new architecture compiles nothing new.
"""
