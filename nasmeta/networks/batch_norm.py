"""Batch normalization for episodes."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.errors import DataError
from nasmeta.networks.forward_pass import Activation, ForwardPass, Kernels, Pooling
from nasmeta.networks.kernels import stacked
from nasmeta.networks.kernels.batch_norm import (
    all_but_channels,
    normalize,
    normalize_and_pool,
    pool_and_normalize,
)
from nasmeta.networks.kernels.stacked import below_vmap

LARGE_MAP = 2**19
"""How many numbers a feature map needs for fused normalization and pooling to pay in a pass with gradients.

Smaller maps fit into a core's cache."""


class NormOfOneValue(DataError, ValueError):
    """Batch norm would have one value to normalize, which leaves nothing of it."""


class EpisodicBatchNorm(nn.Module):
    """Batch normalization, with the statistics and the kernels that the current forward pass names.

    norm: the layer that it replaces; it takes over weight and bias.
    current: the network's pass, which the network sets before each call.
    pool: the 2x2 max-pooling that follows the norm, or None.
    activation, pooling: what follows the norm, which it computes if the current pass `fuses`.
    Calls take x [n, C] or [n, C, H, W]. They raise NormOfOneValue if the statistics would be
    those of one value.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        norm: nn.BatchNorm1d | nn.BatchNorm2d,
        current: ForwardPass,
        pool: nn.Module | None = None,
        activation: Activation = "none",
        pooling: Pooling = "none",
    ) -> None:
        super().__init__()
        self.activation, self.pooling = activation, pooling
        self.eps, self.pool, self.current = norm.eps, pool, current
        self.kind = type(norm)
        self.weight, self.bias = norm.weight, norm.bias
        self.recorded: list[tuple[Tensor, Tensor]] = []
        # A fused per-channel x * scale + shift is the eval-mode kernel with these moments.
        self.register_buffer("mean", torch.zeros_like(norm.bias), persistent=False)
        self.register_buffer("variance", torch.ones_like(norm.bias), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.current.statistics
        rows = len(x) // statistics.tasks if statistics.rows is None else statistics.rows
        if rows * x.shape[2:].numel() == 1 and not statistics.population:
            raise NormOfOneValue(
                "batch norm over one value: it normalizes by one example, whose map is 1x1 here; use more "
                "examples (task.shot, inner_batch, or images to label), another norm, or larger maps"
            )
        if self.current.fuses(x, self.activation, "batch"):
            return self._by_triton(x, rows)
        of_batch = not (statistics.record or statistics.population)
        if self.current.kernels is Kernels.STACKED and of_batch:
            y = below_vmap(partial(stacked.norm, rows=rows, eps=self.eps), x, self.weight, self.bias)
            return y if self.pool is None else below_vmap(stacked.pool, y)
        if self.pool is None:
            return self._normalized(x, rows)
        if statistics.tasks == 1 and of_batch and self._pools_first(x):
            pooling = normalize_and_pool if torch.is_grad_enabled() else pool_and_normalize
            return pooling(x, self.weight, self.bias, rows, self.eps)
        pooled: Tensor = self.pool(self._normalized(x, rows))
        return pooled

    def _by_triton(self, x: Tensor, rows: int) -> Tensor:
        """The norm with the activation and the pooling that follow."""
        if self.current.stacked:
            return below_vmap(partial(self._of_tasks, rows=rows), x, self.weight, self.bias)
        tasks = x.unflatten(0, (self.current.statistics.tasks, -1))
        weight, bias = (p.expand(len(tasks), -1) for p in (self.weight, self.bias))
        return self._of_tasks(tasks, weight, bias, rows=rows).flatten(0, 1)

    def _of_tasks(self, x: Tensor, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
        """x [T, n, C, ...]; weight and bias are [T, C]."""
        from nasmeta.networks.kernels.triton.norm import norm_activation_pool  # imports Triton

        given = self.mean.expand_as(weight), self.variance.expand_as(weight)
        y = norm_activation_pool(
            x.view(*x.shape, *[1] * (5 - x.dim())),
            weight,
            bias,
            rows,
            self.eps,
            self.activation,
            self.pooling,
            given if self.current.statistics.population else None,
        )
        return y.flatten(x.dim() - 1) if x.dim() < 5 else y

    def _pools_first(self, x: Tensor) -> bool:
        """Whether pooling before normalizing is possible and pays."""
        pays = x.numel() >= LARGE_MAP or not torch.is_grad_enabled()
        once = self.current.kernels is Kernels.FUSED and x.dtype == self.weight.dtype
        # Reading a value waits for the device, which is free on a CPU only.
        return pays and once and x.device.type == "cpu" and bool((self.weight > 0).all())

    def _normalized(self, x: Tensor, rows: int) -> Tensor:
        statistics, kernels = self.current.statistics, self.current.kernels
        if statistics.record:
            variance, mean = torch.var_mean(_wide(x.detach()), dim=all_but_channels(x), correction=0)
            self.recorded.append((mean, variance))
        if statistics.population:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)
        fused = kernels in (Kernels.FUSED, Kernels.TWICE) and x.dtype == self.weight.dtype
        if rows == len(x) and not (fused and kernels is Kernels.TWICE):
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        if statistics.tasks == 1 and fused:
            return normalize(x, self.weight, self.bias, rows, self.eps)
        each = self._fused if fused else self._plain
        return each(x.unflatten(0, (statistics.tasks, -1)), rows).flatten(0, 1).to(x.dtype)

    def _fused(self, x: Tensor, rows: int) -> Tensor:
        """x [T, n, C, ...] with each task normalized by its own first `rows` examples, all tasks at once."""
        weight, bias = (p.expand(len(x), -1) for p in (self.weight, self.bias))
        return stacked.norm(x, weight, bias, rows, self.eps)

    def _plain(self, x: Tensor, rows: int) -> Tensor:
        """The same by torch's own functions."""
        dims = [dim for dim in range(1, x.dim()) if dim != 2]
        variance, mean = torch.var_mean(_wide(x[:, :rows]), dim=dims, correction=0, keepdim=True)
        shape = [-1, *[1] * (x.dim() - 3)]
        scale = self.weight.view(shape) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(shape) - mean * scale, x, scale)

    def plain(self) -> nn.Module:
        """The same norm, and its pooling, as torch's own layers; they use the population's moments."""
        norm = self.kind(len(self.bias), eps=self.eps).to(self.bias.device, self.bias.dtype).eval()
        moments = {"running_mean": self.mean, "running_var": self.variance}
        norm.load_state_dict({"weight": self.weight, "bias": self.bias, **moments}, strict=False)
        return norm if self.pool is None else nn.Sequential(norm, self.pool)


def _wide(x: Tensor) -> Tensor:
    """x in at least float32: sums over a map need more digits than bfloat16 has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
