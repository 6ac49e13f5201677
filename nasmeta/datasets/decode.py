"""Decodes image files to the uint8 pixels that a network is fed, in the same way for training and prediction.

All threads of a process together decode at most MAX_PIXELS pixels at a time. That takes about 0.4 GB for
RGB, and never more than 20 bytes a pixel (1.3 GB), whatever the files are.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nasmeta.datasets.image_files import AVIF, open_image
from nasmeta.datasets.pixel_budget import PixelBudget
from nasmeta.datasets.pixel_values import Pixels, eight_bits
from nasmeta.errors import DataError
from nasmeta.runtime.text import some

Source = Path | BytesIO | Image.Image

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM", *(["AVIF"] if AVIF else []))
"""The formats that are read. Some others that Pillow knows run programs."""

MAX_NAMED = 10  # images that one error names
MAX_PIXELS = 2**26  # of one image, and of all images that are decoded at a time; below Pillow's own limit

_log = logging.getLogger(__name__)
_budget = PixelBudget(MAX_PIXELS)


class Unreadable(DataError):
    """Some of several images cannot be read. `reasons` maps the index of such an image to its message."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = reasons
        super().__init__(some(list(reasons.values()), MAX_NAMED, "; "))


@dataclass(frozen=True)
class ImageReader:
    """How image files become pixels. Plain values.

    channels: 1 (grey) or 3 (RGB). size: the side of the square image in pixels. glyph: whether only the ink
    counts, see `read_one`.
    """

    channels: int
    size: int
    glyph: bool

    def read(self, sources: Sequence[Source], names: Sequence[str] | None = None) -> Tensor:
        """The images as [n, C, H, W] uint8 in channels_last memory, decoded by threads.

        Messages call them by `names`, by default the sources as text. One warning counts the images of a
        single colour. Raises Unreadable, a DataError, with all images that cannot be decoded.
        """
        names = [str(source) for source in sources] if names is None else names
        table = np.empty((len(sources), self.size, self.size, self.channels), dtype=np.uint8)

        def attempt(number: int) -> str | None:
            """What is wrong with an image; None if its row has been filled."""
            try:
                table[number] = self.read_one(sources[number], names[number])
            except DataError as error:
                return str(error)
            return None

        pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
        try:
            wrong = list(pool.map(attempt, range(len(sources))))
        finally:
            pool.shutdown(cancel_futures=True)
        if reasons := {number: text for number, text in enumerate(wrong) if text is not None}:
            raise Unreadable(reasons)
        blank = [name for name, row in zip(names, table, strict=True) if (row == row[:1, :1]).all()]
        if blank:
            _log.warning("%d of %d images are of one colour: %s", len(blank), len(sources), some(blank))
        return torch.from_numpy(table).permute(0, 3, 1, 2)

    def read_one(self, source: Source, name: str) -> Pixels:
        """The first frame of an image as [size, size, channels] uint8.

        The image is turned upright according to its EXIF data. Grey values of more than 8 bits are scaled by
        `eight_bits`. Transparent images are laid on white, or on black if nothing could be seen on white. The
        image is converted to grey or RGB, scaled (Lanczos) until its shorter side has `size` pixels, and
        cropped to its centre.

        A glyph is a character whose ink is 255 on 0, whatever the colour of the paper. It is stretched to a
        square, as is usual for Omniglot. Ink is whichever of dark and light is rarer, so a scan and its
        negative give the same.

        Raises DataError with `name` if the source is not an image, is truncated, has more than MAX_PIXELS
        pixels, or has values that `eight_bits` does not accept.
        """
        mode, square = "L" if self.channels == 1 else "RGB", (self.size, self.size)
        try:
            with _opened(source) as image:
                whole = image.width * image.height
                if whole > MAX_PIXELS:
                    raise DataError(
                        f"{name}: {image.width}x{image.height} pixels; at most {MAX_PIXELS} pixels are read, "
                        f"scale the image down"
                    )
                if not self.glyph and not isinstance(source, Image.Image):
                    image.draft(mode, (2 * self.size, 2 * self.size))  # decodes a fraction of a JPEG's pixels
                spent = image.width * image.height
                if image.info.get("progressive"):  # its coefficients are in memory in full size
                    spent = max(spent, whole // 4)
                with _budget.spend(spent):
                    opaque = _convert(image, mode)
                    resize = opaque.resize if self.glyph else partial(ImageOps.fit, opaque)
                    pixels = np.array(resize(square, Image.Resampling.LANCZOS), dtype=np.uint8)
        except DataError:
            raise
        except Exception as error:  # Pillow's plug-ins raise anything on damaged input
            unknown = isinstance(error, UnidentifiedImageError)  # its text names an open file, not the path
            why = "its format is unknown" if unknown else error
            raise DataError(f"{name}: cannot be read as an image ({why}); replace or remove it") from error
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        return 255 - pixels if self.glyph and pixels.mean() > 127.5 else pixels


@dataclass(frozen=True)
class Preprocessing(ImageReader):
    """How a dataset turns image files into pixels, and pixels into inputs. Plain values that can be stored.

    mean, std: one value for each channel, for pixels in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, inputs: Tensor) -> Tensor:
        """What was normalized [n, C, H, W], as pixels uint8 again."""
        mean, std = (
            torch.tensor(each, device=inputs.device)[:, None, None] for each in (self.mean, self.std)
        )
        return (255 * (inputs.float() * std + mean)).round().clamp(0, 255).byte()

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels [n, C, H, W] uint8 as float32 inputs, as in episodes: (x / 255 - mean) / std."""
        scale, shift = (each.to(pixels.device) for each in scale_and_shift(self.mean, self.std))
        return pixels.float().mul_(scale[:, None, None]).add_(shift[:, None, None])


def scale_and_shift(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Scale and shift, each [C], with pixels * scale + shift normalized: (pixels / 255 - mean) / std.

    mean, std: of each of C channels, for pixels in [0, 1].
    """
    scale = torch.tensor([1 / (255 * deviation) for deviation in std])
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])


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
    """The image upright, opaque, and in `mode`. Raises ValueError for values that would be misread."""
    key = image.info.get("transparency")  # the colour that is transparent
    tiles = getattr(image, "tile", [])
    layout = str(tiles[0][3]) if tiles else ""  # of the pixels in the file
    inverted = getattr(image, "tag_v2", {}).get(262) == 0  # TIFF: 0 is white; Pillow handles 8 bits only
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = _deep_grey(image, key, inverted=inverted)
    elif ";16" in layout:
        _check_deep_colour(image, key)
    elif key is not None and layout in ("L;2", "L;4"):  # Pillow scales the pixels but not the key
        image.info["transparency"] = key * (85 if layout == "L;2" else 17)
    if image.has_transparency_data:
        image = _opaque(image.convert("RGBA"))
    return image.convert(mode)


def _deep_grey(image: Image.Image, key: int | None, *, inverted: bool) -> Image.Image:
    """A grey image of more than 8 bits as L, or as LA if the value `key` is transparent."""
    values = np.asarray(image)
    pixels = eight_bits(values)
    grey = Image.fromarray(255 - pixels if inverted else pixels)
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _check_deep_colour(image: Image.Image, key: object) -> None:
    """Raises ValueError if the upper byte is not enough, which is all that Pillow keeps of 16-bit colours."""
    if key is not None:
        raise ValueError("one of its 16-bit colours is transparent: save it with 8 bits a channel")
    highest = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
    if 0 < highest < 16:
        raise ValueError("it uses at most 12 of its 16 bits a channel: save it with 8 bits a channel")


def _opaque(image: Image.Image) -> Image.Image:
    """An RGBA image as RGB: laid on white, or on black if something shows only there."""
    alpha = image.getchannel("A")
    shown = []
    for paper in ("white", "black"):
        laid = Image.new("RGB", image.size, paper)
        laid.paste(image, mask=alpha)
        if any(low < high for low, high in laid.getextrema()):  # type: ignore[misc]
            return laid
        shown.append(laid)
    return shown[0]
