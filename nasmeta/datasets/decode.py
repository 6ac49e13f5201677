"""From an image file to the uint8 pixels a network is fed: the same for training and for prediction."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from nasmeta.datasets.image_files import AVIF, open_image
from nasmeta.errors import DataError

Pixels = NDArray[np.uint8]
Source = Path | BytesIO | Image.Image
Item = TypeVar("Item")

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM", *(["AVIF"] if AVIF else []))
"""Of the others that Pillow knows, some run programs."""

MAX_NAMED = 10  # images that one error names
MAX_PIXELS = 2**26  # of one image; below Pillow's own limit, at which it only warns


@dataclass(frozen=True)
class Preprocessing:
    """How a dataset turns image files into pixels and pixels into numbers; plain values, to be stored.

    channels is 1 or 3, size the side in pixels; glyph says that only the ink counts, see `decode_glyph`;
    mean and std hold one value a channel, for pixels in [0, 1].
    """

    channels: int
    size: int
    glyph: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def read(self, sources: Sequence[Path | Image.Image]) -> Tensor:
        """The pixels [n, C, H, W] uint8 of files or pictures. Raises DataError that names the unreadable."""

        def decode(item: tuple[int, Path | Image.Image]) -> Pixels:
            number, source = item
            name = f"picture {number}" if isinstance(source, Image.Image) else str(source)
            if self.glyph:
                return decode_glyph(source, name, self.size)
            return decode_image(source, name, self.channels, self.size)

        shape = (self.size, self.size, self.channels)
        return decode_all(enumerate(sources), decode, shape, len(sources))

    def normalize(self, pixels: Tensor) -> Tensor:
        """[n, C, H, W] uint8 as the float32 numbers that episodes hold: (x / 255 - mean) / std."""
        scale = torch.tensor([1 / (255 * deviation) for deviation in self.std], device=pixels.device)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        return pixels.float().mul_(scale[:, None, None]).add_(shift[:, None, None])


def decode_image(source: Source, name: str, channels: int, size: int) -> Pixels:
    """The first frame of an image as [size, size, channels] uint8.

    It is turned upright as its EXIF data says, laid on white where it is transparent, made grey (1 channel)
    or RGB (3), scaled (Lanczos) until its shorter side has `size` pixels, and cropped to its centre.
    Raises DataError with `name` for what is no image, truncated, or has more than MAX_PIXELS.
    """
    return _decode(source, name, "L" if channels == 1 else "RGB", lambda image: _fit(image, size), 2 * size)


def decode_glyph(source: Source, name: str, size: int) -> Pixels:
    """A character as [size, size, 1] uint8, ink 255 on 0, whatever the colour of the paper.

    The rarer of dark and light is taken for ink, so a scan and its negative give the same. The picture is
    stretched to the square, as is usual for Omniglot. Raises like `decode_image`.
    """
    pixels = _decode(source, name, "L", lambda image: image.resize((size, size), Image.Resampling.LANCZOS))
    return 255 - pixels if pixels.mean() > 127.5 else pixels


def _decode(
    source: Source,
    name: str,
    mode: str,
    resize: Callable[[Image.Image], Image.Image],
    draft_size: int | None = None,
) -> Pixels:
    try:
        with _opened(source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name}: {image.width}x{image.height} pixels; at most {MAX_PIXELS} pixels are read, "
                    f"scale the image down"
                )
            if draft_size is not None and not isinstance(source, Image.Image):
                image.draft(mode, (draft_size, draft_size))  # a JPEG is decoded at a fraction of its size
            pixels = np.array(resize(_convert(ImageOps.exif_transpose(image), mode)), dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow's plug-ins raise anything on damaged input
        raise DataError(f"{name}: cannot be read as an image ({error}); replace or remove it") from error
    return pixels.reshape(*pixels.shape[:2], -1)


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, BytesIO):
        with Image.open(source, formats=FORMATS) as image:
            yield image
    else:
        with open_image(source) as file, Image.open(file, formats=FORMATS) as image:
            yield image


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _fit(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def decode_all(
    items: Iterable[Item], decode: Callable[[Item], Pixels], shape: Sequence[int], n: int
) -> Tensor:
    """[n, C, H, W] uint8 in channels_last memory of n items, decoded by threads into [H, W, C] = shape.

    Raises one DataError that names every item that cannot be decoded, the first MAX_NAMED of them.
    """

    def attempt(item: Item) -> Pixels | DataError:
        try:
            return decode(item)
        except DataError as error:
            return error

    table = np.empty((n, *shape), dtype=np.uint8)
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        refused = []
        for row, pixels in zip(table, pool.map(attempt, items), strict=True):
            if isinstance(pixels, DataError):
                refused.append(str(pixels))
            else:
                row[...] = pixels
    finally:
        pool.shutdown(cancel_futures=True)
    if refused:
        more = len(refused) - MAX_NAMED
        raise DataError("; ".join(refused[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else ""))
    return torch.from_numpy(table).permute(0, 3, 1, 2)
