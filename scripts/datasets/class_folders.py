"""What the three scripts share: their options, and a folder of classes, written whole or not at all."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from npm_packages import Package
from PIL import Image

from nasmeta.errors import NasmetaError, UserError
from nasmeta.runtime.paths import cache_folder

Drawn = dict[str, Image.Image]
"""The pictures of a class, by the name of their file."""

Class = tuple[str, Callable[[], Drawn]]
"""The name of a class, and the function that draws it."""


def command(description: str, build: Callable[[Path, Path], None], *, needs: str) -> int:
    """Runs `build(out, cache)` with the command's options, and returns the exit code.

    `needs` is the module that the extra `datasets` installs for it.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(cache_folder()).expanduser() / "nasmeta" / "packages"
    parser.add_argument("--out", type=Path, required=True, help="folder to make: OUT/CLASS/*.png")
    parser.add_argument("--cache", type=Path, default=cache, help="folder of the downloads (%(default)s)")
    options = parser.parse_args()
    try:
        if find_spec(needs) is None:
            raise UserError(f"{needs}: not installed; this installs it: scripts/setup datasets")
        build(options.out, options.cache)
    except NasmetaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def check_free(out: Path) -> None:
    """Raises UserError if there is something at `out` already."""
    if out.exists():
        raise UserError(f"{out}: exists already; name another folder by --out, or remove it")


def write(out: Path, classes: Sequence[Class], *, least: int, packages: Iterable[Package]) -> None:
    """Writes the pictures of all classes that have at least `least` of them, and the licences.

    Until all are drawn they lie in OUT.partial. What is there already is not drawn again. Prints how many
    classes and images there are.
    """
    check_free(out)
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for number, (name, draw) in enumerate(classes, 1):
        print(f"\rdrawing class {number} of {len(classes)}", end="", file=sys.stderr, flush=True)
        if not (partial / name).is_dir() and len(pictures := draw()) >= least:
            _write_class(partial, name, pictures)
    print(file=sys.stderr)
    counts = [len(list(folder.iterdir())) for folder in partial.iterdir() if folder.is_dir()]
    licences = [f"{package} {package.licence}\n" for package in packages]
    (partial / "LICENCES.txt").write_text("".join(sorted(licences)), encoding="utf-8")
    os.rename(partial, out)
    print(f"{len(counts)} classes, {sum(counts)} images in {out}; licences in {out / 'LICENCES.txt'}")


def _write_class(folder: Path, name: str, pictures: Drawn) -> None:
    new = folder.with_name(f"{folder.name}.class")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for file, picture in pictures.items():
        picture.save(new / f"{file}.png", optimize=True)
    os.rename(new, folder / name)


def centred(picture: Image.Image, size: int, background: str | int) -> Image.Image:
    """The picture in the middle of a square of `size` pixels."""
    square = Image.new(picture.mode, (size, size), background)
    square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return square


def difference(one: Image.Image, other: Image.Image, side: int = 24) -> float:
    """The mean absolute difference of two pictures of equal size, 0 to 1, seen in grey at `side` pixels."""
    a, b = (np.asarray(p.resize((side, side)).convert("L"), dtype=np.int16) for p in (one, other))
    return float(np.abs(a - b).mean()) / 255
