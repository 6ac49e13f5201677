"""Means over seeds, as text."""

import math
from collections.abc import Sequence

import numpy as np


def with_error(values: Sequence[float], decimals: int) -> str:
    """The mean with its standard error, which is nan for a single value: 93.41 ± 0.27."""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{np.mean(values):.{decimals}f} ± {error:.{decimals}f}"
