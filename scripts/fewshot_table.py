#!/usr/bin/env python3
"""Meta-trains the architectures of a small space, one after the other, and writes what they reach to a CSV.

    scripts/fewshot_table.py --omniglot ../shared/data --minutes 40 --jobs 2

Each architecture is meta-trained by each learner on each dataset and judged at each budget of
meta-iterations; the longer training continues the shorter one. Architectures come in a fixed order: the
space's initial and reference ones, then all others, shuffled. What a row says depends neither on the number
of jobs nor on interruptions (`seconds` aside). It can be stopped at any time; started again it keeps the
rows that are there, drops a torn last line, and goes on.
"""

import argparse
import csv
import io
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import cache
from itertools import islice, product
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.networks.cost import measure_cost
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages
from nasmeta.training.problem import Problem
from nasmeta.training.score import score

TABLE = Path(__file__).resolve().parents[1] / "nasmeta" / "evaluators" / "tables" / "fewshot_conv.csv"
BUDGETS = (100, 300)
LEARNERS = {
    "protonet": ("meta_learner=protonet",),
    "fomaml": (
        *("meta_learner=fomaml", "meta_learner.train_steps=3", "meta_learner.test_steps=3"),
        *("meta_learner.learn_inner_lr=false", "meta_learner.inner_lr=0.2"),
    ),
}
DATASETS = {
    "strokes": ("dataset=strokes",),
    "omniglot-small": ("dataset=omniglot", "dataset.variant=small", "dataset.download=false"),
}
SETTINGS = (
    "search_space=conv_small",
    "seed=0",
    "device=cpu",
    "task_parallel=loop",  # a worker has one core
    "batch_norm=support",
    "task.way=5",
    "task.shot=1",
    "task.query=5",
    "task.meta_batch=2",
    "optimizer=adam",
    "optimizer.lr=0.003",
    "optimizer.schedule=constant",  # so that a long training begins like a short one
    "budget.valid_tasks=160",
    "budget.test_tasks=160",
)


@dataclass(frozen=True)
class Row:
    """A line of the table. Accuracies are fractions, seconds the CPU time of meta-training and validation."""

    arch: str
    learner: str
    dataset: str
    iterations: int
    valid_accuracy: float | None
    valid_ci95: float
    test_accuracy: float | None
    test_ci95: float
    params: int
    flops: int
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.arch, self.learner, self.dataset, str(self.iterations)

    def line(self) -> str:
        cells = ["" if value is None else value for value in astuple(self)]
        return ",".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells) + "\n"


COLUMNS = [field.name for field in fields(Row)]


@dataclass(frozen=True)
class Unit:
    """One meta-training, which gives a row at each of its budgets. `settings` are overrides."""

    arch: str
    learner: str
    dataset: str
    budgets: tuple[int, ...]
    settings: tuple[str, ...]

    @property
    def keys(self) -> list[tuple[str, str, str, str]]:
        return [(self.arch, self.learner, self.dataset, str(budget)) for budget in self.budgets]


def main() -> None:
    options = _options()
    extra = tuple(options.overrides)
    if extra and options.table == TABLE:
        sys.exit("fewshot_table.py: --table: other settings make another table; name its file")
    data = {name: DATASETS[name] for name in options.datasets}
    if "omniglot-small" in data:
        data["omniglot-small"] += (f"dataset.root={options.omniglot.resolve()}",)
    space = composition((*SETTINGS, *extra)).space
    done = prepare(options.table)
    units = [
        Unit(
            arch,
            learner,
            dataset,
            tuple(sorted(options.budgets)),
            (*SETTINGS, *LEARNERS[learner], *data[dataset], *extra),
        )
        for arch in islice(architectures(space), options.architectures)
        for learner, dataset in product(LEARNERS, data)
    ]
    waiting = [unit for unit in units if not done.issuperset(unit.keys)]
    print(f"{len(waiting)} of {len(units)} meta-trainings to do", file=sys.stderr)
    deadline = time.monotonic() + 60 * options.minutes
    with open(options.table, "a") as table:
        for rows in in_order(meta_train, waiting, options.jobs, lambda: time.monotonic() > deadline):
            table.write("".join(row.line() for row in rows if row.key not in done))
            table.flush()
            os.fsync(table.fileno())
            print(rows[-1].line(), end="", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="the CSV (default: the one that ships)")
    parser.add_argument("--omniglot", type=Path, help="folder of the images_background_small*.zip archives")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, help="meta-iterations")
    parser.add_argument("--architectures", type=int, help="the first so many (default: the whole space)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begins nothing after so many")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes of one thread each")
    parser.add_argument("overrides", nargs="*", help="other settings than the table's, as for nasmeta search")
    options = parser.parse_args()
    if "omniglot-small" in options.datasets and options.omniglot is None:
        parser.error("--omniglot FOLDER is needed for omniglot-small (or choose --datasets strokes)")
    return options


