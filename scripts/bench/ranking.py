#!/usr/bin/env python3
"""How far cheap judgements can be believed: Kendall's tau with the accuracies of training from scratch.

    scripts/bench/ranking.py --architectures 30 --learners protonet fomaml --scratch-iterations 200 \
        dataset=omniglot dataset.variant=small dataset.root=../shared/data budget.search_iterations=3000
    scripts/bench/ranking.py --signals --architectures 16 --scratch-iterations 800 \
        dataset=omniglot dataset.variant=small dataset.root=../shared/data budget.search_iterations=120

The overrides are Hydra's, as for `nasmeta search`. All judgements are of the same random architectures of the
space and on the same budget.valid_tasks tasks. Intervals are 95% bootstrap intervals (architectures
resampled).

Without --signals the judgements are those of a supernet, trained for budget.search_iterations. Prints a line
a learner: tau-b of accuracies inherited, and of losses (evaluator.criterion), with those trained, and its
intervals; tau of the parameter count alone, and of the same judgements without sharing: new weights, trained
for evaluator.finetune_iterations; and seconds an architecture: from scratch, by inheritance, their ratio, and
of the supernet's training, paid once.

With --signals they are what a short training of budget.search_iterations shows, whose learning-rate schedule
is its own: accuracy, loss and training speed, the options of evaluator.criterion. Prints a line for each:
tau-b with the accuracy of the long training, and the paired difference to the accuracy's tau, with intervals.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kendall import draws, interval, spread, tau
from tabulate import tabulate

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.base import Evaluator
from nasmeta.evaluators.scratch import Scratch
from nasmeta.evaluators.supernet.evaluator import Supernet
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages
from nasmeta.training.problem import Problem
from nasmeta.trial import Job, TrialResult

RESAMPLES = 1000

Interval = tuple[float, float, float]
"""A value with the ends of its 95% interval."""


@dataclass(frozen=True)
class Line:
    """The ranking of one learner: taus by accuracy and by loss, with intervals if weights are shared.

    Seconds are for one architecture, except `supernet_seconds`.
    """

    learner: str
    architectures: int
    by_accuracy: Interval
    by_loss: Interval
    unshared_by_accuracy: float
    unshared_by_loss: float
    by_params: float
    scratch_seconds: float
    inherit_seconds: float
    times_cheaper: float
    supernet_seconds: float


@dataclass(frozen=True)
class Signal:
    """The worth of one signal of a short training. over_accuracy: how much its tau exceeds the accuracy's."""

    learner: str
    architectures: int
    signal: str
    tau: Interval
    over_accuracy: Interval


def main() -> None:
    options = arguments()
    keep_pages()
    lines: list[Any] = []
    for learner in options.learners:
        found, pairs = (signals if options.signals else rank)(learner, options)
        lines += found
        if options.pairs:
            with options.pairs.open("a") as file:
                file.writelines(json.dumps({"learner": learner, **pair}) + "\n" for pair in pairs)
    if options.json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print(signals_as_text(lines) if options.signals else as_text(lines))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signals", action="store_true", help="judge what short trainings show, see above")
    parser.add_argument("--architectures", type=int, default=30)
    parser.add_argument("--learners", nargs="+", default=["protonet"], help="options of meta_learner")
    parser.add_argument("--scratch-iterations", type=int, required=True, help="of a training from scratch")
    parser.add_argument("--pairs", type=Path, help="JSON lines to append each architecture's numbers to")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args()


def prepared(learner: str, options: argparse.Namespace, *overrides: str) -> tuple[Composition, Problem]:
    """What the overrides compose, and its problem with the data loaded."""
    given = [*overrides, *options.overrides, f"meta_learner={learner}"]
    composition = Composition.of(parse(composed(given), trusted=True))
    problem = composition.problem
    problem.load()
    return composition, problem


def signals(learner: str, options: argparse.Namespace) -> tuple[list[Signal], list[dict[str, Any]]]:
    """A line for each signal, and the numbers of each architecture."""
    composition, problem = prepared(learner, options)
    scratch = Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=None)
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, arch in enumerate(drawn(composition, scratch, options.architectures)):
            path = Path(folder) / f"{number}.pt"
            short = judged(scratch, arch, problem.search_iterations, path, f"{number} short")
            path.unlink(missing_ok=True)
            long = judged(scratch, arch, options.scratch_iterations, path, f"{number} long")
            path.unlink(missing_ok=True)
            pairs.append(
                {
                    "arch": arch,
                    "params": short.params,
                    "accuracy": lowest_if_failed(short.valid_accuracy),
                    "loss": lowest_if_failed(short.valid_loss, -1),
                    "training_speed": lowest_if_failed(short.train_loss, -1),
                    "scratch": lowest_if_failed(long.score),
                }
            )
    return as_signals(learner, pairs), pairs


def as_signals(learner: str, pairs: list[dict[str, Any]]) -> list[Signal]:
    """A line for each signal, all over the same resamples, so that differences are paired."""
    names = ("accuracy", "loss", "training_speed", "params")
    taus = {name: resampled(pairs, name) for name in names}
    own = taus["accuracy"]
    return [
        Signal(learner, len(pairs), name, with_interval(row), with_interval(row - own))
        for name, row in taus.items()
    ]


