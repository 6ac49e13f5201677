"""The kernels of norm.py, whose head has the formulas; tiles hold P positions and C channels of a task.

When a kernel is compiled, the activation, the pooling and the tile are known, and whether the number of
channels is a multiple of 16. All other sizes are known when it runs.
"""

import triton
import triton.language as tl

from nasmeta.networks.kernels.triton.norm_tiles import (
    back,
    element,
    merged,
    moments,
    of_task,
    pooled,
    read,
    summed,
    taken,
    write,
)

_jit = triton.jit(do_not_specialize=["m", "span", "splits", "positions", "n", "height", "width"])


@_jit
def split_moments(x, means, squares, m, span, positions, channels, P: tl.constexpr, C: tl.constexpr):
    """Moments of a split of the first m positions."""
    split, task = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * C + tl.arange(0, C)
    x += task * positions * channels
    first, last = split * span, tl.minimum((split + 1) * span, tl.cdiv(m, P))
    whole, squared = moments(x, first, last, m, channel, channels, P, C)
    place = (task * tl.num_programs(0) + split) * channels + channel
    tl.store(means + place, whole, channel < channels)
    tl.store(squares + place, squared, channel < channels)


@_jit
def merge_moments(
    means, squares, mean, rstd, m, span, splits, eps, channels,
    SPLITS: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """mu and r of the first m positions from the moments of their splits, at most SPLITS."""
    task, split = tl.program_id(2), tl.arange(0, SPLITS)
    channel = tl.program_id(1) * C + tl.arange(0, C)
    count = tl.minimum(tl.maximum(m - split * span * P, 0), span * P).to(tl.float32)
    whole, squared = merged(
        count[:, None],
        read(means, task * splits + split, split < splits, channel, channels),
        read(squares, task * splits + split, split < splits, channel, channels),
    )
    tl.store(mean + task * channels + channel, whole, channel < channels)
    tl.store(rstd + task * channels + channel, tl.rsqrt(squared / m + eps), channel < channels)


@_jit
def forward(
    x, gamma, beta, mean, rstd, y, n, height, width, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """y = pool(f(gamma (x - mu) r + beta)) in P windows."""
    window, channel = tl.program_id(0) * P + tl.arange(0, P), tl.program_id(1) * C + tl.arange(0, C)
    task, high, wide = tl.program_id(2).to(tl.int64), height // K, width // K
    there = window < n * high * wide
    x, y = x + task * n * height * width * channels, y + task * n * high * wide * channels
    mean, beta = of_task(mean, channel, channels), of_task(beta, channel, channels)
    scale = of_task(gamma, channel, channels) * of_task(rstd, channel, channels)
    values = pooled(
        x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    write(y, window, there, channel, channels, values)


@_jit
def sums(
    gy, x, gamma, beta, mean, rstd, by_gamma, by_beta, span, n, height, width, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """sum(g (x - mu) r) and sum(g) over a split of a task's windows; g is 0 outside of windows."""
    split, channel = tl.program_id(0), tl.program_id(1) * C + tl.arange(0, C)
    task, high, wide = tl.program_id(2).to(tl.int64), height // K, width // K
    windows = n * high * wide
    x, gy = x + task * n * height * width * channels, gy + task * windows * channels
    mean, beta = of_task(mean, channel, channels), of_task(beta, channel, channels)
    rstd = of_task(rstd, channel, channels)
    scale = of_task(gamma, channel, channels) * rstd
    first, last = split * span, tl.minimum((split + 1) * span, tl.cdiv(windows, P))
    sum_gz, sum_g = summed(
        gy, x, first, last, windows, channel, channels, mean, rstd, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    place = (task * tl.num_programs(0) + split) * channels + channel
    tl.store(by_gamma + place, tl.sum(sum_gz, 0), channel < channels)
    tl.store(by_beta + place, tl.sum(sum_g, 0), channel < channels)


@_jit
def backward(
    gy, x, gamma, beta, mean, rstd, by_gamma, by_beta, gx, m, by_m, n, height, width, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """dL/dx at every position, so windows here include those that the pooling leaves out; by_m is 1 / m."""
    window, channel = tl.program_id(0) * P + tl.arange(0, P), tl.program_id(1) * C + tl.arange(0, C)
    task, high, wide = tl.program_id(2).to(tl.int64), tl.cdiv(height, K), tl.cdiv(width, K)
    there = window < n * high * wide
    x, gx = x + task * n * height * width * channels, gx + task * n * height * width * channels
    gy += task * n * (height // K) * (width // K) * channels
    mean, beta = of_task(mean, channel, channels), of_task(beta, channel, channels)
    rstd = of_task(rstd, channel, channels)
    scale = of_task(gamma, channel, channels) * rstd
    by_gamma, by_beta = of_task(by_gamma, channel, channels), of_task(by_beta, channel, channels)
    pooled, has = element(window, 0, high, wide, height // K, width // K, 1)
    share = read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
    which = taken(
        x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    for k in tl.static_range(K * K):
        position, inside = element(window, k, high, wide, height, width, K)
        apart = read(x, position, there & inside, channel, channels) - mean
        g = back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
        through_moments = tl.where((position < m)[:, None], by_m * (by_beta + apart * rstd * by_gamma), 0.0)
        write(gx, position, there & inside, channel, channels, scale * (g - through_moments))


@_jit
def second_sums(
    u, gy, x, gamma, beta, mean, rstd, sum_u, sum_zu, sum_ug, span, n, height, width, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """sum(u), sum(zh u) and sum(u g) over a split of a task's windows, with those that are left out."""
    split, channel = tl.program_id(0), tl.program_id(1) * C + tl.arange(0, C)
    task, high, wide = tl.program_id(2).to(tl.int64), tl.cdiv(height, K), tl.cdiv(width, K)
    windows = n * high * wide
    x, u = x + task * n * height * width * channels, u + task * n * height * width * channels
    gy += task * n * (height // K) * (width // K) * channels
    mean, beta = of_task(mean, channel, channels), of_task(beta, channel, channels)
    rstd = of_task(rstd, channel, channels)
    scale = of_task(gamma, channel, channels) * rstd
    of_u, of_zu = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    of_ug = tl.zeros([P, C], tl.float32)
    for tile in range(split * span, tl.minimum((split + 1) * span, tl.cdiv(windows, P))):
        window = tile * P + tl.arange(0, P)
        there = window < windows
        pooled, has = element(window, 0, high, wide, height // K, width // K, 1)
        share = read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
        which = taken(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        for k in tl.static_range(K * K):
            position, inside = element(window, k, high, wide, height, width, K)
            apart = read(x, position, there & inside, channel, channels) - mean
            by_gx = read(u, position, there & inside, channel, channels)
            of_u += by_gx
            of_zu += by_gx * (apart * rstd)
            of_ug += by_gx * back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
    place = (task * tl.num_programs(0) + split) * channels + channel
    tl.store(sum_u + place, tl.sum(of_u, 0), channel < channels)
    tl.store(sum_zu + place, tl.sum(of_zu, 0), channel < channels)
    tl.store(sum_ug + place, tl.sum(of_ug, 0), channel < channels)


@_jit
def second_backward(
    u, p, q, gy, x, gamma, beta, mean, rstd, sum_zg, sum_g, sum_u, sum_zu, sum_ug,
    by_gy, by_x, by_gamma, m, by_m, n, height, width, channels,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The derivatives of sum(u dL/dx) + p dL/dgamma + q dL/dbeta by dL/dy, x and gamma; by_m is 1 / m."""
    window, channel = tl.program_id(0) * P + tl.arange(0, P), tl.program_id(1) * C + tl.arange(0, C)
    task, high, wide = tl.program_id(2).to(tl.int64), tl.cdiv(height, K), tl.cdiv(width, K)
    there = window < n * high * wide
    x, u = x + task * n * height * width * channels, u + task * n * height * width * channels
    by_x += task * n * height * width * channels
    gy += task * n * (height // K) * (width // K) * channels
    by_gy += task * n * (height // K) * (width // K) * channels
    mean, beta = of_task(mean, channel, channels), of_task(beta, channel, channels)
    rstd = of_task(rstd, channel, channels)
    scale = of_task(gamma, channel, channels) * rstd
    p, q = of_task(p, channel, channels), of_task(q, channel, channels)
    mean_g, mean_zg = of_task(sum_g, channel, channels) * by_m, of_task(sum_zg, channel, channels) * by_m
    mean_u, mean_zu = of_task(sum_u, channel, channels) * by_m, of_task(sum_zu, channel, channels) * by_m
    inner = of_task(sum_ug, channel, channels) * by_m - mean_g * mean_u - mean_zg * mean_zu
    of_g, of_u = rstd * (p - scale * mean_zu), -rstd * scale * mean_zg
    of_z = -rstd * (mean_zg * (p - 2 * scale * mean_zu) + scale * inner)
    constant = -rstd * (p * mean_g - scale * (mean_g * mean_zu + mean_zg * mean_u))
    if tl.program_id(0) == 0:
        place = by_gamma + task * channels + channel[None, :]
        tl.store(place, m * rstd * inner, (channel < channels)[None, :])
    pooled, has = element(window, 0, high, wide, height // K, width // K, 1)
    share = read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
    which = taken(
        x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    gathered = tl.zeros([P, C], tl.float32)
    for k in tl.static_range(K * K):
        position, inside = element(window, k, high, wide, height, width, K)
        apart = read(x, position, there & inside, channel, channels) - mean
        by_gx = read(u, position, there & inside, channel, channels)
        z, zh = apart * scale + beta, apart * rstd
        by_g = scale * (by_gx - mean_u - zh * mean_zu) + p * zh + q
        gathered += back(by_g, z, which, k, ACTIVATION, MAX)
        g = back(share, z, which, k, ACTIVATION, MAX)
        value = of_g * g + of_u * by_gx + of_z * zh + constant
        write(by_x, position, there & inside, channel, channels, value)
    write(by_gy, pooled, there & has, channel, channels, gathered / (1 if MAX else K * K))
