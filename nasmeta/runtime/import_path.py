"""The gate: processes that nasmeta starts import nothing from the folder that they run in.

Python puts the current folder first on its import path for `-c` and `-m`, which is how multiprocessing,
joblib and submitit start their workers; Ray does so itself. A stranger's folder with a `pickle.py` would run.
Modules of the user's own are found as before, through PYTHONPATH or if they are installed.
"""

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path


def leave_out_current_folder() -> None:
    """From now on no Python that this process starts, nor those that they start, has the folder on its path.

    It does not change this process: `nasmeta` has the folder of its script there, and `__init__.py` sees to
    `python -m nasmeta`.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


@contextmanager
def outside_current_folder() -> Iterator[None]:
    """Inside, the current folder is the root: for libraries that put it on their workers' path themselves."""
    with chdir(Path.cwd().anchor):
        yield
