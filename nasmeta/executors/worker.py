"""The main function of a worker process. It builds what judges trials, then serves jobs until it is killed.

Messages are pickled objects. The parent sends jobs, and None to stop. The worker sends READY once it is
built, log records, each Reading, and for every job a TrialResult or the Interrupted that stopped it.
Any other exception ends the worker and the run. The worker also ends if its parent is gone, which it watches
before it imports torch, since that takes seconds.
"""

import logging
import os
import pickle
import signal
import threading
from logging.handlers import QueueHandler
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from nasmeta.errors import Interrupted, NasmetaError, RunFailed
from nasmeta.runtime.allocator import keep_pages
from nasmeta.runtime.signals import SIGNALS
from nasmeta.trial import Job

log = logging.getLogger(__name__)

READY = "ready"


def serve(connection: "Connection[Any, Any]", rebuild: bytes, threads: int) -> None:
    """Runs the jobs that arrive over `connection`, with `threads` threads of torch, until it is killed.

    rebuild: pickled, makes what judges them (see Rebuild).
    """
    threading.Thread(target=_end_with_parent, name="parent's end", daemon=True).start()
    import torch

    _leave_signals_to_the_parent()
    link = _Link(connection)
    torch.set_num_threads(threads)
    keep_pages()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Forwarding(link)], force=True)
    logging.captureWarnings(True)
    try:
        judge = pickle.loads(rebuild)()
        link.send(READY)
        while True:
            job = link.jobs.get()
            try:
                link.send(judge(job, link.send, link.stopping.is_set))
            except Interrupted as interrupted:
                link.send(interrupted)
    except Exception as error:
        link.send(_sendable(error))


def _end_with_parent() -> None:
    """Ends this process once its parent is gone, even during a write: files are replaced as a whole."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _Link:
    """The connection to the parent. A thread listens to it and ends this process once it closes."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.jobs: SimpleQueue[Job] = SimpleQueue()
        self.stopping = threading.Event()
        self._connection, self._lock = connection, threading.Lock()
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def send(self, message: Any) -> None:
        """Sends an object that can be pickled; several threads may send at the same time."""
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            if message is None:
                self.stopping.set()
            else:
                self.jobs.put(message)


class _Forwarding(QueueHandler):
    """Sends log records to the parent, whose handlers keep them apart from its progress bars."""

    def __init__(self, link: _Link) -> None:
        super().__init__(SimpleQueue())  # the queue is unused: `enqueue` sends the record
        self._link = link

    def enqueue(self, record: logging.LogRecord) -> None:
        self._link.send(record)


def _leave_signals_to_the_parent() -> None:
    """Ignores signals: a terminal's Ctrl-C reaches every process, but the parent says when to stop."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # the process starts with them blocked


def _sendable(error: Exception) -> NasmetaError:
    """The error that the run ends with. The traceback of an unexpected one is logged."""
    if isinstance(error, NasmetaError):
        return error
    log.error("a worker process failed", exc_info=error)
    text = " ".join(str(error).split())
    return RunFailed(f"a worker process failed: {type(error).__name__}: {text}")
