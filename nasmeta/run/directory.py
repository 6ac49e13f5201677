"""The directory of a run, with all its files and a lock for one process at a time."""

import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nasmeta.errors import ConfigError, RunDirectoryError
from nasmeta.run import journal
from nasmeta.run.records import Started
from nasmeta.runtime import files, stored

log = logging.getLogger(__name__)

NAME_ONE = "name one that `nasmeta search` made"
"""The end of a message about a directory that holds no run."""


class RunDirectory:
    """The paths of the files in the run directory `path`. Making the object touches no file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.journal = path / "journal.jsonl"
        self.best = path / "best.pt"
        self.summary = path / "summary.json"
        self.per_task = path / "test.pt"
        self.learning = path / "learning.csv"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.pareto = path / "pareto"
        self.strategy = self.checkpoints / "strategy.pt"

    def weights(self, phase: str, trial: int) -> Path:
        """The file in which the meta-training of a trial keeps its progress, and then its weights."""
        return self.checkpoints / f"{phase}-{trial:05d}.pt"

    def front(self, trial: int) -> Path:
        """The checkpoint of a trial on the Pareto front, in the format of best.pt."""
        return self.pareto / f"{trial}.pt"

    def earlier(self, end: int) -> Path:
        """The folder for the files with which the run ended for the `end`-th time, before it went on."""
        return self.path / "earlier" / str(end)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run's lock inside the block. Deletes what killed processes have left.

        Raises RunDirectoryError if another process holds the lock, and UserError if one of the run's folders
        is a link.
        """
        folders = [self.checkpoints, self.pareto, self.tensorboard]
        folders += [self.path / name for name in (".hydra", "earlier")]
        files.check_plain(*folders)
        with files.locked(self.path / "run.lock", "run"):
            for folder in [self.path, *folders]:
                files.remove_leftovers(folder)
            yield

    def load_config(self, starts: Sequence[Started] | None = None) -> dict[str, Any]:
        """The configuration that the run was last started with; raises RunDirectoryError if there is none.

        If its file is missing, damaged, or older than the last start, the journal's copy is used, with a
        warning. starts: those of the journal; None to read it.
        """
        if not self.path.is_dir():
            raise RunDirectoryError(f"{self.path}: no such run directory; {NAME_ONE}")
        if starts is None:
            starts = [event for event in journal.events(self.journal) if isinstance(event, Started)]
        starts = [start for start in starts if start.config]
        try:
            config = read_config(self.config)
            if not self.config_is_stale(starts):
                return config
            problem = f"{self.config}: older than the last start of the run"
        except RunDirectoryError as error:
            if not starts:
                remedy = "start the run again, or copy the file from a run with the same settings"
                raise RunDirectoryError(f"{error}; {remedy if self.config.exists() else NAME_ONE}") from error
            problem = str(error)
        log.warning("%s; taken from the journal instead", problem)
        return checked_config(self.journal, starts[-1].config)

    def keep_config(self, values: Mapping[str, Any], *, replace: bool = False) -> None:
        """Writes the resolved configuration into the directory. Keeps a readable one unless `replace`."""
        try:
            read_config(self.config)
        except RunDirectoryError:
            replace = True
        if replace:
            self.path.mkdir(parents=True, exist_ok=True)
            text = json.dumps(values, indent=1, allow_nan=False)
            files.write_atomically(self.config, text.encode() + b"\n", inside=self.path)

    def config_is_stale(self, starts: Sequence[Started]) -> bool:
        """Whether the last start should have replaced the configuration's file, but was killed before."""
        replaces = bool(starts) and "replaces" in starts[-1].model_fields_set
        return replaces and starts[-1].replaces == self.config_checksum()

    def config_checksum(self) -> int | None:
        """The CRC-32 of the configuration's file; None if it cannot be read."""
        try:
            return zlib.crc32(files.read_bytes(self.config, files.MAX_TEXT, inside=self.path))
        except OSError:
            return None


def read_config(path: Path) -> dict[str, Any]:
    """The stored configuration in a file; raises RunDirectoryError if it is missing, damaged or hostile."""
    try:
        return stored.plain(json.loads(files.read_bytes(path, files.MAX_TEXT, inside=path.parent)))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path.parent}: not a run directory: it has no {path.name}") from error
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, ConfigError) as error:
        raise RunDirectoryError(f"{path}: damaged: {error}") from error


def checked_config(path: Path, values: object) -> dict[str, Any]:
    """A configuration found inside the file `path`, checked; raises RunDirectoryError as `read_config`."""
    try:
        return stored.plain(values)
    except ConfigError as error:
        raise RunDirectoryError(f"{path}: damaged: {error}") from error
