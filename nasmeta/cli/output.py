"""The directory of a new run or sweep, made under a new name."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig, OmegaConf, open_dict

from nasmeta.config.arguments_of_hydra import in_quotes
from nasmeta.config.schema import needs_trust
from nasmeta.errors import ConfigError, RunDirectoryError
from nasmeta.run.directory import RunDirectory
from nasmeta.run.manifest import MANIFEST, Manifest
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import command_line

Kind = Literal["run", "sweep"]

HYDRA_WRITES = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""The files that Hydra writes into the folder `.hydra`."""


def check(config: DictConfig, kind: Kind, jobs: Iterable[str] = ()) -> None:
    """Raises RunDirectoryError or ConfigError if the user named a directory that cannot be the run's.

    jobs: the directories of a sweep's jobs, relative to its own, which cannot hold runs either.
    """
    if not str(config.hydra[kind].dir):
        raise ConfigError(f"hydra.{kind}.dir: got '', should be a directory; `.` is the current one")
    if _is_named(config, kind):
        for directory in ("", *jobs):
            refuse_run(_directory(config, kind) / directory)
        refuse_links(_directory(config, kind), kind)


def claim(config: DictConfig, kind: Kind) -> None:
    """Makes the default directory, which is named by the second; if it exists, its name gets a suffix.

    `config` is changed to the name that was found. A directory that the user named is left to Hydra.
    """
    directory = _directory(config, kind)
    if not _is_named(config, kind):
        directory = make_new(directory)
    with open_dict(config):
        config.hydra[kind].dir = str(directory)
        if kind == "sweep":  # its jobs are composed anew, from overrides
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={in_quotes(str(directory))}")


def _is_named(config: DictConfig, kind: Kind) -> bool:
    overrides = OmegaConf.select(config, "hydra.overrides.hydra") or []
    return any(str(override).startswith(f"hydra.{kind}.dir=") for override in overrides)


def _directory(config: DictConfig, kind: Kind) -> Path:
    return Path(str(config.hydra[kind].dir)).expanduser()


def make_new(directory: Path) -> Path:
    """Makes and returns `directory`, or the first of directory-1, directory-2, ... that does not exist."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(10_000):
        candidate = directory if attempt == 0 else directory.with_name(f"{directory.name}-{attempt}")
        try:
            os.mkdir(candidate)
        except FileExistsError:
            continue
        return candidate
    raise RunDirectoryError(f"{directory}: ten thousand runs have this name already; name another directory")


def refuse_run(directory: Path) -> None:
    """Raises RunDirectoryError if a run cannot be made in `directory`, or would write over what is there.

    It is, or lies in, a file, or it holds a run, a sweep, or files of their names.
    A run that was killed while Hydra still wrote its own files does not count: it has nothing to lose.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise RunDirectoryError(f"{there}: is not a directory; name another one for the run")
    signs = ("config.json", "journal.jsonl", "multirun.yaml", MANIFEST)
    if any(os.path.lexists(directory / sign) for sign in signs):
        raise RunDirectoryError(
            f"{directory}: already holds a run; name another directory, or resume it: {_again(directory)}"
        )
    run = RunDirectory(directory)
    written = (run.best, run.summary, run.per_task, run.learning, run.checkpoints, run.pareto)
    mine = [path.name for path in written if os.path.lexists(path)]
    if mine:
        raise RunDirectoryError(
            f"{directory}: holds {', '.join(mine)}, which a run would write over; name another directory"
        )


def refuse_links(directory: Path, kind: Kind) -> None:
    """Raises UserError if there is a link in the directory through which Hydra would write elsewhere.

    Hydra writes a folder `.hydra` for a run and for each job. For a sweep it also writes files whose names
    depend on the sweeper.
    """
    places = [directory]
    if kind == "sweep" and directory.is_dir():
        inside = sorted(directory.iterdir())
        files.check_plain(*inside)
        places += [path for path in inside if path.is_dir()]
    for place in places:
        files.check_plain(place / ".hydra", *(place / ".hydra" / name for name in HYDRA_WRITES))


def _again(directory: Path) -> str:
    """The command that resumes the run or sweep in the directory, as far as that can be read."""
    with suppress(RunDirectoryError):
        if (directory / MANIFEST).exists():
            return Manifest(directory).resume_command()
        trusted = needs_trust(RunDirectory(directory).load_config())
        return command_line("resume", directory, trusted=trusted)
    return command_line("resume", directory)
