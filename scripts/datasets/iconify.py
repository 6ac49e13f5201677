"""Icon sets of the npm packages `@iconify-json/SET`, drawn with resvg."""

import io
from typing import Any

from npm_packages import Archive
from PIL import Image

TURNED = ("rotate", "hFlip", "vFlip")
"""What an alias may say of its parent besides another frame. Such aliases are left out."""


class IconSet:
    """The icons of one package, by name."""

    def __init__(self, archive: Archive) -> None:
        data = archive.read_json("icons.json")
        self._icons: dict[str, Any] = data["icons"]
        self._aliases: dict[str, Any] = data.get("aliases", {})
        self._frame = {"left": 0, "top": 0, "width": 16, "height": 16} | {
            key: data[key] for key in ("left", "top", "width", "height") if key in data
        }
        self.codes: dict[str, str] = archive.read_json("chars.json")
        """Names of icons by the code points of the character that they stand for."""

    @property
    def names(self) -> list[str]:
        return [*self._icons, *self._aliases]

    def draw(self, name: str, width: int) -> Image.Image | None:
        """The icon in black or its own colours on white, `width` pixels wide; None if it cannot be drawn."""
        import resvg_py

        svg = self._svg(name)
        if svg is None:
            return None
        try:
            png = resvg_py.svg_to_bytes(svg_string=svg, width=width, background="white")
        except ValueError:
            return None
        return Image.open(io.BytesIO(bytes(png)))

    def _svg(self, name: str) -> str | None:
        """The icon as a whole document; None if it is hidden, turned, or there is none of that name."""
        own: dict[str, Any] = {}
        while name in self._aliases:
            alias = self._aliases[name]
            if any(key in alias for key in TURNED):
                return None
            own = {**alias, **own}
            name = alias["parent"]
        if name not in self._icons or self._icons[name].get("hidden"):
            return None
        icon = self._frame | self._icons[name] | own
        box = f"{icon['left']} {icon['top']} {icon['width']} {icon['height']}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{icon["width"]}" height="{icon["height"]}" color="#000">'
            f"{icon['body']}</svg>"
        )
