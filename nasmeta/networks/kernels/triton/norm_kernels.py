"""The kernels of norm.py, whose head has the formulas; tiles hold P positions and C channels of a task.

When a kernel is compiled, the activation, the pooling and the tile are known, and whether the number of
channels is a multiple of 16. All other sizes are known when it runs.
"""

import triton
import triton.language as tl

_jit = triton.jit(do_not_specialize=["m", "span", "splits", "positions", "n", "height", "width"])


@triton.jit
def _read(rows, position, there, channel, channels):
    """rows [positions, channels] at these positions and channels, in float32; 0 where nothing is there."""
    place = rows + position[:, None] * channels + channel[None, :]
    return tl.load(place, there[:, None] & (channel < channels)[None, :], 0.0).to(tl.float32)


@triton.jit
def _write(rows, position, there, channel, channels, value):
    place = rows + position[:, None] * channels + channel[None, :]
    tl.store(place, value, there[:, None] & (channel < channels)[None, :])


@triton.jit
def _of_task(per_channel, channel, channels):
    """[T, channels] of this program's task and channels, as [1, C]."""
    row = per_channel + tl.program_id(2) * channels
    return tl.load(row + channel, channel < channels, 0.0)[None, :]


@triton.jit
def _merged(count, mean, squares):
    """The mean and the sum of squared deviations [C] of N samples [N, C] that are taken as one.

    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
    """
    whole = tl.sum(count * mean, 0) / tl.maximum(tl.sum(count, 0), 1.0)
    apart = mean - whole[None, :]
    return whole, tl.sum(squares + count * apart * apart, 0)


@_jit
def split_moments(x, means, squares, m, span, positions, channels, P: tl.constexpr, C: tl.constexpr):
    """Moments of a split of the first m positions, by Welford's recurrence (1962) from tile to tile."""
    split, task = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * C + tl.arange(0, C)
    x += task * positions * channels
    count = tl.zeros([P, 1], tl.float32)
    mean, square = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    for tile in range(split * span, tl.minimum((split + 1) * span, tl.cdiv(m, P))):
        position = tile * P + tl.arange(0, P)
        there = position < m
        value = _read(x, position, there, channel, channels)
        count += there[:, None].to(tl.float32)
        apart = tl.where(there[:, None], value - mean, 0.0)
        mean += apart * (1.0 / tl.maximum(count, 1.0))
        square += apart * (value - mean)
    whole, squared = _merged(count, mean, square)
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
    whole, squared = _merged(
        count[:, None],
        _read(means, task * splits + split, split < splits, channel, channels),
        _read(squares, task * splits + split, split < splits, channel, channels),
    )
    tl.store(mean + task * channels + channel, whole, channel < channels)
    tl.store(rstd + task * channels + channel, tl.rsqrt(squared / m + eps), channel < channels)


@triton.jit
def _element(window, k, high, wide, height, width, K: tl.constexpr):
    """Where the k-th element of each window is, and whether it is inside: high x wide windows an image."""
    image, row, column = window // (high * wide), window // wide % high, window % wide
    row, column = row * K + k // K, column * K + k % K
    return (image * height + row) * width + column, (row < height) & (column < width)


@triton.jit
def _activated(z, ACTIVATION: tl.constexpr):
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
def _slope(z, ACTIVATION: tl.constexpr):
    """f'(z)"""
    if ACTIVATION == "relu":
        slope = tl.where(z > 0, 1.0, 0.0)
    elif ACTIVATION == "gelu":
        density = 0.3989422804014327 * tl.exp(-0.5 * z * z)
        slope = 0.5 * (1.0 + tl.erf(z * 0.7071067811865476)) + z * density
    elif ACTIVATION == "silu":
        s = tl.sigmoid(z)
        slope = s * (1.0 + z * (1.0 - s))
    else:
        slope = tl.full(z.shape, 1.0, tl.float32)
    return slope


