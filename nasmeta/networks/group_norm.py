"""Group normalization that may compute what follows it."""

import torch
from torch import Tensor, nn

from nasmeta.networks.forward_pass import Activation, ForwardPass, Pooling
from nasmeta.networks.kernels.stacked import below_vmap


class FusedGroupNorm(nn.GroupNorm):
    """An nn.GroupNorm that computes what follows it too if the current pass `fuses`, and is torch's if not.

    norm: the layer that it replaces, with the same weight and bias. current: the network's pass.
    activation, pooling: what follows the norm.
    """

    def __init__(
        self, norm: nn.GroupNorm, current: ForwardPass, activation: Activation, pooling: Pooling
    ) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device=torch.device("meta"))
        self.weight, self.bias = norm.weight, norm.bias
        self.current, self.activation, self.pooling = current, activation, pooling

    def forward(self, x: Tensor) -> Tensor:
        """x [n, C, ...], inside torch.vmap if the tasks have weights of their own."""
        if not self.current.fuses(x, self.activation, "group"):
            return super().forward(x)
        if self.current.stacked:
            return below_vmap(self._of_tasks, x, self.weight, self.bias)
        return self._of_tasks(x[None], self.weight[None], self.bias[None]).squeeze(0)

    def _of_tasks(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x [T, n, C, H, W]; weight and bias are [T, C]."""
        from nasmeta.networks.kernels.triton.group_norm import group_norm_activation_pool  # imports Triton

        how = (self.num_groups, self.eps, self.activation, self.pooling)
        return group_norm_activation_pool(x, weight, bias, *how)

    def plain(self) -> nn.GroupNorm:
        """The same layer as torch's own."""
        norm = nn.GroupNorm(self.num_groups, self.num_channels, self.eps, device="meta")
        norm.weight, norm.bias = self.weight, self.bias
        return norm
