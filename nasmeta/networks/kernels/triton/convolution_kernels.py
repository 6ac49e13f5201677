"""The two kernels of convolution.py: products with windows whose numbers are loaded from where they lie.

m counts the places of the output, over images, rows and columns. The entries of a window are its taps a, b,
counted row by row, and the channels of each. A block of entries has SPAN channels, a power of 2, of one tap
or of several taps.
"""

import triton
import triton.language as tl


@triton.jit
def _entries(block, blocks, entry, SPAN: tl.constexpr, SIZE: tl.constexpr):
    """The taps and channels of a block of SIZE entries; `blocks` of them cover the channels of a tap.

    If a block has a single tap, that is a scalar.
    """
    tap = block // blocks if SIZE == SPAN else block // blocks * (SIZE // SPAN) + entry // SPAN
    return tap, block % blocks * SPAN + entry % SPAN


@triton.jit
def _place(i, tap, padding, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr):
    """s i + a - p, or (i + p - a) / s; negative if that is a fraction."""
    if BY_INPUT:
        ahead = i + padding - tap
        place = ahead if STRIDE == 1 else tl.where(ahead % STRIDE == 0, ahead // STRIDE, -1)
    else:
        place = i * STRIDE + tap - padding
    return place


@triton.jit
def _windows(
    images, m, there, tap, channel, height, width, channels, out_height, out_width, padding,
    K: tl.constexpr, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr,
):  # fmt: skip
    """The numbers that places m of the output see through these entries of their windows."""
    image, i, j = m // (out_height * out_width), m // out_width % out_height, m % out_width
    h = _place(i, tap // K, padding, STRIDE, BY_INPUT)
    v = _place(j, tap % K, padding, STRIDE, BY_INPUT)
    inside = there & (h >= 0) & (h < height) & (v >= 0) & (v < width)
    images += image.to(tl.int64) * (height * width * channels)
    seen = inside & (tap < K * K) & (channel < channels)
    return tl.load(images + (h * width + v) * channels + channel, mask=seen, other=0.0)


@triton.jit(do_not_specialize=["n", "height", "width", "out_height", "out_width", "padding"])
def over_channels(
    source, weight, out, n, height, width, channels, out_height, out_width, out_channels, padding,
    K: tl.constexpr, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TERMS: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """out[m, o] = sum over entries of window[m, entry] weight[o, entry], for a block of m and o."""
    task = tl.program_id(2).to(tl.int64)
    rows = n * out_height * out_width
    source += task * n * height * width * channels
    weight += task * out_channels * K * K * channels
    m = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    o = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    entry, blocks = tl.arange(0, TERMS), tl.cdiv(channels, SPAN)
    total = tl.zeros((ROWS, COLUMNS), tl.float64 if out.dtype.element_ty == tl.float64 else tl.float32)
    for block in range(0, tl.cdiv(K * K, TERMS // SPAN) * blocks):
        tap, channel = _entries(block, blocks, entry[None, :], SPAN, TERMS)
        seen = _windows(
            source, m, m < rows, tap, channel, height, width, channels, out_height, out_width, padding,
            K, STRIDE, BY_INPUT,
        )  # fmt: skip
        tap, channel = _entries(block, blocks, entry[:, None], SPAN, TERMS)
        factors = tl.load(
            weight + (o * (K * K) + tap) * channels + channel,
            mask=(o < out_channels) & (tap < K * K) & (channel < channels),
            other=0.0,
        )
        total = tl.dot(seen, factors, total, input_precision=PRECISION, out_dtype=total.dtype)
    place = out + (task * rows + m) * out_channels + o
    tl.store(place, total.to(out.dtype.element_ty), mask=(m < rows) & (o < out_channels))


@triton.jit(do_not_specialize=["n", "height", "width", "out_height", "out_width", "padding", "share"])
def over_places(
    slopes, images, out, n, height, width, channels, out_height, out_width, out_channels, padding, share,
    K: tl.constexpr, STRIDE: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TERMS: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """out[part, o, entry] = sum over the part's `share` of the places m of slopes[m, o] window[m, entry]."""
    task, part = tl.program_id(2).to(tl.int64), tl.program_id(1)
    rows, blocks = n * out_height * out_width, tl.cdiv(channels, SPAN)
    across = tl.cdiv(K * K, COLUMNS // SPAN) * blocks
    slopes += task * rows * out_channels
    images += task * n * height * width * channels
    out += (task * tl.num_programs(1) + part) * out_channels * K * K * channels
    o = (tl.program_id(0) // across * ROWS + tl.arange(0, ROWS))[:, None]
    entry = tl.arange(0, COLUMNS)[None, :]
    tap, channel = _entries(tl.program_id(0) % across, blocks, entry, SPAN, COLUMNS)
    end = tl.minimum((part + 1) * share, rows)
    total = tl.zeros((ROWS, COLUMNS), out.dtype.element_ty)
    for first in range(part * share, end, TERMS):
        m = first + tl.arange(0, TERMS)
        place = slopes + m[None, :].to(tl.int64) * out_channels + o
        factors = tl.load(place, mask=(m[None, :] < end) & (o < out_channels), other=0.0)
        seen = _windows(
            images, m[:, None], m[:, None] < end, tap, channel, height, width, channels, out_height,
            out_width, padding, K, STRIDE, False,
        )  # fmt: skip
        total = tl.dot(factors, seen, total, input_precision=PRECISION, out_dtype=total.dtype)
    place = out + (o * (K * K) + tap) * channels + channel
    tl.store(place, total, mask=(o < out_channels) & (tap < K * K) & (channel < channels))
