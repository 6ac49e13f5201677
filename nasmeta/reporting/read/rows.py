"""Runs side by side: a row for each run, and those that differ by their seed alone as one setting."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasmeta.config.keys import has_effect
from nasmeta.errors import ConfigError, suggest
from nasmeta.reporting.read.differences import OPTION, differing_keys, shown
from nasmeta.reporting.read.load import Run, load_all
from nasmeta.reporting.read.outcome import final_score, is_accuracy, outcome
from nasmeta.reporting.read.statistics import Mean, mean_of
from nasmeta.runtime.command_lines import values_of

OWN_COLUMN = "batch_norm"
"""A setting that is among a row's numbers."""

COLUMNS = 6
"""How many of the settings in which runs differ are shown."""

BEST_FIRST = ("accuracy", "difference")
"""Endings of the keys whose largest value is sorted first. All other keys start with the smallest."""


@dataclass(frozen=True)
class Row:
    """A run in a comparison.

    name: its path, shortened. numbers: its outcome, see `outcome`. settings: its values of the settings in
    which the compared runs differ. shown: how these read in a table, the most telling first.
    """

    name: str
    run: Run
    numbers: dict[str, Any]
    settings: dict[str, Any]
    shown: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for one line of JSON."""
        where = {"name": self.name, "directory": str(self.run.path)}
        return {**where, **self.numbers, "settings": self.settings}

    def label(self, *, seed: bool = True) -> str:
        """The shown settings in one line; without settings the run's name, or "all runs" without its seed."""
        kept = [f"{key}={value}" for key, value in self.shown.items() if seed or key != "seed"]
        return " ".join(kept[:COLUMNS]) or (self.name if seed else "all runs")


@dataclass(frozen=True)
class Setting:
    """Tested runs that differ by their seed alone, one for each seed; or one run that is like no other."""

    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        return self.rows[0].label(seed=len(self.rows) == 1)

    @property
    def accuracy(self) -> bool:
        """Whether the scores are accuracies, not losses."""
        return is_accuracy(self.rows[0].numbers)

    @property
    def scores(self) -> list[float]:
        """The test score of each run."""
        return [score for row in self.rows if (score := final_score(row.numbers)) is not None]

    @property
    def ci95(self) -> list[float]:
        """The half-width of each score's 95% interval over tasks."""
        return [row.numbers["test_ci95"] or 0.0 for row in self.rows]

    @property
    def test(self) -> Mean:
        """The mean of the test scores. The interval of a single run is over its tasks."""
        mean = self.mean("test_accuracy" if self.accuracy else "test_loss")
        assert mean is not None, "all are tested"
        return self._of_one_run(mean, "test_ci95")

    @property
    def reference(self) -> Mean | None:
        """That of the reference, likewise."""
        mean = self.mean("reference_test_accuracy" if self.accuracy else "reference_test_loss")
        return mean and self._of_one_run(mean, "reference_test_ci95")

    @property
    def difference(self) -> Mean | None:
        """Chosen minus reference. A search that ends with the reference has gained nothing: 0."""
        differences = [0.0 if r.numbers["is_reference"] else r.numbers["difference"] for r in self.rows]
        mean = mean_of(differences)
        return mean and self._of_one_run(mean, "difference_ci95")

    def _of_one_run(self, mean: Mean, ci95: str) -> Mean:
        """The mean with the run's own interval over tasks, if there is one run and it has one."""
        if len(self.rows) > 1:
            return mean
        half_width = self.rows[0].numbers[ci95]
        return Mean(mean.mean, half_width, 1) if half_width else mean

    def mean(self, name: str) -> Mean | None:
        """The mean of a number of `outcome`."""
        return mean_of([row.numbers[name] for row in self.rows])


