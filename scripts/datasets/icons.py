#!/usr/bin/env python3
"""Icons: a class is a thing (robot, fish, umbrella), an example is how one designer's icon set draws it.

    scripts/setup datasets
    scripts/datasets/icons.py --out icons       # 25 MB of downloads by npm, two minutes

Writes OUT/THING/SET.png, 48x48 pixels, black on white: 329 classes with 16 to 70 images. An icon's name says
what it shows; icons.yaml has the words of style that are taken off, and which names mean the same. Sets that
descend from another one, and brands, are left out.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from class_folders import Class, Drawn, centred, check_free, command, difference, write
from iconify import IconSet
from npm_packages import fetch, read_table
from PIL import Image, ImageOps

TABLE = Path(__file__).with_name("icons.txt")
SIZE = 48
LEAST = 16
"""Drawings that a class must have."""

SAME = 0.02
"""The difference below which two drawings are the same one."""


class Words:
    """What icons.yaml says about the names of icons."""

    def __init__(self, path: Path) -> None:
        said: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.endings, self.beginnings, self.left_out = (
            frozenset(said[key].split()) for key in ("endings", "beginnings", "left_out")
        )
        self._meaning = {word: thing for thing, words in said["same"].items() for word in words.split()}

    def thing(self, name: str) -> tuple[str, int]:
        """What an icon of this name shows, and how many words of style the name has."""
        words, styles = name.split("-"), 0
        while len(words) > 1 and words[-1] in self.endings:
            words, styles = words[:-1], styles + 1
        while len(words) > 1 and words[0] in self.beginnings:
            words, styles = words[1:], styles + 1
        plain = "-".join(words)
        return self._meaning.get(plain, plain), styles


def build(out: Path, cache: Path) -> None:
    check_free(out)
    packages = read_table(TABLE)
    archives = fetch(packages, cache)
    sets = {name.partition("/")[2]: IconSet(archive) for name, archive in archives.items()}
    write(out, list(classes(sets, Words(TABLE.with_suffix(".yaml")))), least=LEAST, packages=packages)


def classes(sets: dict[str, IconSet], words: Words) -> Iterator[Class]:
    """The things that at least LEAST of the sets have, each with the plainest icon of every set."""
    things: dict[str, dict[str, tuple[int, bool, int, str]]] = defaultdict(dict)
    for prefix, icons in sets.items():
        for name in icons.names:
            thing, styles = words.thing(name)
            heavy = any(word in name for word in ("filled", "solid", "bold"))
            rank = (styles, heavy, len(name), name)
            things[thing][prefix] = min(rank, things[thing].get(prefix, rank))
    for thing, ranks in sorted(things.items()):
        if len(ranks) >= LEAST and len(thing) > 1 and thing not in words.left_out:
            names = {prefix: name for prefix, (*_, name) in sorted(ranks.items())}
            yield thing, partial(pictures, sets, names)


def pictures(sets: dict[str, IconSet], names: dict[str, str]) -> Drawn:
    """The drawing of each set, those that are like an earlier one left out."""
    drawn: Drawn = {}
    for prefix, name in names.items():
        picture = sets[prefix].draw(name, 4 * SIZE)
        picture = None if picture is None else framed(picture)
        if picture is not None and all(difference(picture, other) >= SAME for other in drawn.values()):
            drawn[prefix] = picture
    return drawn


def framed(picture: Image.Image) -> Image.Image | None:
    """Cut to what is drawn, SIZE pixels wide with a margin; None if nothing is drawn."""
    white_on_black = ImageOps.invert(picture.convert("L"))
    box = white_on_black.getbbox()
    if box is None:
        return None
    inner = white_on_black.crop(box)
    side = SIZE - 2 * (SIZE // 16)
    inner.thumbnail((side, side), Image.Resampling.LANCZOS)
    return ImageOps.invert(centred(inner, SIZE, 0))


if __name__ == "__main__":
    sys.exit(command(__doc__, build, needs="resvg_py"))
