"""Paths of files and folders as values of the configuration."""

import os
import tempfile
from typing import Annotated

from pydantic import AfterValidator


def absolute_folder(path: str) -> str:
    """`path` made absolute, with `~` expanded. If no home folder is known, `~` is the temporary folder.

    Raises ValueError if it is empty.
    """
    if not path:
        raise ValueError("should be a folder; . is the current one")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        expanded = tempfile.gettempdir() + expanded[1:]
    return os.path.abspath(expanded)


Folder = Annotated[str, AfterValidator(absolute_folder)]
"""Annotation of an argument that is a folder. It is stored absolute, so that it means the same anywhere."""


def cache_folder() -> str:
    """The user's cache folder. A relative XDG_CACHE_HOME is ignored, as the XDG standard requires."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return named if os.path.isabs(named) else "~/.cache"
