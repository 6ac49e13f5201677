"""All errors of the package. The command line prints each as one line: what, where, what would be right."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class NasmetaError(Exception):
    """Base of all errors that this package raises on purpose. `exit_code` is the command's exit code."""

    exit_code = 1


class UserError(NasmetaError):
    """The input is wrong and the user can fix it: exit code 2, before anything expensive starts."""

    exit_code = 2


class ConfigError(UserError):
    """A key, an option or a value of the configuration is wrong. The message starts with the key."""


class UntrustedError(ConfigError):
    """A stored configuration needs a permission that only its user can give, such as `--trust-code`."""


class DataError(UserError):
    """A dataset is missing, damaged, or too small for the requested tasks. The message names the file."""


class ArchitectureError(UserError):
    """A string is not an architecture of the space, or an architecture cannot be built for these inputs."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, from a newer format, or does not fit. The message names the file."""


class RunDirectoryError(UserError):
    """A run directory is missing, in use, damaged, or already holds a run. The message names it."""


class RunFailed(NasmetaError):
    """The run itself could not continue, for instance because every candidate failed: exit code 1."""


class NothingFeasible(RunFailed):
    """No architecture that a strategy draws is feasible. nasmeta.run.constraints knows the reasons."""


class StorageError(NasmetaError):
    """A file cannot be written, mostly because the disk is full: exit code 1. Earlier files are unharmed."""


class TimedOut(NasmetaError):
    """A candidate took longer than `evaluator.max_seconds`. It counts as failed; the search continues."""


class Diverged(NasmetaError):
    """A meta-training's loss is not finite. The trial counts as failed; the search continues."""


class RunPruned(NasmetaError):
    """A sweep's study has ended a run early, which is no failure. `numbers`: those of its best network."""

    def __init__(self, message: str, numbers: Any) -> None:
        super().__init__(message)
        self.numbers = numbers


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; everything is saved. It ends a whole sweep and is not a failure."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """The end of an error line: the valid name closest to `name`, or all of them if none is close."""
    options = [str(option) for option in valid]
    close = get_close_matches(str(name), options, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(sorted(set(options))) or 'none'}"
