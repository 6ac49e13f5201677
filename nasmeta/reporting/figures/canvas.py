"""The only module that imports matplotlib, so that no file of the current folder affects a figure.

While matplotlib is imported it reads a `matplotlibrc` from the current folder, and that file can make it
start `latex`. So it is imported in an empty folder, and its defaults are restored: a figure looks the same
on every machine. pyplot is not used, because it has global state.
"""

import io
from contextlib import chdir
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

with TemporaryDirectory() as empty, chdir(empty):
    import matplotlib
    from matplotlib import figure
    from matplotlib.axes import Axes as Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import FancyArrowPatch as FancyArrowPatch
    from matplotlib.patches import FancyBboxPatch as FancyBboxPatch
    from matplotlib.path import Path as Path
    from matplotlib.ticker import FuncFormatter as FuncFormatter
    from matplotlib.ticker import MaxNLocator as MaxNLocator
    from matplotlib.ticker import NullFormatter as NullFormatter

matplotlib.rcdefaults()

DPI = 110


class Figure(figure.Figure):
    """A figure that notebooks show, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty white figure; `width` and `height` are in inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)


def rgb(figure: Figure) -> NDArray[np.uint8]:
    """The figure's pixels [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
