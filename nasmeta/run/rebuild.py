"""A run's composition, made again in a worker process."""

from dataclasses import replace

from nasmeta.config.schema import Config
from nasmeta.datasets.base import Dataset
from nasmeta.errors import DataError
from nasmeta.executors.base import Judge
from nasmeta.run.composition import Composition
from nasmeta.task import Split

WORKER_SPLITS: tuple[Split, ...] = ("train", "valid")
"""The splits that a worker process uses."""


def rebuild(config: Config, data: dict[Split, str], device: str, dataset: Dataset | None = None) -> Judge:
    """Makes in another process what runs the jobs of a run with this configuration, and with its `trust`.

    device: what it computes on, whatever the configuration says. `data` holds the fingerprints of the run's
    data by split. dataset: the run's, with its data; None to read the files. Raises DataError if this process
    sees other data.
    """
    keys = config.keys.model_copy(update={"device": device})
    composition = Composition.of(replace(config, keys=keys), dataset)
    evaluators = composition.evaluators
    evaluators.load()
    for split, fingerprint in data.items():
        found = composition.dataset.contents(split).fingerprint
        if found != fingerprint:
            raise DataError(
                f"dataset: a worker found other {split} data than the run (fingerprint {found}, not "
                f"{fingerprint}); give all of them the same files, and start or resume the run"
            )
    return evaluators.evaluate


def fingerprints(composition: Composition) -> dict[Split, str]:
    """The fingerprints of the splits that a worker uses, for `rebuild`; empty if no network is trained."""
    return {split: composition.data[split].fingerprint for split in WORKER_SPLITS} if composition.data else {}
