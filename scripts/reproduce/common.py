"""What the experiments share: their options, their data, and runs of nasmeta that are made once.

A run that is done is read, one that was interrupted is resumed, the others are begun. So every script can be
killed at any time and started again.
"""

import argparse
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

import numpy as np
import torch
import yaml

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import DataError, NasmetaError, RunDirectoryError, RunFailed
from nasmeta.networks.cost import measure_cost
from nasmeta.run import journal, records
from nasmeta.run.composition import Composition
from nasmeta.run.directory import read_config
from nasmeta.run.summary import read_summary
from nasmeta.runtime import files
from nasmeta.trained.meta_test import MetaTest
from nasmeta.trial import Cost

ROOT = Path(__file__).resolve().parents[2]
QUICK_SEEDS, FULL_SEEDS = [0, 1, 2], [0, 1, 2, 3, 4]
GREY = "dataset=image_folder dataset.size=28 dataset.channels=1"
DATASETS = {
    "omniglot-small": "dataset=omniglot dataset.variant=small",
    "icons": f"{GREY} task.query=10",
    "glyphs": f"{GREY} dataset.min_images=8 task.query=5",
    "emoji": "dataset=image_folder dataset.size=32 dataset.min_images=6 task.query=5",
    "strokes": "dataset=strokes",
}
"""Overrides of each data set. Folders of --data are named like the three that scripts/datasets make."""

T = TypeVar("T")

OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w.]*=.*", re.DOTALL)
"""An override among the words of a command, wherever it stands: options that take several words end there."""

QUIET = ("tensorboard=false", "progress=false")


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
        cls, name: str, description: str, datasets: Sequence[str], **choices: Sequence[str]
    ) -> "Options":
        """The command's options. choices: further options that take some of these words, all by default."""
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--quick", action="store_true", help="at most 20 minutes a run on two CPU cores")
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
        whole = f"{name}-{'quick' if given.quick else 'full'}"
        out = (given.out or Path("outputs/reproduce") / whole).resolve()
        return cls(
            name=whole,
            quick=given.quick,
            data=given.data,
            datasets=given.datasets,
            seeds=given.seeds or (QUICK_SEEDS if given.quick else FULL_SEEDS),
            out=out,
            page=given.page or out / f"{whole}.md",
            jobs=max(1, given.jobs),
            overrides=overrides,
            typed=[Path(sys.argv[0]).name, *sys.argv[1:]],
            chosen={option: getattr(given, option) for option in choices},
        )

    def data_sets(self) -> list[Data]:
        return [Data.of(word, self.data) for word in self.datasets]

    def search(self, where: str, overrides: Sequence[str], *, seed: int) -> "Run":
        """The run of `nasmeta search` in OUT/WHERE-SEED."""
        words = ("search", *overrides, f"seed={seed}", *QUIET, *self.overrides)
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


_composing = Lock()
"""Hydra composes one configuration at a time in a process."""


def reference_of(overrides: Sequence[str]) -> tuple[str, Cost]:
    """The reference's string and its cost, under these overrides."""
    with _composing:
        composition = Composition.of(parse(composed([*overrides, "tune=null"]), trusted=True))
        reference = composition.space.reference()
        return str(reference), measure_cost(composition.space, reference, composition.task)


def within(cost: Cost) -> list[str]:
    """Overrides that allow a network to cost as much as that, and no more."""
    return [f"constraints.max_params={cost.params}", f"constraints.max_flops={cost.flops}"]


_children: set[subprocess.Popen[bytes]] = set()
_stopping = Event()


