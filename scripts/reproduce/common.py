"""What the experiments share: their options, their data sets and their settings."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import yaml
from runs import Run, composing

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import DataError
from nasmeta.networks.cost import measure_cost
from nasmeta.run.composition import Composition
from nasmeta.runtime.command_lines import key_of
from nasmeta.trial import Cost

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
QUICK_SEEDS, FULL_SEEDS = [0, 1, 2], [0, 1, 2, 3, 4]
GREY = "dataset=image_folder dataset.size=28 dataset.channels=1"
DATASETS = {
    "omniglot-small": "dataset=omniglot dataset.variant=small",
    "icons": f"{GREY} task.query=5",
    "glyphs": f"{GREY} dataset.min_images=8 task.query=5",
    "emoji": "dataset=image_folder dataset.size=32 dataset.min_images=6 task.query=5",
    "strokes": "dataset=strokes",
}
"""Overrides of each data set. Folders of --data are named like the three that scripts/datasets make."""

OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w.]*=.*", re.DOTALL)
"""An override among the words of a command, wherever it stands: options that take several words end there."""

QUIET = ("logger=none", "progress=false")


@dataclass(frozen=True)
class Data:
    """A data set: its name, and the overrides that choose it."""

    name: str
    overrides: tuple[str, ...]

    @classmethod
    def of(cls, word: str, folder: Path | None) -> "Data":
        """One of DATASETS in the `folder` of --data, or a folder of one's own images. Raises DataError."""
        own = Path(word).expanduser()
        if word not in DATASETS and own.is_dir():
            return cls(own.resolve().name, (*GREY.split(), f"dataset.root={own.resolve()}"))
        if word not in DATASETS:
            raise DataError(f"--datasets: {word}: no such folder, and none of {', '.join(DATASETS)}")
        overrides = tuple(DATASETS[word].split())
        if word == "strokes":
            return cls(word, overrides)
        if folder is None:
            raise DataError(f"--data: {word} needs the folder of the data sets")
        root = folder.expanduser().resolve() / ("" if word == "omniglot-small" else word)
        if not root.is_dir():
            made = f"; this makes it: scripts/datasets/{word}.py --out {root}" * (word != "omniglot-small")
            raise DataError(f"{root}: no such folder{made}")
        return cls(word, (*overrides, f"dataset.root={root}"))


