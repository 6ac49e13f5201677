"""Image files and archives that tests make for themselves, and where the shared ones are."""

import hashlib
import io
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from PIL import Image

from nasmeta.datasets.download import Published

SHARED_DATA = Path(
    os.environ.get("NASMETA_SHARED_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")
)


def save(path: Path, value: int | tuple[int, int, int] = 100, size: tuple[int, int] = (12, 12)) -> Path:
    """A picture of one colour at `path`, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(value, tuple) else "L", size, value).save(path)
    return path


def drawing(seed: int) -> bytes:
    """A PNG of 105x105 one-bit pixels, a black stroke on white, like Omniglot's."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[20 + seed % 60 : 30 + seed % 60, 10:80] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, alphabets: dict[str, int], extra: dict[str, bytes] | None = None) -> Published:
    """A zip as Omniglot's of {alphabet: characters}, two drawings each, and how it would be published."""
    with ZipFile(path, "w") as file:
        number = 0
        for alphabet, characters in alphabets.items():
            for character in range(1, characters + 1):
                for example in (1, 2):
                    number += 1
                    name = f"{path.stem}/{alphabet}/character{character:02}/{number:04}_{example:02}.png"
                    file.writestr(name, drawing(number))
        for name, content in (extra or {}).items():
            file.writestr(name, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published(path.name, f"https://example.org/{path.name}", "sha256", digest)
