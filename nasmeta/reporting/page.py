"""What both pages share: the templates, pictures as data, and where a page is written."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nasmeta.errors import RunDirectoryError
from nasmeta.runtime import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARK = '<meta name="generator" content="nasmeta report">'
"""By which a page is known that may be replaced."""


def write_page(template: str, output: Path, values: dict[str, Any]) -> None:
    """Fills a template, which escapes all it is given, and writes the page atomically.

    An earlier page is replaced. Raises RunDirectoryError where there is no such folder, or another file in
    its place; StorageError where it cannot be written.
    """
    if output.is_dir() or not output.parent.is_dir():
        problem = "is a folder" if output.is_dir() else "its folder does not exist"
        raise RunDirectoryError(f"{output}: {problem}; --output takes the name of a file, as report.html")
    if output.exists() and MARK.encode() not in output.read_bytes()[:1000]:
        raise RunDirectoryError(f"{output}: is there already, and no report: name another file by --output")
    environment = Environment(
        loader=PackageLoader("nasmeta.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(values | {"mark": MARK})
    files.write_atomically(output, text.encode("utf-8", "backslashreplace"))


def picture(figure: "Figure") -> str:
    """The figure as a data: URI of SVG. In an <img> nothing in it can run, or meet another picture's ids."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return data_uri("image/svg+xml", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
