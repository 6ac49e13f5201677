#!/usr/bin/env python3
"""Cells of NAS-Bench-201 for few-shot tasks: who finds which in equal time, and what they are worth.

    scripts/bench/cells.py --results cells.jsonl --runs cells --seeds 3 --seconds 150 --iterations 1500 \
        dataset=omniglot dataset.variant=small dataset.root=../shared/data

Every method of `METHODS` searches by `nasmeta search` until `--seconds` are over, on one core. The cell that
it ends with is then trained from scratch for `--iterations` and meta-tested; so are the space's reference and
a random cell, which cost no search. All of a seed are tested on the same tasks. Overrides are Hydra's, for
searches and trainings alike. Prints means over seeds with standard errors, in Markdown.

Seeds are the outer loop, and each cell is a line of the results file: lines that it has already, of the same
budgets and overrides, are not made again, and a search that was interrupted goes on in its run directory.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import results_file
from children import cpu_seconds
from means import with_error
from tabulate import tabulate

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import Diverged
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages
from nasmeta.search_spaces.nasbench201 import Nasbench201Cell
from nasmeta.training.score import score

SETTING = [
    "search_space=nasbench201",
    "search_space.width=8",
    "search_space.stages=2",
    "meta_learner=protonet",
    "task.query=5",
    "task.meta_batch=1",
    "optimizer.lr=0.003",
    "budget.valid_tasks=50",
    "budget.final_tasks=50",
]
"""The network is narrow enough for tens of trainings from scratch in a search."""

EVOLUTION = "strategy=evolution strategy.start=random strategy.population_size=10 strategy.sample_size=3"
SCRATCH = "evaluator=scratch budget.search_iterations=100 budget.trials=100000"
SHARED = "evaluator=supernet budget.trials=100000"
GRADIENT = (
    "strategy=differentiable strategy.architecture_lr=0.005 budget.search_iterations=1 budget.trials=40"
)
METHODS = {
    "random": f"strategy=random {SCRATCH}",
    "rea": f"{EVOLUTION} {SCRATCH}",
    "spos": f"{EVOLUTION} {SHARED} budget.search_iterations=1000",
    "enas": f"strategy=reinforce {SHARED} budget.search_iterations=300 evaluator.iterations_per_trial=5",
    "darts": f"{GRADIENT} strategy.epoch_iterations=10",
    "gdas": f"{GRADIENT} strategy.epoch_iterations=30 strategy.edges=gumbel strategy.temperature_start=10",
}
"""Their overrides. The gradient searches' 40 epochs and SPOS' shared weights are sized for about 130 s."""

SLOW = (
    "strategy=differentiable strategy.architecture_lr=0.003 strategy.epoch_iterations=25 "
    "budget.search_iterations=1 budget.trials=20"
)
GUARDED = {
    "unguarded": SLOW,
    "guard-skips": f"{SLOW} strategy.guard=skips",
    "guard-eigenvalue": f"{SLOW} strategy.guard=eigenvalue",
}
"""First-order DARTS in small steps, with and without a guard that stops it before it collapses to skips."""

WITHOUT_WEIGHTS = ("none", "skip", "pool")
"""Operations on the six edges of a cell that have no weights, by what their names contain."""

UNSEARCHED: dict[str, Callable[[Any, int], Any]] = {
    "reference": lambda space, seed: space.reference(),
    "random cell": lambda space, seed: space.sample(seeding.stream(seed, "cells")),
}


@dataclass(frozen=True)
class Found:
    """What a search ended with. looks: the number of candidates that it judged, or of its epochs.

    cpu_seconds includes the start and the end of the process, but not the time before an interruption.
    """

    arch: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    looks: int = 0


@dataclass(frozen=True)
class Outcome:
    """One method with one seed. Accuracies are fractions, and None if the training in full diverged."""

    method: str
    seed: int
    seconds: float
    iterations: int
    overrides: list[str]
    arch: str
    looks: int
    search_seconds: float
    search_cpu_seconds: float
    params: int
    train_seconds: float
    test_accuracy: float | None
    test_ci95: float | None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=[*METHODS, *GUARDED, *UNSEARCHED],
        default=[*METHODS, *UNSEARCHED],
        metavar="METHOD",
        help=f"of {', '.join([*METHODS, *UNSEARCHED])}, which are the default, and {', '.join(GUARDED)}",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, required=True, help="of a search")
    parser.add_argument("--iterations", type=int, required=True, help="of a cell's training in full")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines to append to")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run directories")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args()
    keep_pages()
    outcomes = []
    for seed in range(options.seeds):
        for method in options.methods:
            asked = {
                "method": method,
                "seed": seed,
                "seconds": options.seconds,
                "iterations": options.iterations,
                "overrides": options.overrides,
            }
            known = [each for each in results_file.kept(options.results) if asked.items() <= each.items()]
            if not known:
                known = [asked | made(method, seed, options)]
                results_file.append(options.results, known[-1])
                print(known[-1], file=sys.stderr, flush=True)
            outcomes.append(Outcome(**known[-1]))
    print(as_text(outcomes))


def made(method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What one method finds with one seed, and what that is worth: fields of an `Outcome`."""
    setting = [*SETTING, *options.overrides, f"seed={seed}"]
    composition = Composition.of(parse(composed(setting), trusted=True))
    if method in UNSEARCHED:
        found = Found(str(UNSEARCHED[method](composition.space, seed)))
    else:
        searches = METHODS | GUARDED
        budget = [f"budget.max_seconds={options.seconds}", "budget.final_candidates=1"]
        no_final = ["budget.final_iterations=1", "budget.test_tasks=2"]
        found = searched(
            [*setting, *searches[method].split(), *budget, *no_final],
            options.runs / f"{method}-{seed}",
        )
    cell: Nasbench201Cell = composition.space.parse(found.arch)
    return {
        "arch": found.arch,
        "looks": found.looks,
        "search_seconds": found.seconds,
        "search_cpu_seconds": found.cpu_seconds,
        **tested(composition, cell, options.iterations),
    }


