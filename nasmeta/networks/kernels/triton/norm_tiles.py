"""What the kernels of norms share: tiles hold P positions and C channels, and numbers are in float32.

g, z, r and f are those of norm.py, whose head has the formulas.
"""

import triton
import triton.language as tl


@triton.jit
def read(rows, position, there, channel, channels):
    """rows [positions, channels] at these positions and channels, in float32; 0 where nothing is there."""
    place = rows + position[:, None] * channels + channel[None, :]
    return tl.load(place, there[:, None] & (channel < channels)[None, :], 0.0).to(tl.float32)


@triton.jit
def write(rows, position, there, channel, channels, value):
    place = rows + position[:, None] * channels + channel[None, :]
    tl.store(place, value, there[:, None] & (channel < channels)[None, :])


@triton.jit
def of_task(per_channel, channel, channels):
    """[T, channels] of this program's task and channels, as [1, C]."""
    row = per_channel + tl.program_id(2) * channels
    return tl.load(row + channel, channel < channels, 0.0)[None, :]


@triton.jit
def merged(count, mean, squares):
    """The mean and the sum of squared deviations [C] of N samples [N, C] that are taken as one.

    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
    """
    whole = tl.sum(count * mean, 0) / tl.maximum(tl.sum(count, 0), 1.0)
    apart = mean - whole[None, :]
    return whole, tl.sum(squares + count * apart * apart, 0)


@triton.jit
def moments(x, first, last, m, channel, channels, P: tl.constexpr, C: tl.constexpr):
    """The mean and the sum of squared deviations [C] of the tiles from `first` until `last`, and position m.

    By Welford's recurrence (1962) from tile to tile.
    """
    count = tl.zeros([P, 1], tl.float32)
    mean, square = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    for tile in range(first, last):
        position = tile * P + tl.arange(0, P)
        there = position < m
        value = read(x, position, there, channel, channels)
        count += there[:, None].to(tl.float32)
        apart = tl.where(there[:, None], value - mean, 0.0)
        mean += apart * (1.0 / tl.maximum(count, 1.0))
        square += apart * (value - mean)
    return merged(count, mean, square)


@triton.jit
def element(window, k, high, wide, height, width, K: tl.constexpr):
    """Where the k-th element of each window is, and whether it is inside: high x wide windows an image."""
    image, row, column = window // (high * wide), window // wide % high, window % wide
    row, column = row * K + k // K, column * K + k % K
    return (image * height + row) * width + column, (row < height) & (column < width)


@triton.jit
def activated(z, ACTIVATION: tl.constexpr):
    """f(z)"""
    if ACTIVATION == "relu":
        y = tl.where(z < 0, 0.0, z)  # NaN stays NaN
    elif ACTIVATION == "gelu":
        y = z * 0.5 * (1.0 + tl.erf(z * 0.7071067811865476))
    elif ACTIVATION == "silu":
        y = z * tl.sigmoid(z)
    else:
        y = z
    return y


@triton.jit
def slope(z, ACTIVATION: tl.constexpr):
    """f'(z)"""
    if ACTIVATION == "relu":
        by_z = tl.where(z > 0, 1.0, 0.0)
    elif ACTIVATION == "gelu":
        density = 0.3989422804014327 * tl.exp(-0.5 * z * z)
        by_z = 0.5 * (1.0 + tl.erf(z * 0.7071067811865476)) + z * density
    elif ACTIVATION == "silu":
        s = tl.sigmoid(z)
        by_z = s * (1.0 + z * (1.0 - s))
    else:
        by_z = tl.full(z.shape, 1.0, tl.float32)
    return by_z


@triton.jit
def largest(
    x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The largest f(z) of each window [P, C], and which of its elements that is: the first of equals."""
    most, which = tl.full([P, C], float("-inf"), tl.float32), tl.zeros([P, C], tl.int32)
    for k in tl.static_range(K * K):
        position, inside = element(window, k, high, wide, height, width, K)
        apart = read(x, position, there & inside, channel, channels) - mean
        y = activated(apart * scale + beta, ACTIVATION)
        which = tl.where(y > most, k, which)
        most = tl.maximum(most, y, propagate_nan=tl.PropagateNan.ALL)
    return most, which


@triton.jit
def pooled(
    x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """pool(f(z)) of P windows [P, C]."""
    if MAX:
        y, _ = largest(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, K, P, C,
        )  # fmt: skip
    else:
        y = tl.zeros([P, C], tl.float32)
        for k in tl.static_range(K * K):
            position, _ = element(window, k, high, wide, height, width, K)
            apart = read(x, position, there, channel, channels) - mean
            y += activated(apart * scale + beta, ACTIVATION) / (K * K)
    return y


@triton.jit
def taken(
    x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Which element of each window a max-pooling takes [P, C]."""
    if MAX:
        _, which = largest(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, K, P, C,
        )  # fmt: skip
    else:
        which = tl.zeros([P, C], tl.int32)
    return which


@triton.jit
def back(value, z, which, k, ACTIVATION: tl.constexpr, MAX: tl.constexpr):
    """value f'(z) of the k-th element of each window where the pooling takes it, 0 elsewhere."""
    g = value * slope(z, ACTIVATION)
    if MAX:
        g = tl.where(which == k, g, 0.0)
    return g


@triton.jit
def summed(
    gy, x, first, last, windows, channel, channels, mean, rstd, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """g (x - mu) r and g [P, C], each added over the tiles of windows from `first` until `last`."""
    sum_gz, sum_g = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    for tile in range(first, last):
        window = tile * P + tl.arange(0, P)
        there = window < windows
        share = read(gy, window, there, channel, channels) / (1 if MAX else K * K)
        which = taken(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        for k in tl.static_range(K * K):
            position, _ = element(window, k, high, wide, height, width, K)
            apart = read(x, position, there, channel, channels) - mean
            g = back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
            sum_g += g
            sum_gz += g * (apart * rstd)
    return sum_gz, sum_g
