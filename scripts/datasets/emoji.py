#!/usr/bin/env python3
"""Emoji: a class is a concept (elephant, bathtub), an example is how one vendor or generation draws it.

    scripts/setup datasets
    scripts/datasets/emoji.py --out emoji       # 14 MB of downloads by npm, one minute

Writes OUT/CONCEPT/SET.png, 64x64 pixels, in colour on white: 855 classes with 7 or 8 images. Flags, and
people in their variants of skin and gender, are left out, because they look alike.
"""

import re
import sys
import unicodedata
from collections import defaultdict
from functools import partial
from pathlib import Path

from class_folders import Class, Drawn, centred, check_free, command, difference, write
from iconify import IconSet
from npm_packages import fetch, read_table
from PIL import Image

TABLE = Path(__file__).with_name("emoji.txt")
SIZE = 64
LEAST = 7
"""Drawings that a class must have."""

SAME = 0.015
"""The difference below which two drawings are the same one, at 16 pixels."""

BY_CHARACTER = "fxemoji"
"""The set whose icons are called by the names of Unicode's characters."""

WITH_CODES = "noto"
"""The set that says which character an icon stands for."""

VARIANT = re.compile(
    r"skin-tone|^flag-|^keycap|^regional|hair"
    r"|(^|-)(man|men|woman|women|mans|womans|boy|girl|boys|girls|mr|mrs)(-|$)"
    r"|-(light|medium|dark|medium-light|medium-dark)$"
)


def build(out: Path, cache: Path) -> None:
    check_free(out)
    packages = read_table(TABLE)
    archives = fetch(packages, cache)
    sets = {name.partition("/")[2]: IconSet(archive) for name, archive in archives.items()}
    write(out, classes(sets), least=LEAST, packages=packages)


def classes(sets: dict[str, IconSet]) -> list[Class]:
    """The concepts that at least LEAST sets have, each with the names of its icons."""
    concepts: dict[str, dict[str, str]] = defaultdict(dict)
    for prefix, icons in sets.items():
        if prefix != BY_CHARACTER:
            for name in icons.names:
                if not VARIANT.search(name):
                    concepts[name][prefix] = name
    old = {squeezed(name): name for name in sets[BY_CHARACTER].names}
    for code, name in sets[WITH_CODES].codes.items():
        if "-" not in code and name in concepts:
            for called in (unicodedata.name(chr(int(code, 16)), ""), name):
                if squeezed(called) in old:
                    concepts[name][BY_CHARACTER] = old[squeezed(called)]
    return [
        (concept, partial(pictures, sets, dict(sorted(names.items()))))
        for concept, names in sorted(concepts.items())
        if len(names) >= LEAST
    ]


def squeezed(name: str) -> str:
    """Letters and digits alone, so that `BLACK HEART SUIT` is `black-heart-suit`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def pictures(sets: dict[str, IconSet], names: dict[str, str]) -> Drawn:
    """The drawing of each set, empty ones and those that are like an earlier one left out."""
    drawn: Drawn = {}
    for prefix, name in names.items():
        picture = sets[prefix].draw(name, 2 * SIZE)
        if picture is None:
            continue
        picture = picture.convert("RGB")
        picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
        square = centred(picture, SIZE, "white")
        empty = square.getextrema() == ((255, 255),) * 3
        if not empty and all(difference(square, other, 16) >= SAME for other in drawn.values()):
            drawn[prefix] = square
    return drawn


if __name__ == "__main__":
    sys.exit(command(__doc__, build, needs="resvg_py"))
