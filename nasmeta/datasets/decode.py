"""Decodes image files to the uint8 pixels that a network is fed, in the same way for training and prediction.

All threads of a process together decode at most MAX_PIXELS pixels at a time. That takes about 0.4 GB for
RGB, and never more than 20 bytes a pixel (1.3 GB), whatever the files are.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from nasmeta.datasets.image_files import AVIF, open_image, some
from nasmeta.datasets.pixel_budget import PixelBudget
from nasmeta.datasets.pixel_values import Pixels, eight_bits
from nasmeta.errors import DataError

Source = Path | BytesIO | Image.Image
Item = TypeVar("Item")

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
        named, more = list(reasons.values())[:MAX_NAMED], len(reasons) - MAX_NAMED
        super().__init__("; ".join(named) + (f"; and {more} more" if more > 0 else ""))


@dataclass(frozen=True)
class Preprocessing:
    """How a dataset turns image files into pixels, and pixels into inputs. Plain values that can be stored.

    channels: 1 or 3. size: the side of the square image in pixels. glyph: whether only the ink counts, see
    `decode_glyph`. mean, std: one value for each channel, for pixels in [0, 1].
    """

    channels: int
    size: int
    glyph: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def read(self, sources: Sequence[Source], first: int = 0) -> Tensor:
        """The pixels [n, C, H, W] uint8 of files or pictures.

        Raises Unreadable, a DataError. Messages call a picture that is not a file by its number, counted
        from `first`.
        """

        def name(item: tuple[int, Source]) -> str:
            number, source = item
            return str(source) if isinstance(source, Path) else f"picture {number}"

        def decode(item: tuple[int, Source]) -> Pixels:
            if self.glyph:
                return decode_glyph(item[1], name(item), self.size)
            return decode_image(item[1], name(item), self.channels, self.size)

        return decode_all(
            list(enumerate(sources, first)), decode, (self.size, self.size, self.channels), name
        )

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels [n, C, H, W] uint8 as float32 inputs, as in episodes: (x / 255 - mean) / std."""
        scale = torch.tensor([1 / (255 * deviation) for deviation in self.std], device=pixels.device)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        return pixels.float().mul_(scale[:, None, None]).add_(shift[:, None, None])


def decode_image(source: Source, name: str, channels: int, size: int) -> Pixels:
    """The first frame of an image as [size, size, channels] uint8.

    The image is turned upright according to its EXIF data. Grey values of more than 8 bits are scaled by
    `eight_bits`. Transparent images are laid on white, or on black if nothing could be seen on white. The
    image is converted to grey (1 channel) or RGB (3), scaled (Lanczos) until its shorter side has `size`
    pixels, and cropped to its centre. Raises DataError with `name` if the source is not an image, is
    truncated, has more than MAX_PIXELS pixels, or has values that `eight_bits` does not accept.
    """
    return _decode(source, name, "L" if channels == 1 else "RGB", lambda image: _fit(image, size), 2 * size)


def decode_glyph(source: Source, name: str, size: int) -> Pixels:
    """A character as [size, size, 1] uint8 with ink 255 on 0, whatever the colour of the paper.

    Ink is whichever of dark and light is rarer, so a scan and its negative give the same. The picture is
    stretched to a square, as is usual for Omniglot. Errors are those of `decode_image`.
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
            whole = image.width * image.height
            if whole > MAX_PIXELS:
                raise DataError(
                    f"{name}: {image.width}x{image.height} pixels; at most {MAX_PIXELS} pixels are read, "
                    f"scale the image down"
                )
            if draft_size is not None and not isinstance(source, Image.Image):
                image.draft(mode, (draft_size, draft_size))  # a JPEG is decoded at a fraction of its size
            spent = image.width * image.height
            if image.info.get("progressive"):  # its coefficients are in memory in full size
                spent = max(spent, whole // 4)
            with _budget.spend(spent):
                pixels = np.array(resize(_convert(image, mode)), dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow's plug-ins raise anything on damaged input
        unknown = isinstance(error, UnidentifiedImageError)  # its text names an open file and not the path
        why = "its format is unknown" if unknown else error
        raise DataError(f"{name}: cannot be read as an image ({why}); replace or remove it") from error
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


def _fit(image: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def decode_all(
    items: Sequence[Item],
    decode: Callable[[Item], Pixels],
    shape: Sequence[int],
    name: Callable[[Item], str] = str,
) -> Tensor:
    """The n items decoded by threads, as [n, C, H, W] uint8 in channels_last memory.

    `decode` returns [H, W, C] = `shape`. One warning counts the images of a single colour. Raises Unreadable
    with all items that cannot be decoded.
    """
    table = np.empty((len(items), *shape), dtype=np.uint8)

    def attempt(number: int) -> str | None:
        """What is wrong with an item; None if its row has been filled."""
        try:
            table[number] = decode(items[number])
        except DataError as error:
            return str(error)
        return None

    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    try:
        reasons = {i: text for i, text in enumerate(pool.map(attempt, range(len(items)))) if text is not None}
    finally:
        pool.shutdown(cancel_futures=True)
    if reasons:
        raise Unreadable(reasons)
    blank = [name(item) for item, row in zip(items, table, strict=True) if (row == row[:1, :1]).all()]
    if blank:
        _log.warning("%d of %d images are of one colour: %s", len(blank), len(items), some(blank))
    return torch.from_numpy(table).permute(0, 3, 1, 2)
