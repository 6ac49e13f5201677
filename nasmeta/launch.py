"""Between Hydra and a run: what must hold before Hydra makes a directory, in a callback of its."""

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.errors import NasmetaError, RunDirectoryError


class Refused(BaseException):
    """Carries an error out of a Hydra callback: Hydra only warns of what is an Exception."""

    def __init__(self, error: NasmetaError) -> None:
        super().__init__(str(error))
        self.error = error


class BeforeRun(Callback):
    """Hydra callback: wrong input leaves no directory, and no run is written over another.

    The default directory, named by the second, gets a suffix where it exists; one that the user named
    (hydra.run.dir or hydra.sweep.dir) is refused where it holds a run. The jobs of a sweep are checked
    one by one, when their turn comes.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _check(config)
            _claim(config, "run")
        except NasmetaError as error:
            raise Refused(error) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            _claim(config, "sweep")
        except NasmetaError as error:
            raise Refused(error) from error


def _check(config: DictConfig) -> None:
    from nasmeta.composition import Composition
    from nasmeta.config import parse

    job = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    Composition.of(parse(job, trusted=True))


def _claim(config: DictConfig, kind: str) -> None:
    """Makes the default directory, or refuses the user's; `kind` is run or sweep."""
    overrides = OmegaConf.select(config, "hydra.overrides.hydra") or []
    named = any(str(override).startswith(f"hydra.{kind}.dir=") for override in overrides)
    directory = Path(str(config.hydra[kind].dir))
    if named:
        refuse_run(directory)
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


def refuse_run(directory: Path) -> None:
    """Raises RunDirectoryError where the directory is a file, or holds a run or a sweep."""
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"{directory}: is a file, and the run needs a directory")
    if any((directory / sign).exists() for sign in ("journal.jsonl", ".hydra", "multirun.yaml")):
        raise RunDirectoryError(
            f"{directory}: already holds a run: go on with `nasmeta resume {directory}`, "
            "or name another directory"
        )
