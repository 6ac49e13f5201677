"""Whose statistics normalize a query: the setting the field quarrels about most.

- support: the support set's own, so that each query is judged alone, as a deployed classifier must.
- transductive: the statistics of the batch the query comes in (MAML's code, Finn et al. 2017); a query's
  prediction then depends on the other queries.
- running: population statistics, averaged over meta-training tasks when training is over. We average
  exactly at the final weights (Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3) instead of
  exponentially during training, so training steps stay pure functions.

A support set that is being adapted on always normalizes itself; the policy is about the query.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasmeta.meta_learners.batch_norm import normalize

Policy = Literal["support", "transductive", "running"]
POLICIES: tuple[str, ...] = get_args(Policy)


@dataclass(frozen=True)
class Statistics:
    """Where one forward pass takes its statistics from.

    The batch holds `tasks` tasks one after the other, each normalized by itself, by its first `rows`
    examples (None: by all of them). `population` replaces both; `record` asks every layer to remember
    the moments of what it saw. `fused` is off where the kernels of batch_norm.py cannot go (torch.vmap).
    """

    tasks: int = 1
    rows: int | None = None
    population: bool = False
    record: bool = False
    fused: bool = True


OWN = Statistics()


class EpisodicBatchNorm(nn.Module):
    """Batch normalization that takes its statistics from where `source` says.

    Stands in for nn.BatchNorm1d/2d under the same name, with the same weight and bias.
    x: [n, C] or [n, C, H, W].
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self.source = OWN
        self.recorded: list[tuple[Tensor, Tensor]] = []
        # A fused per-channel x * scale + shift is the eval-mode kernel with these moments.
        self.register_buffer("mean", torch.zeros_like(norm.bias), persistent=False)
        self.register_buffer("variance", torch.ones_like(norm.bias), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        source = self.source
        if source.record:
            variance, mean = torch.var_mean(x.detach(), dim=_all_but_channels(x), correction=0)
            self.recorded.append((mean, variance))
        if source.population:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)
        rows = len(x) // source.tasks if source.rows is None else source.rows
        if source.fused and source.tasks == 1 and x.dtype == self.weight.dtype:
            return normalize(x, self.weight, self.bias, rows, self.eps)
        if source.tasks == 1 and rows == len(x):
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return self._each_task(x.unflatten(0, (source.tasks, -1)), rows).flatten(0, 1).to(x.dtype)

    def _each_task(self, x: Tensor, rows: int) -> Tensor:
        """[T, n, C, ...]: every task by the moments of its own first `rows`, all tasks at once."""
        dims = [dim for dim in range(1, x.dim()) if dim != 2]
        variance, mean = torch.var_mean(x[:, :rows], dim=dims, correction=0, keepdim=True)
        shape = [-1, *[1] * (x.dim() - 3)]
        scale = self.weight.view(shape) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(shape) - mean * scale, x, scale)


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def make_episodic(module: nn.Module) -> list[EpisodicBatchNorm]:
    """Replaces every batch norm inside `module`, in place; returns them in order, ours and new."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                if not child.affine:
                    raise ValueError(f"{name}: a batch norm without weight and bias is not supported")
                setattr(parent, name, EpisodicBatchNorm(child))
    return [m for m in module.modules() if isinstance(m, EpisodicBatchNorm)]