@dataclass(frozen=True)
class Options:
    """The options of every experiment. name: the experiment's, with its form. overrides: for every run."""

    name: str
    quick: bool
    data: Path | None
    datasets: list[str]
    seeds: list[int]
    out: Path
    page: Path
    jobs: int
    overrides: list[str]
    typed: list[str]
    """The words of the command, the script's name first."""
    chosen: dict[str, list[str]] = field(default_factory=dict)
    """Options of one experiment alone, by their names."""

    @classmethod
    def parsed(
        cls,
        name: str,
        description: str,
        datasets: Sequence[str],
        fixed: Mapping[str, str] | None = None,
        **choices: Sequence[str],
    ) -> "Options":
        """The command's options.

        fixed: keys that the experiment sets itself, and what to use instead of them. choices: further options
        that take some of these words, all by default.
        """
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--quick", action="store_true", help="for a CPU: 3 to 30 minutes a run on a core")
        parser.add_argument("--data", type=Path, help="folder of Omniglot's archives, icons, glyphs, emoji")
        parser.add_argument("--datasets", nargs="+", default=list(datasets), help="or folders of your images")
        parser.add_argument("--seeds", nargs="+", type=int, help="0 to 4, with --quick 0 to 2")
        parser.add_argument("--out", type=Path, help="folder of the runs (outputs/reproduce/EXPERIMENT-FORM)")
        parser.add_argument("--page", type=Path, help="file of the tables (OUT/EXPERIMENT-FORM.md)")
        parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the CPU's cores")
        for option, words in choices.items():
            parser.add_argument(f"--{option}", nargs="+", choices=list(words), default=list(words))
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="other settings, for all runs")
        overrides = [word for word in sys.argv[1:] if OVERRIDE.fullmatch(word)]
        given = parser.parse_args([word for word in sys.argv[1:] if word not in overrides])
        for word in given.overrides:
            parser.error(f"{word}: neither an option's value nor KEY=VALUE")
        for key, instead in {"seed": "--seeds", "dataset": "--datasets", **(fixed or {})}.items():
            if any(key_of(word) == key for word in overrides):
                parser.error(f"{key}: the experiment sets it; use {instead}")
        whole = f"{name}-{'quick' if given.quick else 'full'}"
        out = (given.out or Path("outputs/reproduce") / whole).resolve()
        return cls(
            name=whole,
            quick=given.quick,
            data=given.data,
            datasets=list(dict.fromkeys(given.datasets)),
            seeds=list(dict.fromkeys(given.seeds or (QUICK_SEEDS if given.quick else FULL_SEEDS))),
            out=out,
            page=given.page or out / f"{whole}.md",
            jobs=max(1, given.jobs),
            overrides=overrides,
            typed=[Path(sys.argv[0]).name, *sys.argv[1:]],
            chosen={option: list(dict.fromkeys(getattr(given, option))) for option in choices},
        )

    def data_sets(self) -> list[Data]:
        """Raises DataError if one cannot be found, or if two have the same name."""
        found: dict[str, Data] = {}
        for word in self.datasets:
            data = Data.of(word, self.data)
            if data.name in found:
                raise DataError(
                    f"--datasets: {word}: another one is called {data.name}; rename one of the two"
                )
            found[data.name] = data
        return list(found.values())

    def without(self, group: str) -> "Options":
        """The options without the typed settings of a group."""
        left = [word for word in self.overrides if key_of(word).partition(".")[0] != group]
        return replace(self, overrides=left)

    def units(self, unit: Callable[..., T], *choices: str) -> list[Callable[[], T]]:
        """Calls of `unit` for every data set, every value of the `choices`, and every seed, in this order."""
        combined = product(self.data_sets(), *(self.chosen[choice] for choice in choices), self.seeds)
        return [partial(unit, self, *values) for values in combined]

    def search(self, where: str, overrides: Sequence[str], *, seed: int, fixed: Sequence[str] = ()) -> "Run":
        """The run of `nasmeta search` in OUT/WHERE-SEED.

        Settings that the user typed come after the `overrides`; the `fixed` ones, which make the run what its
        row says, come last.
        """
        words = ("search", *overrides, *self.overrides, *fixed, f"seed={seed}", *QUIET)
        return Run(words, self.out / f"{where}-{seed}")

    def train(self, where: str, arch: str, overrides: Sequence[str], *, seed: int) -> "Run":
        """The run of `nasmeta train ARCH` in OUT/WHERE-SEED."""
        searched = self.search(where, overrides, seed=seed)
        return Run(("train", arch, *searched.command[1:]), searched.directory)

    @property
    def form(self) -> str:
        return "quick" if self.quick else "full"

    @property
    def threads(self) -> int:
        return max(1, (os.cpu_count() or 1) // self.jobs)


def settings(script: str) -> dict[str, list[str]]:
    """The groups of overrides in the YAML file next to the experiment's script."""
    text = Path(script).with_suffix(".yaml").read_text(encoding="utf-8")
    return {name: shlex.split(words) for name, words in yaml.safe_load(text).items()}


def reference_of(overrides: Sequence[str]) -> tuple[str, Cost]:
    """The reference's string and its cost, under these overrides."""
    with composing:
        composition = Composition.of(parse(composed([*overrides, "tune=null"]), trusted=True))
        reference = composition.space.reference()
        return str(reference), measure_cost(composition.space, reference, composition.task)


def within(cost: Cost) -> list[str]:
    """Overrides that allow a network to cost as much as that, and no more."""
    return [f"constraints.max_params={cost.params}", f"constraints.max_flops={cost.flops}"]
