"""Batch normalization for episodes, and the policies that say whose statistics normalize a query.

- support: those of the support set. Each query is judged alone, as a deployed classifier must do.
- transductive: those of the batch that contains the query (MAML's code, Finn et al. 2017). The prediction
  for a query then depends on the other queries.
- running: population statistics, averaged over meta-training tasks once training is over. They are averaged
  exactly, at the final weights (Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3), and not
  exponentially during training. Training steps therefore stay pure functions.

The policy concerns queries only. During adaptation, a support set is always normalized by its own statistics.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.networks.kernels import stacked
from nasmeta.networks.kernels.batch_norm import normalize, normalize_and_pool, pool_and_normalize
from nasmeta.networks.kernels.stacked import below_vmap

Policy = Literal["support", "transductive", "running"]
POLICIES: tuple[str, ...] = get_args(Policy)

LARGE = 2**19
"""Size of a feature map, in numbers, from which fusing it with the pooling pays if gradients are taken.

Smaller maps fit into a core's cache."""


@dataclass(frozen=True)
class Statistics:
    """Where one forward pass takes its batch-norm statistics from.

    tasks: the batch holds this many tasks one after the other; each is normalized by itself.
    rows: a task is normalized by its first `rows` examples (None: by all of them).
    population: use the population statistics instead of those of `tasks` and `rows`.
    record: every layer remembers the moments of its inputs.
    fused: false if kernels/batch_norm.py cannot be used.
    stacked: true inside torch.vmap, if kernels/stacked.py can be used.
    twice: true if the gradient will be differentiated again.
    """

    tasks: int = 1
    rows: int | None = None
    population: bool = False
    record: bool = False
    fused: bool = True
    stacked: bool = False
    twice: bool = False


OWN = Statistics()


class EpisodicBatchNorm(nn.Module):
    """Batch normalization that takes its statistics from `source`.

    Replaces an nn.BatchNorm1d or nn.BatchNorm2d under the same name, with the same weight and bias.
    x: [n, C] or [n, C, H, W]. pool: the 2x2 max-pooling that follows the norm, or None.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.eps, self.pool = norm.eps, pool
        self.kind = type(norm)
        self.weight, self.bias = norm.weight, norm.bias
        self.source = OWN
        self.recorded: list[tuple[Tensor, Tensor]] = []
        # A fused per-channel x * scale + shift is the eval-mode kernel with these moments.
        self.register_buffer("mean", torch.zeros_like(norm.bias), persistent=False)
        self.register_buffer("variance", torch.ones_like(norm.bias), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        source = self.source
        if source.stacked and not (source.record or source.population):
            rows = len(x) if source.rows is None else source.rows
            y = below_vmap(partial(stacked.norm, rows=rows, eps=self.eps), x, self.weight, self.bias)
            return y if self.pool is None else below_vmap(stacked.pool, y)
        if self.pool is None:
            return self._normalized(x)
        once = source.tasks == 1 and not (source.twice or source.record or source.population)
        forward_only = not torch.is_grad_enabled()
        pays = (forward_only or x.numel() >= LARGE) and x.device.type == "cpu"
        # Reading a value waits for the device, which is free on a CPU only.
        if once and pays and self._fuses(x) and bool((self.weight > 0).all()):
            rows = len(x) if source.rows is None else source.rows
            pooling = pool_and_normalize if forward_only else normalize_and_pool
            return pooling(x, self.weight, self.bias, rows, self.eps)
        pooled: Tensor = self.pool(self._normalized(x))
        return pooled

    def plain(self) -> nn.Module:
        """The same norm, and its pooling, as torch's own layers; they use the population's moments."""
        norm = self.kind(len(self.bias), eps=self.eps).to(self.bias.device, self.bias.dtype).eval()
        moments = {"running_mean": self.mean, "running_var": self.variance}
        norm.load_state_dict({"weight": self.weight, "bias": self.bias, **moments}, strict=False)
        return norm if self.pool is None else nn.Sequential(norm, self.pool)

    def _fuses(self, x: Tensor) -> bool:
        return self.source.fused and x.dtype == self.weight.dtype

    def _normalized(self, x: Tensor) -> Tensor:
        source = self.source
        if source.record:
            variance, mean = torch.var_mean(x.detach(), dim=_all_but_channels(x), correction=0)
            self.recorded.append((mean, variance))
        if source.population:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)
        rows = len(x) // source.tasks if source.rows is None else source.rows
        if source.tasks == 1:
            everything = rows == len(x)
            if self._fuses(x) and (source.twice or not everything):
                return normalize(x, self.weight, self.bias, rows, self.eps)
            if everything:
                return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return self._each_task(x.unflatten(0, (source.tasks, -1)), rows).flatten(0, 1).to(x.dtype)

    def _each_task(self, x: Tensor, rows: int) -> Tensor:
        """x [T, n, C, ...] with each task normalized by its own first `rows` examples, all tasks at once."""
        if self._fuses(x):
            weight, bias = (p.expand(len(x), -1) for p in (self.weight, self.bias))
            return stacked.norm(x, weight, bias, rows, self.eps)
        dims = [dim for dim in range(1, x.dim()) if dim != 2]
        variance, mean = torch.var_mean(x[:, :rows], dim=dims, correction=0, keepdim=True)
        shape = [-1, *[1] * (x.dim() - 3)]
        scale = self.weight.view(shape) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(shape) - mean * scale, x, scale)


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def make_episodic(module: nn.Module) -> list[EpisodicBatchNorm]:
    """Replaces every batch norm inside `module`, in place; returns all of its episodic norms in order.

    A norm takes over the 2x2 max-pooling that follows it in a Sequential. Raises ValueError if a norm has no
    weight and bias.
    """
    for parent in list(module.modules()):
        children = list(parent.named_children())
        following = [*children[1:], ("", None)]
        for (name, child), (next_name, after) in zip(children, following, strict=False):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                if not child.affine:
                    raise ValueError(f"{name}: a batch norm without weight and bias is not supported")
                pool = after if isinstance(parent, nn.Sequential) and _halves(after) else None
                setattr(parent, name, EpisodicBatchNorm(child, pool))
                if pool is not None:
                    setattr(parent, next_name, nn.Identity())
    return [m for m in module.modules() if isinstance(m, EpisodicBatchNorm)]


def make_plain(module: nn.Module) -> None:
    """Undoes `make_episodic`, in place: every norm becomes torch's own, with the population's moments."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, EpisodicBatchNorm):
                setattr(parent, name, child.plain())


def _halves(module: nn.Module | None) -> bool:
    if not isinstance(module, nn.MaxPool2d) or module.ceil_mode or module.return_indices:
        return False
    return (module.kernel_size, module.stride, module.padding, module.dilation) == (2, 2, 0, 1)
