"""A dataset of which only some splits are read, for a network that is already meta-trained."""

from collections.abc import Collection
from dataclasses import replace

import torch

from nasmeta.datasets.base import Dataset, EpisodeSampler
from nasmeta.datasets.contents import SplitContents
from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import DataError
from nasmeta.task import SPLITS, Split, TaskSpec


class PartOfDataset(Dataset):
    """The given `splits` of `dataset`. The other splits are known only by `task`, that of a checkpoint.

    Without a dataset no split can be read, and the inputs are those of the task.
    """

    def __init__(
        self, task: TaskSpec, dataset: Dataset | None = None, splits: Collection[Split] = ()
    ) -> None:
        self._task, self._dataset, self._splits = task, dataset, splits
        source = task if dataset is None else dataset
        self.kind, self.input_shape = source.kind, source.input_shape

    def _of(self, split: Split) -> Dataset | None:
        return self._dataset if split in self._splits else None

    def num_classes(self, split: Split) -> int | None:
        dataset = self._of(split)
        if dataset is not None:
            return dataset.num_classes(split)
        return self._task.train_classes if split == "train" else None

    def examples_per_class(self, split: Split) -> int | None:
        dataset = self._of(split)
        return None if dataset is None else dataset.examples_per_class(split)

    def notices(self, *, shot: int, query: int, splits: Collection[Split] = SPLITS) -> list[str]:
        """As Dataset.notices, for the splits that are read."""
        read = [split for split in splits if self._of(split)]
        return [] if self._dataset is None else self._dataset.notices(shot=shot, query=query, splits=read)

    def check_episodes(self, split: Split, *, way: int, shot: int, way_key: str = "task.way") -> None:
        """As Dataset.check_episodes, for the splits that are read."""
        dataset = self._of(split)
        if dataset is not None:
            dataset.check_episodes(split, way=way, shot=shot, way_key=way_key)

    def sampler(
        self, split: Split, *, way: int, shot: int, query: int, seed: int, device: torch.device
    ) -> EpisodeSampler:
        """As Dataset.sampler. Raises DataError for a split that is not read."""
        return self._read(split).sampler(split, way=way, shot=shot, query=query, seed=seed, device=device)

    def contents(self, split: Split) -> SplitContents:
        """As Dataset.contents. Raises DataError for a split that is not read."""
        return self._read(split).contents(split)

    @property
    def preprocessing(self) -> Preprocessing | None:
        return None if self._dataset is None else self._dataset.preprocessing

    def task_spec(self, way: int) -> TaskSpec:
        outputs = way if self.kind == "classification" else self._task.outputs
        return replace(self._task, kind=self.kind, input_shape=self.input_shape, outputs=outputs)

    def _read(self, split: Split) -> Dataset:
        dataset = self._of(split)
        if dataset is None:
            raise DataError(f"the {split} split of a checkpoint's dataset is not at hand")
        return dataset
