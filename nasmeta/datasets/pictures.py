"""Converts pictures in the forms that users have them in to what an ImageReader reads."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nasmeta.datasets.decode import Source
from nasmeta.datasets.pixel_values import eight_bits
from nasmeta.errors import DataError
from nasmeta.runtime.files import MAX_IMAGE

Picture = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Tensor
"""The path of a file, an open file or its bytes, a Pillow image, or pixels.

Pixels are [H, W], [H, W, C] or [C, H, W], and C is 1, 3 or 4 (the fourth is opacity). Values are scaled by
`eight_bits`: integers from 0 to 255 (or of more bits), or floating-point numbers from 0 to 1.
"""

TAKEN = (
    "a picture is a path, an open file or its bytes, a Pillow image, or an array or tensor [H, W], [H, W, C] "
    "or [C, H, W]"
)


def pictures(images: Picture | Iterable[Picture]) -> list[Picture]:
    """The pictures as a list. A single picture gives a list of one; an array of four dimensions is a batch.

    An array of three dimensions is one picture if its first or last dimension can be the channels. Otherwise
    it is a batch of grey pictures. Raises DataError for a set or a mapping, which has no order, for types
    that are not pictures, and for an array [4, H, W], which may be one picture or four.
    """
    given: Any = images
    if isinstance(given, Mapping | Set):
        raise DataError(f"images: a {type(given).__name__} has no order; pass a list, in the labels' order")
    if _is_pixels(given):
        shape = tuple(given.shape)
        if len(shape) == 3 and shape[0] == 4 and shape[2] not in (1, 3, 4):
            raise DataError(f"images: {list(shape)} may be one picture or four; pass a list of pictures")
        alone = len(shape) == 2 or (len(shape) == 3 and (shape[2] in (1, 3, 4) or shape[0] in (1, 3)))
        return [given] if alone else list(given)
    if isinstance(given, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(given, "read"):
        return [given]
    if not isinstance(given, Iterable):
        raise DataError(f"images: got {type(given).__name__}; {TAKEN}")
    return list(given)


def sources(given: Sequence[Picture], first: int) -> tuple[list[Source], list[str]]:
    """What an ImageReader reads for the pictures, and their names: the path, or "picture" and a number.

    `first` is the number of the first one. Raises DataError.
    """
    names = [
        str(picture) if isinstance(picture, str | os.PathLike) else f"picture {number}"
        for number, picture in enumerate(given, first)
    ]
    return [_source(picture, name) for picture, name in zip(given, names, strict=True)], names


def _source(picture: Picture, name: str) -> Source:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, str | os.PathLike):
        return Path(picture)
    if isinstance(picture, bytes | bytearray):
        return BytesIO(picture)
    if hasattr(picture, "read"):
        return _content(picture, name)
    if isinstance(picture, np.ndarray | Tensor):
        return _image(picture, name)
    raise DataError(f"{name}: got {type(picture).__name__}; {TAKEN}")


def _is_pixels(images: Any) -> bool:
    return isinstance(images, Tensor) or (isinstance(images, np.ndarray) and images.dtype.kind in "biuf")


def _content(file: Any, name: str) -> BytesIO:
    """The content of an open file from its beginning, even if part of it has been read."""
    if hasattr(file, "seekable") and file.seekable():
        file.seek(0)
    content = file.read(MAX_IMAGE + 1)
    if not isinstance(content, bytes):
        raise DataError(f"{name}: reading the file gives {type(content).__name__}; open it with mode 'rb'")
    if len(content) > MAX_IMAGE:
        raise DataError(f"{name}: the file has more than {MAX_IMAGE} bytes, which is the most that is read")
    return BytesIO(content)


def _image(pixels: NDArray[Any] | Tensor, name: str) -> Image.Image:
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu()
        pixels = (pixels.to(torch.float32) if pixels.is_floating_point() else pixels).numpy()
    shape = pixels.shape
    if len(shape) == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise DataError(f"{name}: an array of shape {list(shape)}; {TAKEN}")
    try:
        return Image.fromarray(np.ascontiguousarray(eight_bits(pixels)))
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error