@triton.jit
def _largest(
    x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """The largest f(z) of each window [P, C], and which of its elements that is: the first of equals."""
    largest, which = tl.full([P, C], float("-inf"), tl.float32), tl.zeros([P, C], tl.int32)
    for k in tl.static_range(K * K):
        position, inside = _element(window, k, high, wide, height, width, K)
        apart = _read(x, position, there & inside, channel, channels) - mean
        y = _activated(apart * scale + beta, ACTIVATION)
        which = tl.where(y > largest, k, which)
        largest = tl.maximum(largest, y, propagate_nan=tl.PropagateNan.ALL)
    return largest, which


@triton.jit
def _taken(
    x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
    ACTIVATION: tl.constexpr, MAX: tl.constexpr, K: tl.constexpr, P: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Which element of each window a max-pooling takes [P, C]."""
    if MAX:
        _, which = _largest(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, K, P, C,
        )  # fmt: skip
    else:
        which = tl.zeros([P, C], tl.int32)
    return which


@triton.jit
def _back(value, z, which, k, ACTIVATION: tl.constexpr, MAX: tl.constexpr):
    """value f'(z) of the k-th element of each window where the pooling takes it, 0 elsewhere."""
    back = value * _slope(z, ACTIVATION)
    if MAX:
        back = tl.where(which == k, back, 0.0)
    return back


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
    mean, beta = _of_task(mean, channel, channels), _of_task(beta, channel, channels)
    scale = _of_task(gamma, channel, channels) * _of_task(rstd, channel, channels)
    if MAX:
        pooled, _ = _largest(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, K, P, C,
        )  # fmt: skip
    else:
        pooled = tl.zeros([P, C], tl.float32)
        for k in tl.static_range(K * K):
            position, _ = _element(window, k, high, wide, height, width, K)
            apart = _read(x, position, there, channel, channels) - mean
            pooled += _activated(apart * scale + beta, ACTIVATION) / (K * K)
    _write(y, window, there, channel, channels, pooled)


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
    mean, beta = _of_task(mean, channel, channels), _of_task(beta, channel, channels)
    rstd = _of_task(rstd, channel, channels)
    scale = _of_task(gamma, channel, channels) * rstd
    sum_gz, sum_g = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    for tile in range(split * span, tl.minimum((split + 1) * span, tl.cdiv(windows, P))):
        window = tile * P + tl.arange(0, P)
        there = window < windows
        share = _read(gy, window, there, channel, channels) / (1 if MAX else K * K)
        which = _taken(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        for k in tl.static_range(K * K):
            position, _ = _element(window, k, high, wide, height, width, K)
            apart = _read(x, position, there, channel, channels) - mean
            g = _back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
            sum_g += g
            sum_gz += g * (apart * rstd)
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
    mean, beta = _of_task(mean, channel, channels), _of_task(beta, channel, channels)
    rstd = _of_task(rstd, channel, channels)
    scale = _of_task(gamma, channel, channels) * rstd
    by_gamma, by_beta = _of_task(by_gamma, channel, channels), _of_task(by_beta, channel, channels)
    pooled, has = _element(window, 0, high, wide, height // K, width // K, 1)
    share = _read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
    which = _taken(
        x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    for k in tl.static_range(K * K):
        position, inside = _element(window, k, high, wide, height, width, K)
        apart = _read(x, position, there & inside, channel, channels) - mean
        g = _back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
        through_moments = tl.where((position < m)[:, None], by_m * (by_beta + apart * rstd * by_gamma), 0.0)
        _write(gx, position, there & inside, channel, channels, scale * (g - through_moments))


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
    mean, beta = _of_task(mean, channel, channels), _of_task(beta, channel, channels)
    rstd = _of_task(rstd, channel, channels)
    scale = _of_task(gamma, channel, channels) * rstd
    of_u, of_zu = tl.zeros([P, C], tl.float32), tl.zeros([P, C], tl.float32)
    of_ug = tl.zeros([P, C], tl.float32)
    for tile in range(split * span, tl.minimum((split + 1) * span, tl.cdiv(windows, P))):
        window = tile * P + tl.arange(0, P)
        there = window < windows
        pooled, has = _element(window, 0, high, wide, height // K, width // K, 1)
        share = _read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
        which = _taken(
            x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
            ACTIVATION, MAX, K, P, C,
        )  # fmt: skip
        for k in tl.static_range(K * K):
            position, inside = _element(window, k, high, wide, height, width, K)
            apart = _read(x, position, there & inside, channel, channels) - mean
            by_gx = _read(u, position, there & inside, channel, channels)
            of_u += by_gx
            of_zu += by_gx * (apart * rstd)
            of_ug += by_gx * _back(share, apart * scale + beta, which, k, ACTIVATION, MAX)
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
    mean, beta = _of_task(mean, channel, channels), _of_task(beta, channel, channels)
    rstd = _of_task(rstd, channel, channels)
    scale = _of_task(gamma, channel, channels) * rstd
    p, q = _of_task(p, channel, channels), _of_task(q, channel, channels)
    mean_g, mean_zg = _of_task(sum_g, channel, channels) * by_m, _of_task(sum_zg, channel, channels) * by_m
    mean_u, mean_zu = _of_task(sum_u, channel, channels) * by_m, _of_task(sum_zu, channel, channels) * by_m
    inner = _of_task(sum_ug, channel, channels) * by_m - mean_g * mean_u - mean_zg * mean_zu
    of_g, of_u = rstd * (p - scale * mean_zu), -rstd * scale * mean_zg
    of_z = -rstd * (mean_zg * (p - 2 * scale * mean_zu) + scale * inner)
    constant = -rstd * (p * mean_g - scale * (mean_g * mean_zu + mean_zg * mean_u))
    if tl.program_id(0) == 0:
        place = by_gamma + task * channels + channel[None, :]
        tl.store(place, m * rstd * inner, (channel < channels)[None, :])
    pooled, has = _element(window, 0, high, wide, height // K, width // K, 1)
    share = _read(gy, pooled, there & has, channel, channels) / (1 if MAX else K * K)
    which = _taken(
        x, window, there, channel, channels, mean, scale, beta, high, wide, height, width,
        ACTIVATION, MAX, K, P, C,
    )  # fmt: skip
    gathered = tl.zeros([P, C], tl.float32)
    for k in tl.static_range(K * K):
        position, inside = _element(window, k, high, wide, height, width, K)
        apart = _read(x, position, there & inside, channel, channels) - mean
        by_gx = _read(u, position, there & inside, channel, channels)
        z, zh = apart * scale + beta, apart * rstd
        by_g = scale * (by_gx - mean_u - zh * mean_zu) + p * zh + q
        gathered += _back(by_g, z, which, k, ACTIVATION, MAX)
        g = _back(share, z, which, k, ACTIVATION, MAX)
        value = of_g * g + of_u * by_gx + of_z * zh + constant
        _write(by_x, position, there & inside, channel, channels, value)
    _write(by_gy, pooled, there & has, channel, channels, gathered / (1 if MAX else K * K))
