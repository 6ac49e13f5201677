"""The two kernels of convolution.py: products with windows whose numbers are loaded from where they lie.

m counts the places of the output, over images, rows and columns. r counts the numbers of a window, over its
taps a, b and, fastest, its channels.
"""

import triton
import triton.language as tl


@triton.jit
def _place(i, tap, padding, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr):
    """s i + a - p, or (i + p - a) / s; negative if that is a fraction."""
    if BY_INPUT:
        ahead = i + padding - tap
        place = tl.where(ahead % STRIDE == 0, ahead // STRIDE, -1)
    else:
        place = i * STRIDE + tap - padding
    return place


@triton.jit
def _windows(
    images, m, r, rows, height, width, channels, out_height, out_width, padding,
    K: tl.constexpr, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr,
):  # fmt: skip
    """The numbers that place m of the output sees through entry r of its window; r counts a, b, channel."""
    n, i, j = m // (out_height * out_width), m // out_width % out_height, m % out_width
    tap, channel = r // channels, r % channels
    h = _place(i, tap // K, padding, STRIDE, BY_INPUT)
    v = _place(j, tap % K, padding, STRIDE, BY_INPUT)
    inside = (m < rows) & (r < K * K * channels) & (h >= 0) & (h < height) & (v >= 0) & (v < width)
    return tl.load(images + ((n * height + h) * width + v) * channels + channel, mask=inside, other=0.0)


@triton.jit(do_not_specialize=["n", "height", "width", "out_height", "out_width", "padding"])
def over_channels(
    source, weight, out, n, height, width, channels, out_height, out_width, out_channels,
    by_task, by_out, by_channel, by_tap, padding,
    K: tl.constexpr, STRIDE: tl.constexpr, BY_INPUT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """out[m, o] = sum over r of window[m, r] weight[o, r], for a block of places m and channels o."""
    task = tl.program_id(2).to(tl.int64)
    rows = n * out_height * out_width
    source += task * n * height * width * channels
    weight += task * by_task
    out += task * rows * out_channels
    m = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    o = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float64 if out.dtype.element_ty == tl.float64 else tl.float32)
    for first in range(0, K * K * channels, TERMS):
        r = first + tl.arange(0, TERMS)
        seen = _windows(
            source, m, r[None, :], rows, height, width, channels, out_height, out_width, padding,
            K, STRIDE, BY_INPUT,
        )  # fmt: skip
        tap, channel = r[:, None] // channels, r[:, None] % channels
        place = weight + o * by_out + channel * by_channel + tap * by_tap
        factors = tl.load(place, mask=(tap < K * K) & (o < out_channels), other=0.0)
        total = tl.dot(seen, factors, total, input_precision=PRECISION, out_dtype=total.dtype)
    tl.store(out + m * out_channels + o, total.to(out.dtype.element_ty), mask=(m < rows) & (o < out_channels))


@triton.jit(do_not_specialize=["n", "height", "width", "out_height", "out_width", "padding", "share"])
def over_places(
    slopes, images, out, n, height, width, channels, out_height, out_width, out_channels,
    padding, share,
    K: tl.constexpr, STRIDE: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """out[part, o, r] = sum over m of slopes[m, o] window[m, r], over the part's `share` of the places m."""
    task, part = tl.program_id(2).to(tl.int64), tl.program_id(1)
    rows, entries = n * out_height * out_width, K * K * channels
    across = tl.cdiv(entries, COLUMNS)
    slopes += task * rows * out_channels
    images += task * n * height * width * channels
    out += (task * tl.num_programs(1) + part) * out_channels * entries
    o = (tl.program_id(0) // across * ROWS + tl.arange(0, ROWS))[:, None]
    r = (tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    end = tl.minimum((part + 1) * share, rows)
    total = tl.zeros((ROWS, COLUMNS), out.dtype.element_ty)
    for first in range(part * share, end, TERMS):
        m = first + tl.arange(0, TERMS)
        place = slopes + m[None, :] * out_channels + o
        factors = tl.load(place, mask=(m[None, :] < end) & (o < out_channels), other=0.0)
        seen = _windows(
            images, m[:, None], r, rows, height, width, channels, out_height, out_width, padding,
            K, STRIDE, False,
        )  # fmt: skip
        total = tl.dot(factors, seen, total, input_precision=PRECISION, out_dtype=total.dtype)
    tl.store(out + o * entries + r, total, mask=(o < out_channels) & (r < entries))
