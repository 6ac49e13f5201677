"""Files and folders as values of the configuration."""

import os
import tempfile
from typing import Annotated

from pydantic import AfterValidator


class HoldsPath:
    """Marks an annotation whose value is a path: on the command line such a value needs no quotes."""


def absolute_folder(path: str) -> str:
    """`path` with `~` expanded, absolute. If no home folder is known, `~` is the temporary folder."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        expanded = tempfile.gettempdir() + expanded[1:]
    return os.path.abspath(expanded)


Folder = Annotated[str, AfterValidator(absolute_folder), HoldsPath]
"""The annotation of a folder argument. It is stored absolute, so that it means the same from anywhere."""


def cache_folder() -> str:
    """The user's folder for caches; XDG_CACHE_HOME is ignored unless it is absolute, as its standard says."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return named if os.path.isabs(named) else "~/.cache"
