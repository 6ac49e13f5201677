"""The directory of a run: everything that the run promises is in it, and one process at a time."""

import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.errors import RunDirectoryError


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

    def weights(self, phase: str, trial: int) -> Path:
        """Where the meta-training of a trial keeps its progress, and leaves its weights."""
        return self.checkpoints / f"{phase}-{trial:05d}.pt"

    def lock(self) -> FileLock:
        """The lock of the run, to hold while working on it; the system frees it if its owner is killed.

        Raises RunDirectoryError where another process holds it.
        """
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunDirectoryError(
                f"{self.path}: another process is working on this run; wait for it"
            ) from error
        return lock

    def load_config(self) -> DictConfig:
        """The configuration the run was started with; raises RunDirectoryError where there is none."""
        if not self.path.is_dir():
            raise RunDirectoryError(f"{self.path}: no such run directory")
        if not self.config.is_file():
            raise RunDirectoryError(
                f"{self.path}: no run directory: it has no {self.config.relative_to(self.path)}"
            )
        try:
            config = OmegaConf.load(self.config)
        except Exception as error:  # yaml and omegaconf raise many
            raise RunDirectoryError(f"{self.config}: damaged: {str(error).splitlines()[0]}") from error
        if not isinstance(config, DictConfig):
            raise RunDirectoryError(f"{self.config}: holds no configuration")
        return config


class Refused(BaseException):
    """Carries a RunDirectoryError out of a Hydra callback: Hydra only warns of what is an Exception."""

    def __init__(self, error: RunDirectoryError) -> None:
        super().__init__(str(error))
        self.error = error


class ClaimDirectory(Callback):
    """Hydra callback: no run is written into a directory that holds one.

    The default directory, named by the second, gets a suffix where it exists; one that the user named
    (hydra.run.dir or hydra.sweep.dir) is refused where it holds a run.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._claim(config, "sweep")

    def _claim(self, config: DictConfig, kind: str) -> None:
        overrides = OmegaConf.select(config, "hydra.overrides.hydra") or []
        named = any(str(override).startswith(f"hydra.{kind}.dir=") for override in overrides)
        directory = Path(str(config.hydra[kind].dir))
        if named:
            _refuse_run(directory)
        else:
            directory = make_new(directory)
            with open_dict(config):
                config.hydra[kind].dir = str(directory)


def make_new(directory: Path) -> Path:
    """Makes `directory`, or the first of directory-1, directory-2, ... that does not exist; returns it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(10_000):
        candidate = directory if attempt == 0 else directory.with_name(f"{directory.name}-{attempt}")
        try:
            os.mkdir(candidate)
        except FileExistsError:
            continue
        return candidate
    raise RunDirectoryError(f"{directory}: ten thousand runs of this name exist already")


def _refuse_run(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise Refused(RunDirectoryError(f"{directory}: is a file, and the run needs a directory"))
    if any((directory / sign).exists() for sign in ("journal.jsonl", ".hydra", "multirun.yaml")):
        raise Refused(
            RunDirectoryError(
                f"{directory}: already holds a run: go on with `nasmeta resume {directory}`, "
                "or name another directory"
            )
        )