def searched(overrides: list[str], folder: Path) -> Found:
    """The end of the search in a run directory.

    Starts or resumes the search if it has not ended. A run of other settings ends the script.
    """
    before = cpu_seconds()
    begun = (folder / "journal.jsonl").exists()
    arguments = (
        ["resume", str(folder), *overrides] if begun else ["search", *overrides, f"hydra.run.dir={folder}"]
    )
    command = [sys.executable, "-m", "nasmeta", *arguments]
    ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
    if ended.returncode != 0:
        sys.exit(ended.returncode)  # it has said why
    summary = json.loads((folder / "summary.json").read_text())
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    end = next(record for record in records if record["event"] == "searched")
    others = [finalist["arch"] for finalist in summary["finalists"] if not finalist["is_reference"]]
    return Found(
        others[0] if others else summary["best"]["arch"],
        end["elapsed"],
        cpu_seconds() - before,
        summary["trials"],
    )


def tested(composition: Composition, cell: Nasbench201Cell, iterations: int) -> dict[str, Any]:
    """Trains the cell from scratch and meta-tests it."""
    problem = composition.problem
    training = problem.training(cell, iterations)
    began = time.perf_counter()
    facts = {"params": sum(p.numel() for p in training.state.parameters.values())}
    try:
        while not training.done:
            training.step()
        training.read()
    except Diverged:
        return facts | {"train_seconds": math.nan, "test_accuracy": None, "test_ci95": None}
    training.finish()
    seconds = time.perf_counter() - began
    tasks = composition.config.keys.budget.test_tasks
    test = score(composition.learner, training.state, composition.sampler("test"), tasks)
    return facts | {"train_seconds": seconds, "test_accuracy": test.accuracy, "test_ci95": test.ci95}


def as_text(outcomes: list[Outcome]) -> str:
    """The table that the module's docstring describes. A diverged training counts as the worst: 0 %."""
    rows = []
    for method in dict.fromkeys(o.method for o in outcomes):
        own = [o for o in outcomes if o.method == method]
        columns: dict[str, list[float]] = {
            "test accuracy, %": [100 * (o.test_accuracy or 0) for o in own],
            **{f"{op} of 6": [o.arch.count(op) for o in own] for op in WITHOUT_WEIGHTS},
            "looks": [o.looks for o in own],
            "s search": [o.search_seconds for o in own],
            "CPU s": [o.search_cpu_seconds for o in own],
            "parameters": [o.params for o in own],
        }
        accuracy, *others = columns.values()
        means = [f"{np.mean(values):.{1 if max(values) < 10 else 0}f}" for values in others]
        rows.append([method, len(own), with_error(accuracy, 2), *means])
    headers = ["method", "seeds", *columns]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
