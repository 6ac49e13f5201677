"""Geometric changes of images, each with a matrix and a displacement of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor


def warped(images: Tensor, matrix: Tensor, shift: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Images [..., C, H, W] in [0, 1], each read at matrix @ p + shift + displacement for every pixel p.

    Positions are relative to the centre, x first, in units in which an image is 2 wide and 2 high. matrix:
    [..., 2, 2]; it is meant for pixels, so that a rotation is one whatever the shape of the image. shift:
    [..., 2]. displacement: [..., H, W, 2].

    Values between pixels are interpolated bicubically; bilinearly, thin strokes would fade. Outside of the
    image is what its border has, which is the background, be it light or dark.
    """
    *leading, channels, height, width = images.shape
    (xx, xy), (yx, yy) = (row.unbind(-1) for row in matrix.unbind(-2))
    x, y = shift.unbind(-1)
    rows = [xx, xy * (height / width), x, yx * (width / height), yy, y]
    affine = torch.stack(rows, dim=-1).view(-1, 2, 3)
    grid = F.affine_grid(affine, [len(affine), channels, height, width], align_corners=False)
    if displacement is not None:
        grid = grid + displacement.flatten(0, -4)
    flat = images.flatten(0, -4)
    read = F.grid_sample(flat, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return read.clamp_(0, 1).view(*leading, channels, height, width)


def smooth(coarse: Tensor, height: int, width: int) -> Tensor:
    """Displacements [..., g, g, 2] of a coarse grid, bicubically interpolated to [..., height, width, 2]."""
    rows, columns = (_interpolation(coarse.shape[-2], size, coarse.device) for size in (height, width))
    return torch.einsum("hi,...ijk,wj->...hwk", rows, coarse, columns)


def _interpolation(points: int, size: int, device: torch.device) -> Tensor:
    """The matrix [size, points] that bicubically interpolates values at `points` places along a line."""
    unit = torch.eye(points, device=device).view(1, points, points, 1)
    fine = F.interpolate(unit, (size, 1), mode="bicubic", align_corners=True)
    return fine.view(points, size).T
