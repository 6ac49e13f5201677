#!/usr/bin/env python3
"""Glyphs: a class is a character of one of eleven scripts, an example is a typeface, printed or handwritten.

    scripts/setup datasets
    scripts/datasets/glyphs.py --out glyphs     # 369 MB of downloads by npm, then a minute

Writes OUT/SCRIPT_U+XXXX/TYPEFACE.png, 48x48 pixels, black on white: 678 classes with 8 to 29 images.
glyphs.yaml has the characters and typefaces of each script. The typefaces themselves are not written.
"""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache, cached_property, partial
from pathlib import Path

import yaml
from class_folders import Class, Drawn, centred, check_free, command, difference, write
from npm_packages import Archive, fetch, read_table
from PIL import Image, ImageDraw, ImageFont, ImageOps

TABLE = Path(__file__).with_name("glyphs.txt")
SIZE = 48
LEAST = 8
"""Typefaces that a class must have."""

POINTS = 160
"""The size at which a character is drawn, before it is scaled to SIZE."""

SAME = 0.02
"""The difference up to which two typefaces draw the same picture."""

CAPITAL = 0.05
"""The difference below which a small letter is drawn like its capital: a typeface of capitals only."""


class Typeface:
    """A typeface from its package: of the weight nearest to regular, upright."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._name = archive.package.name.partition("/")[2]
        self._face = cache(self._load)

    @cached_property
    def _files(self) -> dict[int, str]:
        """For every character, by its code point, the file of the package that has it."""
        from fontTools.ttLib import TTFont, TTLibError

        pattern = re.compile(rf"files/{re.escape(self._name)}-.+-(\d+)-normal\.woff2")
        weights = {name: int(found[1]) for name in self._archive.names if (found := pattern.fullmatch(name))}
        nearest = min(sorted(set(weights.values())), key=lambda weight: abs(weight - 400))
        files: dict[int, str] = {}
        for name in (name for name, weight in weights.items() if weight == nearest):
            try:
                characters = TTFont(io.BytesIO(self._archive.read(name)), lazy=True).getBestCmap()
            except TTLibError:  # a slice of the typeface that cannot be read
                continue
            files |= dict.fromkeys(characters, name)
        return files

    def _load(self, file: str) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(io.BytesIO(self._archive.read(file)), POINTS)

    def draw(self, character: str) -> Image.Image | None:
        """The character, SIZE pixels wide or high with a margin; None if the typeface has it not."""
        file = self._files.get(ord(character))
        if file is None:
            return None
        sheet = Image.new("L", (3 * POINTS, 3 * POINTS))
        ImageDraw.Draw(sheet).text((POINTS, POINTS * 3 // 4), character, font=self._face(file), fill=255)
        box = sheet.getbbox()
        if box is None:
            return None
        glyph = sheet.crop(box)
        scale = (SIZE - 2 * (SIZE // 12)) / max(glyph.size)
        width, height = (max(round(side * scale), 1) for side in glyph.size)
        glyph = glyph.resize((width, height), Image.Resampling.LANCZOS)
        return ImageOps.invert(centred(glyph, SIZE, 0))


def build(out: Path, cache: Path) -> None:
    check_free(out)
    packages = read_table(TABLE)
    faces = {name.partition("/")[2]: Typeface(each) for name, each in fetch(packages, cache).items()}
    write(out, list(classes(faces)), least=LEAST, packages=packages)


def classes(faces: Mapping[str, Typeface]) -> Iterator[Class]:
    """The characters of all scripts."""
    for script, has in yaml.safe_load(TABLE.with_suffix(".yaml").read_text(encoding="utf-8")).items():
        own = {name: faces[name] for name in has["typefaces"].split()}
        for character in has["characters"]:
            yield f"{script}_U+{ord(character):04X}", partial(pictures, own, character)


def pictures(faces: Mapping[str, Typeface], character: str) -> Drawn:
    """How each typeface draws the character, those that are like an earlier one left out."""
    drawn: Drawn = {}
    for name, face in faces.items():
        picture = face.draw(character)
        if picture is None:
            continue
        large = face.draw(character.upper()) if character.upper() != character else None
        if large is not None and difference(picture, large) < CAPITAL:
            continue
        if all(difference(picture, other) > SAME for other in drawn.values()):
            drawn[name] = picture
    return drawn


if __name__ == "__main__":
    sys.exit(command(__doc__, build, needs="fontTools"))