def rows_of(paths: Sequence[Path], sort: str | None = None) -> list[Row]:
    """The runs in all `paths`, in the order in which they are found or sorted by `sort`.

    `sort` is a key of `Row.to_dict` or of the configuration. Raises RunDirectoryError for a path without a
    run, and ConfigError for a key that no run has.
    """
    runs = load_all(paths)
    keys = [key for key in differing_keys([r.settings for r in runs if r.settings]) if key != OWN_COLUMN]
    names, texts = short_names([run.path for run in runs]), _shown(runs, keys)
    rows = [
        Row(name, run, outcome(run), {key: run.settings.get(key) for key in keys}, shown)
        for name, run, shown in zip(names, runs, texts, strict=True)
    ]
    return rows if sort is None else _sorted(rows, sort)


def _shown(runs: Sequence[Run], keys: Sequence[str]) -> list[dict[str, str]]:
    """What tables show of the settings: what was typed if all runs were typed alike, as the jobs of a sweep.

    Otherwise chosen options come first, then the keys that were typed for any run, then the others, and among
    those the ones with the most values.
    """
    typed = [_typed(run) for run in runs]
    if typed[0] and all(each.keys() == typed[0].keys() for each in typed):
        different = [key for key in typed[0] if len({each[key] for each in typed}) > 1 and has_effect(key)]
        if _tell_apart(runs, [{key: each[key] for key in different} for each in typed]):
            return [{key: each[key] for key in different} for each in typed]
    ever = {key for each in typed for key in each}
    values = {key: len({repr(run.settings.get(key)) for run in runs}) for key in keys}
    first = sorted(keys, key=lambda key: (not key.endswith(OPTION), key not in ever, -values[key]))
    return [dict(shown(key, run.settings) for key in first) for run in runs]


def _typed(run: Run) -> dict[str, str]:
    """The overrides of the run's command by key."""
    return values_of(run.command.overrides if run.command else ())


def _tell_apart(runs: Sequence[Run], typed: Sequence[dict[str, str]]) -> bool:
    """Whether runs with the same typed values have the same configuration."""
    known: dict[frozenset[tuple[str, str]], object] = {}
    return all(
        known.setdefault(frozenset(values.items()), _key(run)) == _key(run)
        for run, values in zip(runs, typed, strict=True)
    )


def _key(run: Run, without: str = "") -> frozenset[tuple[str, str]]:
    """What tells the run's settings from those of others, except for one key: also that they changed."""
    settings = [*run.settings.items(), *((change, True) for change in run.changes)]
    return frozenset((key, repr(value)) for key, value in settings if key != without and has_effect(key))


def settings_of(rows: Sequence[Row]) -> list[Setting]:
    """The settings of the tested runs, in the order of their first runs."""
    groups: dict[frozenset[tuple[str, str]], dict[Any, Row]] = {}
    for row in rows:
        if final_score(row.numbers) is not None:
            by_seed = groups.setdefault(_key(row.run, "seed"), {})
            by_seed[row.numbers["seed"]] = row  # a run that was made twice counts once
    return [Setting(tuple(by_seed.values())) for by_seed in groups.values()]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that they have in common. A single path becomes its last part."""
    whole = [path.resolve() for path in paths]
    shared = os.path.commonpath([path.parent for path in whole])
    return [str(path.relative_to(shared)) for path in whole]


def _sorted(rows: list[Row], key: str) -> list[Row]:
    values = [{**row.to_dict(), **row.run.settings}.get(key) for row in rows]
    if all(value is None for value in values):
        known = [name for name in rows[0].to_dict() if name != "settings"]
        raise ConfigError(f"--sort {key}: no run has it; {suggest(key, [*known, *rows[0].run.settings])}")
    falling = key.endswith(BEST_FIRST)

    def place(pair: tuple[Row, Any]) -> tuple[bool, bool, float, str]:
        value = pair[1]
        number = float(value) if isinstance(value, int | float) else 0.0
        is_text = isinstance(value, str)
        return value is None, is_text, -number if falling else number, str(value) if is_text else ""

    return [row for row, _ in sorted(zip(rows, values, strict=True), key=place)]
