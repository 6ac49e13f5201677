"""Small distortions, as if the same character were written again."""

from math import pi, radians
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.datasets.augment.base import Augmentation, Draws
from nasmeta.datasets.augment.warp import smooth, warped

GRID = 4
"""Random displacements along each side of an image, from which those of all pixels are interpolated."""

Share = Annotated[float, Field(ge=0, lt=1)]


class Handwriting(Augmentation):
    """Random affine maps and smooth elastic displacements, one for each image.

    rotation: at most so many degrees, either way. shear: at most so many pixels sidewards per pixel upwards.
    scale: each image is up to such a share larger or smaller. translation: at most such a share of the
    image's side, in each direction. elastic: displacements of at most about such a share of the side, drawn
    on a coarse grid and interpolated (Ronneberger et al., "U-Net", MICCAI 2015, section 3.1).

    quarter_turns: every class of a task is turned by 0, 90, 180 or 270 degrees, all of its images alike. A
    turned class is a new one (Santoro et al. 2016), so this makes tasks of more classes than there are.
    """

    def __init__(
        self,
        *,
        rotation: Annotated[float, Field(ge=0, le=180)],
        shear: Share,
        scale: Share,
        translation: Share,
        elastic: Share,
        quarter_turns: bool,
    ) -> None:
        self._rotation, self._shear, self._scale = radians(rotation), shear, scale
        self._translation, self._elastic, self._quarter_turns = translation, elastic, quarter_turns
        self.makes_classes = quarter_turns
        self._changes = any((rotation, shear, scale, translation, elastic, quarter_turns))

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        if not self._changes:
            return images
        each, (height, width) = images.shape[:3], images.shape[-2:]
        angle = draws.uniform(-self._rotation, self._rotation, each)
        if self._quarter_turns:
            angle = angle + draws.uniform(0, 4, (*each[:2], 1)).floor() * (pi / 2)
        shear = draws.uniform(-self._shear, self._shear, each)
        size = draws.uniform(1 - self._scale, 1 + self._scale, each)
        shift = draws.uniform(-2 * self._translation, 2 * self._translation, (*each, 2))
        displacement = None
        if self._elastic:
            coarse = draws.uniform(-2 * self._elastic, 2 * self._elastic, (*each, GRID, GRID, 2))
            displacement = smooth(coarse, height, width)
        cos, sin = angle.cos() / size, angle.sin() / size
        # A rotation by `angle` after a shear, as matrix [[cos, -sin], [sin, cos]] @ [[1, shear], [0, 1]].
        rows = [cos, cos * shear - sin, sin, sin * shear + cos]
        return warped(images, torch.stack(rows, dim=-1).unflatten(-1, (2, 2)), shift, displacement)
