"""Labels of classes, as a user gives them and gets them back."""

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasmeta.errors import DataError

Label = str | int | float


def as_array(labels: Sequence[Label]) -> NDArray[Any]:
    """Labels as an array, of objects if some are text and others numbers."""
    return np.array(labels, dtype=None if len({type(label) for label in labels}) == 1 else object)


def as_labels(labels: Iterable[Label]) -> list[Label]:
    """The labels as plain text and numbers. Raises DataError if they are something else, or have no order."""
    values: Any = labels.tolist() if hasattr(labels, "tolist") else labels
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise DataError(f"labels: got {reprlib.repr(values)}; pass a list with a label for each image")
    return [_label(value, number) for number, value in enumerate(values)]


def _label(value: Any, number: int) -> Label:
    if getattr(value, "shape", None) == ():  # a scalar of NumPy or torch
        value = value.item()
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(f"label {number}: got {reprlib.repr(value)}; a label is text or a finite number")
