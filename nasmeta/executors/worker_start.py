"""The entry point of a worker process. It watches its parent before it imports torch, which takes seconds."""

import os
import pickle
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any


def start(connection: "Connection[Any, Any]", rebuild: bytes, threads: int) -> None:
    """Serves jobs like `worker.serve`, with a pickled `rebuild`. Ends as soon as the parent is gone."""
    threading.Thread(target=_end_with_parent, name="parent's end", daemon=True).start()
    from nasmeta.executors.worker import serve

    serve(connection, pickle.loads(rebuild), threads)


def _end_with_parent() -> None:
    """Ends this process once its parent is gone, even during a write: files are replaced as a whole."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
