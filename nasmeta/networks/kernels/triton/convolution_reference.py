"""What convolution.py computes, in PyTorch: a product for every tap of the kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """x [T, n, C, H, W] and weight [T, O, C, k, k] -> [T, n, O, H', W']."""
    return torch.einsum("tncijab,tocab->tnoij", _windows(x, weight.shape[-1], stride, padding), weight)


def by_weight(gy: Tensor, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The derivative of sum(gy * forward) by the weight: gy [T, n, O, H', W'] -> [T, O, C, k, k]."""
    return torch.einsum("tnoij,tncijab->tocab", gy, _windows(x, kernel, stride, padding))


def by_input(gy: Tensor, weight: Tensor, size: tuple[int, int], stride: int, padding: int) -> Tensor:
    """The derivative of sum(gy * forward) by x, of H, W = size: gy [T, n, O, H', W'] -> [T, n, C, H, W]."""
    (height, width), kernel = size, weight.shape[-1]
    padded = gy.new_zeros(*gy.shape[:2], weight.shape[2], height + 2 * padding, width + 2 * padding)
    rows, columns = (stride * (count - 1) + 1 for count in gy.shape[-2:])
    for a in range(kernel):
        for b in range(kernel):
            seen = padded[..., a : a + rows : stride, b : b + columns : stride]
            seen += torch.einsum("tnoij,toc->tncij", gy, weight[..., a, b])
    return padded[..., padding : padding + height, padding : padding + width]


def _windows(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """[T, n, C, H, W] -> [T, n, C, H', W', k, k]."""
    return F.pad(x, [padding] * 4).unfold(-2, kernel, stride).unfold(-2, kernel, stride)
