"""Crops, mirror images and colour jitter, as is usual for photographs."""

from math import log
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.datasets.augment.base import Augmentation, Draws
from nasmeta.datasets.augment.warp import warped

LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in grey (ITU-R BT.601), as Pillow has them."""

Share = Annotated[float, Field(ge=0, le=1)]


class Photo(Augmentation):
    """A random resized crop, a mirror image, and changes of brightness, contrast and saturation.

    min_area: a crop has at least this share of the image's area. max_aspect: the crop is at most so many
    times wider than high, or higher than wide, as far as it fits into the image; it is scaled to the image's
    size (Szegedy et al., "Going deeper with convolutions", CVPR 2015). flip: the share of images that are
    mirrored. brightness, contrast, saturation: the factor of each lies within 1 plus or minus this; 0 leaves
    it as it is. Saturation does nothing to grey images.
    """

    def __init__(
        self,
        *,
        min_area: Annotated[float, Field(gt=0, le=1)],
        max_aspect: Annotated[float, Field(ge=1)],
        flip: Share,
        brightness: Share,
        contrast: Share,
        saturation: Share,
    ) -> None:
        self._min_area, self._max_log_aspect, self._flip = min_area, log(max_aspect), flip
        self._moves = min_area < 1 or max_aspect > 1 or flip > 0
        self._brightness, self._contrast, self._saturation = brightness, contrast, saturation

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        if self._moves:
            images = self._cropped(images, draws)
        return self._jittered(images, draws)

    def _cropped(self, images: Tensor, draws: Draws) -> Tensor:
        each = images.shape[:3]
        area = draws.uniform(self._min_area, 1, each)
        widest = (-area.log()).clamp_max(
            self._max_log_aspect
        )  # beyond it, a side would be longer than the image's
        aspect = (draws.uniform(-1, 1, each) * widest).exp()
        sides = torch.stack([area * aspect, area / aspect], dim=-1).sqrt()  # width, height
        shift = draws.uniform(-1, 1, (*each, 2)) * (1 - sides)
        mirrored = draws.uniform(0, 1, each) < self._flip
        sides = torch.stack([sides[..., 0].where(~mirrored, -sides[..., 0]), sides[..., 1]], dim=-1)
        return warped(images, torch.diag_embed(sides), shift)

    def _jittered(self, images: Tensor, draws: Draws) -> Tensor:
        def factor(strength: float) -> Tensor:
            return draws.uniform(1 - strength, 1 + strength, (*images.shape[:3], 1, 1, 1))

        images = _blend(images, 0, factor(self._brightness))
        images = _blend(images, _grey(images).mean(dim=(-2, -1), keepdim=True), factor(self._contrast))
        return _blend(images, _grey(images), factor(self._saturation))


def _grey(images: Tensor) -> Tensor:
    """The brightness [..., 1, H, W] of images [..., C, H, W] of 1 or 3 channels."""
    if images.shape[-3] != 3:
        return images
    red, green, blue = (weight * images.select(-3, i) for i, weight in enumerate(LUMA))
    return (red + green + blue).unsqueeze(-3)


def _blend(images: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    """factor * images + (1 - factor) * other, within [0, 1]. A factor of 1 changes nothing, to the bit."""
    return (factor * images + (1 - factor) * other).clamp(0, 1)
