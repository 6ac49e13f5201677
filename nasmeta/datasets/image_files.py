"""Decides which files are images and which folders are classes, for datasets, examples and queries alike.

Hidden files and folders, and those that operating systems leave behind, are ignored. Links are followed.
Names decide, and also the first bytes of a file if its name has no suffix.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import features

from nasmeta.errors import DataError
from nasmeta.runtime import files
from nasmeta.runtime.text import some

AVIF = "avif" in features.modules and bool(features.check("avif"))  # from Pillow 11.3 on, if built with it
EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
    *([".avif"] if AVIF else []),
)
NAMED_AS = f"called *{', *'.join(EXTENSIONS)}, or without a suffix a PNG or JPEG"
MAX_KINDS = 5  # that one warning counts

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # the first bytes of PNG and JPEG
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,5}$", re.IGNORECASE)  # "10.30 at home" has none
_SYSTEM = frozenset(
    {
        *("__macosx", "icon\r"),  # macOS
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # network storage
        *("lost+found", "__pycache__"),
    }
)

Classes = dict[str, list[Path]]


@dataclass
class LeftOut:
    """What a search for images found and did not take. As text it is one line, empty if there is nothing."""

    kinds: Counter[str] = field(default_factory=Counter)  # files by suffix, and what is not a file
    empty: list[str] = field(default_factory=list)  # folders without images
    small: dict[str, int] = field(default_factory=dict)  # classes with fewer images than `least`
    least: int = 1

    def __str__(self) -> str:
        parts = [_counted(n, kind) for kind, n in self._most_frequent()]
        if self.empty:
            parts.append(f"{_counted(len(self.empty), 'folder without images')} ({some(self.empty)})")
        if self.small:
            what = f"class{'es' if len(self.small) > 1 else ''} of fewer than {self.least} images"
            named = some([f"{name}: {n}" for name, n in self.small.items()])
            parts.append(f"{len(self.small)} {what} ({named})")
        return f"left out: {', '.join(parts)}" if parts else ""

    @property
    def hint(self) -> str:
        """The end of a message: "; " and what was left out; empty if there is nothing."""
        return f"; {self}" if str(self) else ""

    def _most_frequent(self) -> list[tuple[str, int]]:
        ordered = self.kinds.most_common()
        rest = sum(n for _, n in ordered[MAX_KINDS:])
        return [*ordered[:MAX_KINDS], *([("file of other kinds", rest)] if rest else [])]


def open_image(path: Path) -> BinaryIO:
    """Opens a file that may be an image, following a link. Raises OSError.

    All image files are opened here.
    """
    return files.opened(path, files.MAX_IMAGE)


def is_system(name: str) -> bool:
    """Whether `name` is that of a file or folder that operating systems leave behind."""
    return name.casefold() in _SYSTEM


def has_folders(folder: Path) -> bool:
    """Whether the folder exists and has a folder in it that may be a class."""
    return os.path.isdir(folder) and any(os.path.isdir(entry.path) for entry in _visible(folder))


def classes_in(folder: Path, left_out: LeftOut) -> Classes:
    """The images of each class folder in `folder`, both sorted by name. A folder without images is no class.

    Adds what was not taken to `left_out`. Raises DataError if a folder cannot be listed.
    """
    found: Classes = {}
    for entry in _visible(folder):
        path = Path(entry.path)
        if os.path.isdir(path):
            images = images_in(path, left_out)
            if images:
                found[entry.name] = images
            else:
                left_out.empty.append(entry.name)
        elif _is_image(path):
            left_out.kinds["image beside the class folders"] += 1
    return found


def images_in(folder: Path, left_out: LeftOut) -> list[Path]:
    """The images directly in `folder`, sorted by name. Arguments and errors are as in `classes_in`."""
    images, folders = _listed(folder, left_out)
    if folders:
        left_out.kinds["folder inside a class folder"] += len(folders)
    return images


def images_below(folder: Path, left_out: LeftOut) -> list[Path]:
    """The images in `folder` at any depth, sorted by path. Arguments and errors are as in `classes_in`.

    Every folder is read once, so circles of links do no harm. A folder that is also the target of a link is
    read at its own path.
    """
    images: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        found, inside = _listed(here, left_out)
        images += found
        for path in inside:
            (links if path.is_symlink() else folders).append(path)
    return sorted(images)


def _listed(folder: Path, left_out: LeftOut) -> tuple[list[Path], list[Path]]:
    """The images and the folders directly in `folder`, sorted by name. Adds all else to `left_out`."""
    images, folders = [], []
    for entry in _visible(folder):
        path = Path(entry.path)
        if os.path.isdir(path):
            folders.append(path)
        elif _is_image(path):
            images.append(path)
        else:
            left_out.kinds[_kind(path)] += 1
    return images, folders


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of `folder`, sorted by name, without hidden ones and those of operating systems."""
    try:
        with os.scandir(folder) as entries:
            shown = [
                entry for entry in entries if not entry.name.startswith(".") and not is_system(entry.name)
            ]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    return sorted(shown, key=lambda entry: entry.name)


def _is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image, or has no suffix and begins like a PNG or JPEG."""
    suffix = _SUFFIX.search(path.name)
    if suffix and suffix[0].lower() not in EXTENSIONS:
        return False
    return os.path.isfile(path) and (suffix is not None or _begins_as_image(path))


def _begins_as_image(path: Path) -> bool:
    try:
        with open_image(path) as file:
            return file.read(8).startswith(_SIGNATURES)
    except OSError:
        return False


def _kind(path: Path) -> str:
    if not os.path.isfile(path):
        return "link to nothing" if path.is_symlink() else "pipe or device"
    suffix = _SUFFIX.search(path.name)
    return suffix[0].lower() if suffix else "file without a suffix"


def _counted(n: int, kind: str) -> str:
    """`n` and the kind. Its first word gets a plural s if it is a noun and not a suffix."""
    first, *rest = kind.split(" ", 1)
    return " ".join([str(n), first if n == 1 or first.startswith(".") else f"{first}s", *rest])
