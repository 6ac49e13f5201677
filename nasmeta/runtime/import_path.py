"""Keeps processes that nasmeta starts from importing modules of the folder that they run in.

For `-c` and `-m`, Python puts the current folder first on its import path. That is how multiprocessing,
joblib and submitit start their workers, and Ray does the same itself. In a stranger's folder, a `pickle.py`
would run. The user's own modules are still found through PYTHONPATH, or if they are installed.
"""

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path


def leave_out_current_folder() -> None:
    """Keeps the current folder off the import path of every Python that this process starts from now on.

    Processes that those start are covered too. This process is not changed: `nasmeta` has the folder of its
    script on its path instead, and `__init__.py` takes care of `python -m nasmeta`.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


@contextmanager
def outside_current_folder() -> Iterator[None]:
    """Changes to the root folder inside the block, for libraries that put it on their workers' path."""
    with chdir(Path.cwd().anchor):
        yield
