"""Architecture search joined with meta-learning: the network that learns new tasks fastest."""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # `python -m nasmeta` is looking for its module, and has put the current folder first on its path: nothing
    # more is imported from there (runtime/import_path.py).
    del sys.path[0]

__version__ = "0.1.0"
