"""Converts numbers of any type to 8-bit pixels, by the same rule for files and arrays."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

BITS = (8, 10, 12, 14, 16)  # what cameras, scanners and microscopes deliver
_BLOCK = 1 << 20  # numbers that are scaled at a time, so that no float copy of a large image is made


def eight_bits(values: NDArray[np.generic]) -> Pixels:
    """`values`, of any shape, scaled to [0, 255] and rounded. Bytes (uint8) stay as they are.

    Other integers have the range [0, 2^b - 1], where b is the smallest of BITS that holds the largest value.
    So 12-bit pixels keep their brightness in a file of 16 bits. Floating-point numbers have the range [0, 1].
    Booleans become 0 and 255. Raises ValueError for other types and ranges, and if different numbers would
    all become the same pixel value.
    """
    if values.dtype == np.uint8 or values.size == 0:
        return values.astype(np.uint8)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{values.dtype} is not a type of pixels")
    low, high = values.min().item(), values.max().item()
    pixels = _scaled(values, 255 / _top(values.dtype.kind, low, high))
    if low != high and pixels.min() == pixels.max():
        raise ValueError(f"its values, {low:g} to {high:g}, would all be one grey: stretch them")
    return pixels


def _top(kind: str, low: float, high: float) -> float:
    """The number that stands for white."""
    if kind in "iu":
        fitting = [bits for bits in BITS if low >= 0 and high < 2**bits]
        if fitting:
            return 2.0 ** fitting[0] - 1
        raise ValueError(
            f"its values are {low} to {high}; whole numbers are read from 0 to {2 ** BITS[-1] - 1}"
        )
    if low >= 0 and high <= 1:  # false for NaN
        return 1
    raise ValueError(f"its values are {low:g} to {high:g}; floating-point pixels are read from 0 to 1")


def _scaled(values: NDArray[np.generic], factor: float) -> Pixels:
    flat = values.reshape(-1)
    pixels = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        pixels[block] = np.rint(flat[block].astype(np.float64) * factor)
    return pixels.reshape(values.shape)
