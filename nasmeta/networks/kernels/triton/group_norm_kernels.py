"""The kernels of group_norm.py, whose head has the formulas: a program has one image and C // S groups of it.

A tile holds P positions and C lanes, S of them for each group, where S is a power of 2. A lane has a channel,
or none if the group has fewer than S. When a kernel is compiled, the activation, the pooling and the tile are
known, and whether the number of channels is a multiple of 16. All other sizes are known when it runs.
"""

import triton
import triton.language as tl

from nasmeta.networks.kernels.triton.norm_tiles import (
    back,
    element,
    moments,
    of_task,
    pooled,
    read,
    summed,
    taken,
    write,
)

_jit = triton.jit(do_not_specialize=["height", "width", "groups"])


@triton.jit
def _lanes(groups, channels, S: tl.constexpr, C: tl.constexpr):
    """The group of each lane [C], and its channel; those that have none are given one past the last."""
    lane, size = tl.arange(0, C), channels // groups
    group, number = tl.program_id(1) * (C // S) + lane // S, lane % S
    return group, tl.where((group < groups) & (number < size), group * size + number, channels)


@triton.jit
def _of_groups(value, S: tl.constexpr, C: tl.constexpr):
    """The sum of `value` [C] over the lanes of a group, in each of these lanes."""
    whole = tl.sum(tl.reshape(value, [C // S, S]), 1, keep_dims=True)
    return tl.reshape(tl.broadcast_to(whole, [C // S, S]), [C])


@triton.jit
def _image():
    """The number of this program's image among those of all tasks."""
    return tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)


@_jit
def forward(
    x, gamma, beta, mean, rstd, y, eps, height, width, groups, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr,
    S: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """y = pool(f(gamma (x - mu) r + beta)), and mu and r."""
    image = _image()
    group, channel = _lanes(groups, channels, S, C)
    high, wide, positions, size = height // K, width // K, height * width, channels // groups
    x, y = x + image * positions * channels, y + image * high * wide * channels
    means, squares = moments(x, 0, tl.cdiv(positions, P), positions, channel, channels, P, C)
    mu = _of_groups(means, S, C) / size
    apart = tl.where(channel < channels, means - mu, 0.0)
    r = tl.rsqrt(_of_groups(squares / positions + apart * apart, S, C) / size + eps)
    tl.store(mean + image * groups + group, mu, channel < channels)
    tl.store(rstd + image * groups + group, r, channel < channels)
    scale, beta = of_task(gamma, channel, channels) * r[None, :], of_task(beta, channel, channels)
    for tile in range(0, tl.cdiv(high * wide, P)):
        window = tile * P + tl.arange(0, P)
        there = window < high * wide
        values = pooled(
            x, window, there, channel, channels, mu[None, :], scale, beta, high, wide, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        write(y, window, there, channel, channels, values)


@_jit
def backward(
    gy, x, gamma, beta, mean, rstd, by_gamma, by_beta, gx, by_m, height, width, groups, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr,
    S: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """B, A and dL/dx; by_m is 1 / m. Windows that reach over an edge have a dL/dx, too."""
    image = _image()
    group, channel = _lanes(groups, channels, S, C)
    high, wide, positions = height // K, width // K, height * width
    x, gx = x + image * positions * channels, gx + image * positions * channels
    gy += image * high * wide * channels
    mu = tl.load(mean + image * groups + group, channel < channels, 0.0)[None, :]
    r = tl.load(rstd + image * groups + group, channel < channels, 0.0)[None, :]
    gamma, beta = of_task(gamma, channel, channels), of_task(beta, channel, channels)
    scale = gamma * r
    of_zg, of_g = summed(
        gy, x, 0, tl.cdiv(high * wide, P), high * wide, channel, channels, mu, r, scale, beta,
        high, wide, height, width, ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    sum_zg, sum_g = tl.sum(of_zg, 0), tl.sum(of_g, 0)
    tl.store(by_gamma + image * channels + channel, sum_zg, channel < channels)
    tl.store(by_beta + image * channels + channel, sum_g, channel < channels)
    mean_g = by_m * _of_groups(tl.reshape(gamma, [C]) * sum_g, S, C)[None, :]
    mean_zg = by_m * _of_groups(tl.reshape(gamma, [C]) * sum_zg, S, C)[None, :]
    high_all, wide_all = tl.cdiv(height, K), tl.cdiv(width, K)
    for tile in range(0, tl.cdiv(high_all * wide_all, P)):
        window = tile * P + tl.arange(0, P)
        there = window < high_all * wide_all
        window_of_y, has = element(window, 0, high_all, wide_all, high, wide, 1)
        share = read(gy, window_of_y, there & has, channel, channels) / (1 if MAX else K * K)
        which = taken(
            x, window, there, channel, channels, mu, scale, beta, high_all, wide_all, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        for k in tl.static_range(K * K):
            position, inside = element(window, k, high_all, wide_all, height, width, K)
            apart = read(x, position, there & inside, channel, channels) - mu
            g = back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
            value = r * (gamma * g - mean_g - apart * r * mean_zg)
            write(gx, position, there & inside, channel, channels, value)
