"""The directory of a run: everything that the run promises is in it, and one process at a time."""

from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

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
        self.pareto = path / "pareto"
        self.strategy = self.checkpoints / "strategy.pt"

    def weights(self, phase: str, trial: int) -> Path:
        """Where the meta-training of a trial keeps its progress, and leaves its weights."""
        return self.checkpoints / f"{phase}-{trial:05d}.pt"

    def front(self, trial: int) -> Path:
        """The checkpoint, like best.pt, of a trial on the Pareto front."""
        return self.pareto / f"{trial}.pt"

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
