"""Architecture search joined with meta-learning: the network that learns new tasks fastest."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasmeta.api import Run, Sweep, load, search
    from nasmeta.trained.classifier import FewShotClassifier

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # `python -m nasmeta` is looking for its module, and has put the current folder first on its path: nothing
    # more is imported from there (runtime/import_path.py).
    del sys.path[0]

__version__ = "0.1.0"

__all__ = ["FewShotClassifier", "Run", "Sweep", "load", "search"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are used first, because torch takes a second to import."""
    if name not in __all__:
        raise AttributeError(f"module 'nasmeta' has no attribute {name!r}")
    module = "nasmeta.trained.classifier" if name == "FewShotClassifier" else "nasmeta.api"
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
