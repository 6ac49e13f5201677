"""The door to matplotlib: what it draws depends on no file of the current folder.

matplotlib reads a `matplotlibrc` of the current folder while it is imported, and one that says so makes it
start `latex`. So it is imported in an empty folder, here and nowhere else, and its defaults are restored: a
figure looks the same on every machine. It is used without pyplot, which has global state.
"""

from contextlib import chdir
from tempfile import TemporaryDirectory
from typing import Any

with TemporaryDirectory() as empty, chdir(empty):
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

matplotlib.rcdefaults()

__all__ = [
    "Axes",
    "FancyArrowPatch",
    "FancyBboxPatch",
    "Figure",
    "FigureCanvasAgg",
    "FuncFormatter",
    "MaxNLocator",
    "NullFormatter",
    "Path",
    "new_figure",
]

DPI = 110


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure on white, in inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
