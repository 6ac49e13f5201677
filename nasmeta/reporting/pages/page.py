"""What the pages of runs and sweeps share: a template that is filled and written, pictures as data, times."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from nasmeta.errors import RunDirectoryError
from nasmeta.reporting.figures.canvas import Figure
from nasmeta.runtime import files
from nasmeta.runtime.text import printable

MARK = '<meta name="generator" content="nasmeta report">'
"""Marks a file as one of our pages, which may be replaced."""

TILE = 96
"""The largest side of a small picture, in pixels."""


def write_page(template: str, output: Path, values: dict[str, Any], refresh: float | None = None) -> None:
    """Fills a template with `values`, which it escapes, and writes the page atomically.

    The page reloads itself every `refresh` seconds, unless that is None. An earlier page is replaced. Raises
    RunDirectoryError if the folder does not exist or another file is in the way, and StorageError if the page
    cannot be written.
    """
    _check_replaceable(output)
    environment = Environment(
        loader=PackageLoader("nasmeta.reporting.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(values | {"mark": MARK, "refresh": refresh})
    files.write_atomically(output, text.encode("utf-8", "backslashreplace"))


def _check_replaceable(output: Path) -> None:
    """Raises RunDirectoryError unless the folder exists and holds no such file, or an earlier page."""
    if not output.parent.is_dir():
        raise RunDirectoryError(
            f"{output}: its folder does not exist; --output takes the name of a file, such as report.html"
        )
    try:
        with files.opened(output, files.MAX_TABLE, inside=output.parent) as file:
            if MARK.encode() not in file.read(1000):
                raise RunDirectoryError(
                    f"{output}: exists already and is not a report; name another file with --output"
                )
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunDirectoryError(f"{output}: {error.strerror}; name another file with --output") from error


def _without_controls(value: Any) -> Any:
    """Text without control characters, which could reorder the text of the page. HTML is escaped later."""
    return printable(value) if type(value) is str else value


def picture(figure: Figure) -> str:
    """The figure as a data: URI of SVG.

    In an <img> no script of it runs, and its ids do not clash with those of other pictures.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return data_uri("image/svg+xml", buffer.getvalue())


def pictures(*figures: tuple[str, Figure | None]) -> list[tuple[str, str]]:
    """(what it shows, its data: URI) of each figure that is not None."""
    return [(what, picture(figure)) for what, figure in figures if figure is not None]


def tile(image: NDArray[np.uint8]) -> str:
    """An image [C, H, W] of 1 or 3 channels as a data: URI of PNG, of at most TILE pixels on a side."""
    buffer = io.BytesIO()
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    picture.thumbnail((TILE, TILE))
    picture.save(buffer, format="PNG")
    return data_uri("image/png", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