@dataclass(frozen=True)
class Run:
    """One run of nasmeta: its words, without the program and the directory, and its directory."""

    command: tuple[str, ...]
    directory: Path

    @property
    def _made(self) -> Path:
        return self._beside("json")

    @property
    def summary(self) -> dict[str, Any]:
        return read_summary(self.directory / "summary.json", None)

    @property
    def config(self) -> dict[str, Any]:
        return read_config(self.directory / "config.json")

    @property
    def circumstances(self) -> dict[str, Any]:
        """Command, day and hardware of the run's first start."""
        return json.loads(self._made.read_text(encoding="utf-8"))

    def make(self, threads: int) -> "Run":
        """Makes the run, or what is left of it. Raises RunFailed, or RunDirectoryError for other settings."""
        if not self._made.exists():
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            facts = json.dumps({"command": self.command, "day": time.strftime("%Y-%m-%d"), **hardware()})
            files.write_atomically(self._made, facts.encode())
        elif self.circumstances["command"] != list(self.command):
            raise RunDirectoryError(f"{self.directory}: was made by other settings; name another --out")
        if (self.directory / "run.lock").exists():
            with files.locked(self.directory / "run.lock", -1):  # a process of a killed script may be at work
                pass
        if not (self.directory / "summary.json").exists():
            begun = (self.directory / "journal.jsonl").exists()
            place = f"hydra.run.dir={self.directory}"
            self._run(["resume", str(self.directory)] if begun else [*self.command, place], threads)
        return self

    def _run(self, words: list[str], threads: int) -> bytes:
        """What a command of nasmeta prints to its standard output. Raises RunFailed with its last error."""
        print(
            f"{time.strftime('%H:%M:%S')} nasmeta {words[0]}: {self.directory}", file=sys.stderr, flush=True
        )
        if _stopping.is_set():
            raise RunFailed(f"{self.directory}: not begun")
        log = self._beside("log")
        with log.open("ab") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "nasmeta", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={"OMP_NUM_THREADS": str(threads), **os.environ},
                start_new_session=True,  # so that Ctrl-C reaches this process alone, which passes it on
            )
            _children.add(child)
            if _stopping.is_set():  # since the look above
                child.terminate()
            printed, _ = child.communicate()
            _children.remove(child)
        if child.returncode != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
            raise RunFailed(
                f"{self.directory}: nasmeta {words[0]} ended with {child.returncode}: {lines[-1]}"
            )
        return printed

    def _beside(self, suffix: str) -> Path:
        """A file of this script next to the run's directory."""
        return self.directory.with_name(f"{self.directory.name}.{suffix}")

    def evaluated(self, *words: str, threads: int) -> dict[str, Any]:
        """The answer of `nasmeta evaluate RUN --json` with more words, asked once."""
        stored = self._beside("evaluated.json")
        if not stored.exists():
            answer = self._run(["evaluate", str(self.directory), "--json", *words], threads)
            files.write_atomically(stored, answer)
        return json.loads(stored.read_text(encoding="utf-8"))

    def iterations(self) -> int:
        """The meta-iterations that the search phase spent."""
        events = journal.events(self.directory / "journal.jsonl")
        asked = {event.trial: event for event in events if isinstance(event, records.Asked)}
        continued = [asked[event.continues] for event in asked.values() if event.continues is not None]
        return sum(each.iterations for each in asked.values()) - sum(each.iterations for each in continued)

    def per_task(self) -> np.ndarray:
        """The accuracy of best.pt on each of its meta-test tasks, computed once."""
        stored = self._beside("npy")
        if not stored.exists():
            with _composing:
                test = MetaTest.of(self.directory / "best.pt", [], trusted=False)
            with files.replacing(stored) as file:
                np.save(file, test.score(test.state).per_task.numpy())
        return np.load(stored)


def hardware() -> dict[str, Any]:
    """The names of processor and GPU, and how many cores there are."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count(), "gpu": gpu}


def in_parallel(units: Sequence[Callable[[], T]], jobs: int, done: Callable[[list[T]], None]) -> list[str]:
    """Calls all units, `jobs` at a time. After each, `done` is told of all results so far, in order.

    Returns why units failed, a line each; the others go on.
    """
    failures: list[str] = []
    results: dict[int, T] = {}
    pool = ThreadPoolExecutor(jobs)
    numbers = {pool.submit(unit): number for number, unit in enumerate(units)}
    try:
        for future in as_completed(numbers):
            try:
                results[numbers[future]] = future.result()
            except NasmetaError as error:
                failures.append(str(error))
                print(error, file=sys.stderr, flush=True)
            else:
                done([results[number] for number in sorted(results)])
    except BaseException:
        _stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(_children):
            child.terminate()  # it saves, and ends
        raise
    finally:
        pool.shutdown()
    return failures


def command(main: Callable[[], list[str]]) -> int:
    """Runs an experiment, which returns what failed, and returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 1 if main() else 0
    except NasmetaError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr)
        return 130
