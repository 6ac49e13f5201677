"""The directory of a run: everything that the run promises is in it, and one process at a time."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from filelock import Timeout
from omegaconf import DictConfig, OmegaConf

from nasmeta import journal
from nasmeta.errors import RunDirectoryError, StorageError
from nasmeta.runtime import files

log = logging.getLogger(__name__)

MAX_BRACKETS = 500
"""YAML takes time that grows with their square; a composed configuration has a few dozen."""


class RunDirectory:
    """The paths of a run; see DESIGN section 8 for what each file holds. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / ".hydra" / "config.yaml"
        self.journal = path / "journal.jsonl"
        self.best = path / "best.pt"
        self.summary = path / "summary.json"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"
        self.pareto = path / "pareto"
        self.strategy = self.checkpoints / "strategy.pt"

    def weights(self, phase: str, trial: int) -> Path:
        """Where the meta-training of a trial keeps its progress, and leaves its weights."""
        return self.checkpoints / f"{phase}-{trial:05d}.pt"

    def front(self, trial: int) -> Path:
        """The checkpoint, like best.pt, of a trial on the Pareto front."""
        return self.pareto / f"{trial}.pt"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The lock of the run, to hold while working on it; see `locked`. What kills have left is deleted.

        Raises RunDirectoryError if another process holds the lock, or if one of the run's folders is a link.
        """
        folders = [self.config.parent, self.checkpoints, self.pareto, self.tensorboard]
        try:
            files.check_plain(*folders)
        except files.Refused as error:
            raise RunDirectoryError(f"{error.filename}: {error.strerror}") from error
        with locked(self.path / "run.lock", "run"):
            for folder in [self.path, *folders]:
                files.remove_leftovers(folder)
            yield

    def load_config(self) -> DictConfig:
        """The configuration the run was started with; raises RunDirectoryError where there is none.

        Where its file is missing or damaged, the journal's copy is taken, with a warning.
        """
        if not self.path.is_dir():
            raise RunDirectoryError(f"{self.path}: no such run directory")
        try:
            return read_config(self.config)
        except RunDirectoryError as error:
            stored = self._journalled() if self.journal.is_file() else None
            if stored is None:
                raise RunDirectoryError(
                    f"{error}; start the run again, or copy the file from one of the same settings"
                ) from error
            log.warning("%s; taken from the journal instead", error)
            return stored

    def keep_config(self, values: Mapping[str, Any]) -> None:
        """Writes the configuration into the directory, made if need be, unless a readable one is there."""
        try:
            read_config(self.config)
        except RunDirectoryError:
            self.path.mkdir(parents=True, exist_ok=True)
            files.make_folder(self.config.parent, inside=self.path)
            text = OmegaConf.to_yaml(OmegaConf.create(dict(values)))
            files.write_atomically(self.config, text.encode(), inside=self.path)

    def _journalled(self) -> DictConfig | None:
        """The configuration that the journal recorded when the run was last started."""
        records, _ = journal.read(self.journal)
        stored = [r["config"] for r in records if isinstance(r.get("config"), dict)]
        return OmegaConf.create(stored[-1]) if stored else None


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Inside, this process holds the lock file `path` of a `what`; the system frees it if the process dies.

    Raises RunDirectoryError if another process holds it, StorageError if it cannot be locked.
    """
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(path))
        except Timeout as error:
            raise RunDirectoryError(
                f"{path.parent}: another process is working on this {what} (it holds {path.name}); "
                "wait for it"
            ) from error
        except OSError as error:
            raise StorageError(f"{path}: cannot be locked: {error.strerror}") from error
        yield


def read_config(path: Path) -> DictConfig:
    """A stored configuration. Raises RunDirectoryError where there is none, or it is damaged or hostile.

    Plain YAML of a sane size: no objects, and no aliases, by which a few lines would grow into gigabytes.
    """
    folder = path.parent.parent
    try:
        data = files.read_bytes(path, files.MAX_TEXT, inside=folder)
    except FileNotFoundError as error:
        raise RunDirectoryError(
            f"{folder}: no run directory: it has no {path.relative_to(folder)}"
        ) from error
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = data.decode()
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            raise ValueError(f"more than {MAX_BRACKETS} brackets")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has YAML aliases")
        config = OmegaConf.create(text)
    except Exception as error:  # yaml and omegaconf raise many
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunDirectoryError(f"{path}: damaged: {reason}") from error
    if not isinstance(config, DictConfig) or not config:
        raise RunDirectoryError(f"{path}: holds no configuration")
    return config