def architectures(space: Any) -> Iterator[str]:
    """All architectures of a finite space, each once: initial, reference, then the others, shuffled."""
    first = [space.initial(), space.reference()]
    known = dict.fromkeys(first)
    for arch in (queue := list(known)):
        new = [other for other in space.neighbors(arch) if other not in known]
        known.update(dict.fromkeys(new))
        queue += new
    others = sorted(str(arch) for arch in known if arch not in first)
    yield from dict.fromkeys(map(str, first))
    for index in seeding.stream(0, "fewshot table").permutation(len(others)):
        yield others[index]


def prepare(path: Path) -> set[tuple[str, str, str, str]]:
    """Makes the file ready to be appended to, and returns the keys of the rows that it holds."""
    header = ",".join(COLUMNS) + "\n"
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole and not whole.startswith(header):
        sys.exit(f"{path}: is another table: its first line is {whole.splitlines()[0]!r}, not {header!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if whole != text or not whole:
        path.write_text(whole or header)
    rows = csv.DictReader(io.StringIO(whole or header))
    return {(row["arch"], row["learner"], row["dataset"], row["iterations"]) for row in rows}


def in_order(
    work: Callable[[Unit], list[Row]], units: Iterable[Unit], jobs: int, stop: Callable[[], bool]
) -> Iterator[list[Row]]:
    """Yields work(unit) for each unit in turn, from `jobs` processes. Begins no unit once stop() is true."""
    pending: deque[Future[list[Row]]] = deque()
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin_worker) as pool:
        for unit in units:
            if stop():
                break
            pending.append(pool.submit(work, unit))
            # Twice as many as run at a time, so that no process waits for a long unit at the head.
            if len(pending) >= 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _begin_worker() -> None:
    keep_pages()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@cache
def composition(settings: tuple[str, ...]) -> Composition:
    return Composition.of(parse(composed(list(settings)), trusted=True))


@cache
def loaded(settings: tuple[str, ...]) -> tuple[Problem, EpisodeSampler]:
    """The learning problem and the meta-test episodes, loaded once in each process."""
    return composition(settings).problem, composition(settings).sampler("test")


def meta_train(unit: Unit) -> list[Row]:
    """The rows of the unit. A network that diverged gets the accuracy of its predictions, which is chance."""
    problem, test = loaded(unit.settings)
    test_tasks = composition(unit.settings).config.keys.budget.test_tasks
    arch = problem.space.parse(unit.arch)
    cost = measure_cost(problem.space, arch, problem.task)
    training = problem.training(arch, unit.budgets[-1])
    rows, seconds = [], 0.0
    for budget in unit.budgets:
        began = time.process_time()
        while training.iteration < budget:
            training.step()
        valid = problem.judge(training.state, lambda: False)
        seconds += time.process_time() - began
        tested = score(problem.learner, training.state, test, test_tasks)
        rows.append(
            Row(
                unit.arch,
                unit.learner,
                unit.dataset,
                budget,
                valid.accuracy,
                valid.ci95,
                tested.accuracy,
                tested.ci95,
                cost.params,
                cost.flops,
                seconds,
            )
        )
    return rows


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped: the same command goes on from here", file=sys.stderr, flush=True)
        os._exit(130)  # does not wait for the trainings in progress
