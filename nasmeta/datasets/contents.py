"""What data a run uses, as plain values: recorded in its journal and in best.pt, compared on resume.

Only what a network is fed counts, not where it is stored. Touching files, or copying or moving them with
their folder, leaves the contents equal; replacing a file changes them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from nasmeta.runtime.text import some
from nasmeta.runtime.validation import first_problem
from nasmeta.task import Split

MAX_CLASSES = 1_000_000
MAX_NAME = 1 << 17
"""The most characters of a class name, which are those that a field of a CSV file may have."""

MAX_FINGERPRINT = 64


def _check_names(names: tuple[Any, ...]) -> tuple[str, ...]:
    # Not pydantic's `str`: it refuses the names of folders that are not UTF-8.
    if not all(isinstance(name, str) and len(name) <= MAX_NAME for name in names):
        raise ValueError(f"class names are texts of at most {MAX_NAME} characters")
    return names


@dataclass(frozen=True)
class SplitContents:
    """The contents of one split.

    classes: the names of the classes in the order of their indices; empty if they have no names. images: the
    number of all images; None if there is no such number. fingerprint: equal for equal contents.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    classes: Annotated[tuple[Any, ...], Field(max_length=MAX_CLASSES), AfterValidator(_check_names)]
    images: Annotated[int, Field(ge=0, strict=True)] | None
    fingerprint: Annotated[str, Field(max_length=MAX_FINGERPRINT)]


Contents = dict[Split, SplitContents]

_CONTENTS: TypeAdapter[Contents] = TypeAdapter(Contents)


def plain(contents: Contents) -> dict[str, Any]:
    """The contents as a journal and a checkpoint store them; `read` is the inverse."""
    return {split: {**asdict(each), "classes": list(each.classes)} for split, each in contents.items()}


def read(values: Any) -> Contents:
    """The contents from plain values, which may come from anybody. Raises ValueError if they are invalid."""
    try:
        return _CONTENTS.validate_python(values)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def fingerprint(values: Any) -> str:
    """The fingerprint of data that is in no file, from the plain values that determine it."""
    return blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()


def changes(before: Contents, now: Contents) -> dict[Split, str]:
    """How each split differs that both contents have, in a few words however many classes there are."""
    both = [split for split in now if split in before and now[split] != before[split]]
    return {split: _difference(before[split], now[split]) for split in both}


def _difference(before: SplitContents, now: SplitContents) -> str:
    old, new = set(before.classes), set(now.classes)
    added = [name for name in now.classes if name not in old]
    removed = [name for name in before.classes if name not in new]
    parts = [f"{what}: {few(names)}" for what, names in (("new", added), ("gone", removed)) if names]
    if before.images != now.images:
        parts.append(f"{before.images} -> {now.images} images")
    if not parts:
        parts.append(f"its {now.images} images are not the same" if now.images else "other data")
    return ", ".join(parts)


def few(names: Sequence[str]) -> str:
    """The first of the names, quoted and shortened, and how many more there are."""
    return some([repr(name if len(name) <= 40 else f"{name[:37]}...") for name in names])