def rank(learner: str, options: argparse.Namespace) -> tuple[list[Line], list[dict[str, Any]]]:
    """The line of a learner, and the numbers of each architecture."""
    both = "evaluator.criterion=accuracy"  # with it results have losses, too
    composition, problem = prepared(learner, options, "evaluator=supernet", both)
    shared = composition.evaluator(problem)
    scratch = Scratch(max_seconds=None, criterion="accuracy", problem=problem, keep=None)
    assert isinstance(shared, Supernet)
    archs = drawn(composition, shared, options.architectures)
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, inherit = Path(name), problem.search_iterations
        began = time.perf_counter()
        judged(shared, archs[0], inherit, folder / "first.pt", "supernet")
        supernet_seconds = time.perf_counter() - began
        for number, arch in enumerate(archs):
            paths = [folder / f"{what}-{number}.pt" for what in ("inherited", "scratch", "alone")]
            by_weights = judged(shared, arch, inherit, paths[0], f"{number}")
            by_training = judged(scratch, arch, options.scratch_iterations, paths[1], f"{number}")
            state = problem.initial_state(problem.space.parse(arch))
            alone = shared.judged(state, arch, inherit, paths[2], lambda: False)
            pairs.append(
                {
                    "arch": arch,
                    "params": by_training.params,
                    "accuracy": lowest_if_failed(by_weights.valid_accuracy),
                    "minus_loss": lowest_if_failed(by_weights.valid_loss, -1),
                    "unshared_accuracy": lowest_if_failed(alone.valid_accuracy),
                    "unshared_minus_loss": lowest_if_failed(alone.valid_loss, -1),
                    "scratch": lowest_if_failed(by_training.score),
                    "inherit_seconds": by_weights.seconds,
                    "scratch_seconds": by_training.seconds,
                }
            )
            for path in paths:
                path.unlink(missing_ok=True)
    return [as_line(learner, pairs, supernet_seconds)], pairs


def drawn(composition: Composition, evaluator: Evaluator, count: int) -> list[str]:
    """Different random architectures that can be built for the tasks within the constraints."""
    space, limits = composition.space, composition.config.keys.constraints.limits
    rng = seeding.stream(composition.config.keys.seed, "ranking")
    found: dict[str, None] = {}
    for _ in range(1000 * count):
        arch = space.sample(rng)
        try:
            cost = evaluator.cost(arch)
        except ArchitectureError:
            continue
        assert cost is not None
        if limits.allow(cost):
            found[str(arch)] = None
        if len(found) == count:
            return list(found)
    sys.exit(f"only {len(found)} of {count} architectures found within the constraints")


def judged(evaluator: Evaluator, arch: str, iterations: int, path: Path, what: str) -> TrialResult:
    began = time.perf_counter()
    job = Job(phase="search", trial=0, arch=arch, iterations=iterations, weights=path)
    result = evaluator.evaluate(job, lambda _: None, lambda: False)
    took = time.perf_counter() - began
    name = type(evaluator).__name__
    print(f"{name} {what}: {result.score} {result.reason or ''} in {took:.1f} s", file=sys.stderr)
    return result


def lowest_if_failed(value: float | None, sign: int = 1) -> float:
    return -math.inf if value is None else sign * value


def as_line(learner: str, pairs: list[dict[str, Any]], supernet_seconds: float) -> Line:
    scratch_seconds, inherit_seconds = (
        float(np.mean([pair[name] for pair in pairs])) for name in ("scratch_seconds", "inherit_seconds")
    )
    return Line(
        learner,
        len(pairs),
        with_interval(resampled(pairs, "accuracy")),
        with_interval(resampled(pairs, "minus_loss")),
        float(resampled(pairs, "unshared_accuracy")[0]),
        float(resampled(pairs, "unshared_minus_loss")[0]),
        float(resampled(pairs, "params")[0]),
        scratch_seconds,
        inherit_seconds,
        scratch_seconds / inherit_seconds,
        supernet_seconds,
    )


def resampled(pairs: list[dict[str, Any]], name: str) -> Any:
    """Tau of a value with the accuracy from scratch, [1 + RESAMPLES]: over all pairs, then over resamples."""
    values, scratch = (np.array([pair[key] for pair in pairs]) for key in (name, "scratch"))
    rows = [np.arange(len(pairs)), *draws(len(pairs), RESAMPLES)]
    return np.array([tau(values[d], scratch[d]) for d in rows])


def with_interval(taus: Any) -> Interval:
    """The first value, and the 95% percentile interval of the others."""
    return float(taus[0]), *interval(taus[1:])


def signals_as_text(lines: list[Signal]) -> str:
    headers = ["learner", "n", "signal", "Kendall's tau", "over accuracy"]
    rows = [
        [line.learner, line.architectures, line.signal, spread(*line.tau), spread(*line.over_accuracy)]
        for line in lines
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def as_text(lines: list[Line]) -> str:
    headers = [
        "learner",
        "n",
        "tau by accuracy",
        "tau by loss",
        "without sharing",
        "parameters alone",
        "s scratch",
        "s inherited",
        "x",
        "s supernet",
    ]
    rows = [
        [
            line.learner,
            line.architectures,
            spread(*line.by_accuracy),
            spread(*line.by_loss),
            f"{line.unshared_by_accuracy:+.2f}, {line.unshared_by_loss:+.2f}",
            f"{line.by_params:+.2f}",
            f"{line.scratch_seconds:.1f}",
            f"{line.inherit_seconds:.2f}",
            f"{line.times_cheaper:.0f}",
            f"{line.supernet_seconds:.0f}",
        ]
        for line in lines
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
