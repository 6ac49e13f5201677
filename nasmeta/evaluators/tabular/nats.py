"""The official files of NATS-Bench's topology space (Dong et al. 2021, arXiv:2009.00437).

Their own package reads them: `pip install "nasmeta[nats]"`. The file `NATS-tss-v1_0-*.pickle.pbz2` is loaded
whole; the folder `NATS-tss-v1_0-*-simple` is read one architecture at a time.
`evaluator.dataset` is cifar10, cifar100 or ImageNet16-120. A trial's budget is 12 or 200 epochs, each the end
of a separate training. Accuracies are means over the table's seeds (`is_random=False`).

As in the package's `simulate_train_eval`, CIFAR-10 is validated by the networks trained on its training half
("cifar10-valid") and tested by those trained on both halves ("cifar10"). A trial's seconds are those of
training and of one validation.

Two warnings. The files are pickles, which can run code: take them only from their authors. And this code was
tested against an imitation of nats_bench 1.8, never against the files.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.tabular.table import Table, Validated
from nasmeta.trial import Cost, MetaTested

DATASETS = ("cifar10", "cifar100", "ImageNet16-120")
MILLION = 10**6


class NatsTable(Table):
    """NATS-Bench's table. Raises ConfigError if the package or the dataset's name is missing."""

    budgets = (12, 200)
    has_costs = True

    def __init__(self, path: Path, dataset: str | None) -> None:
        if dataset not in DATASETS:
            near = suggest(str(dataset), DATASETS)
            raise ConfigError(f"evaluator.dataset: got {dataset!r}, and NATS-Bench has three; {near}")
        self._validated_on = "cifar10-valid" if dataset == "cifar10" else dataset
        self._tested_on = dataset
        self._api = _open(path)

    @property
    def archs(self) -> Iterable[str]:
        archs: list[str] = self._api.meta_archs
        return archs

    def valid(self, arch: str, iterations: int) -> Validated | None:
        if iterations not in self.budgets or self._api.query_index_by_arch(arch) < 0:
            return None
        info = self._info(arch, self._validated_on, iterations)
        seconds = float(info["train-all-time"] + info["valid-per-time"])
        return Validated(info["valid-accuracy"] / 100, seconds=seconds)

    def test(self, arch: str, iterations: int) -> MetaTested:
        return MetaTested(self._info(arch, self._tested_on, iterations)["test-accuracy"] / 100, None)

    def cost(self, arch: str) -> Cost | None:
        index = self._api.query_index_by_arch(arch)
        if index < 0:
            return None
        info = self._api.get_cost_info(index, self._tested_on)  # in millions
        return Cost(round(info["params"] * MILLION), round(info["flops"] * MILLION))

    def _info(self, arch: str, dataset: str, epochs: int) -> dict[str, Any]:
        index = self._api.query_index_by_arch(arch)
        info: dict[str, Any] = self._api.get_more_info(index, dataset, hp=str(epochs), is_random=False)
        return info


def _open(path: Path) -> Any:
    try:
        nats_bench = importlib.import_module("nats_bench")
    except ImportError as error:
        raise ConfigError(
            f'evaluator.table: {path} is read by a package that is not here: pip install "nasmeta[nats]"'
        ) from error
    try:
        return nats_bench.create(str(path), "topology", fast_mode=path.is_dir(), verbose=False)
    except Exception as error:  # whatever another kind of pickle raises there
        raise ConfigError(f"evaluator.table: {path}: nats_bench cannot read it: {error}") from error
