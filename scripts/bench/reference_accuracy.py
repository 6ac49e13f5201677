#!/usr/bin/env python3
"""What the hand-designed reference reaches by so much meta-training, in seconds or in meta-iterations.

    scripts/bench/reference_accuracy.py --seconds 600 dataset=omniglot dataset.variant=small \
        dataset.root=../shared/data meta_learner=protonet batch_norm=running

Overrides are Hydra's, as for `nasmeta search`. The number of meta-iterations that fit into the seconds is
measured first, so that a learning-rate schedule ends with the budget; the budget counts meta-training alone.
`--iterations` compares versions: a faster one must learn as much from as many. Tests the last iterate once,
on budget.test_tasks meta-test tasks. Prints one JSON line.
"""

import argparse
import json
import math
import sys
import time
from typing import Any

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages
from nasmeta.training.problem import Problem
from nasmeta.training.score import score

WARMUP = 5
MEASURED = 0.02
"""The share of the budget during which the pace is measured."""


def affordable(problem: Problem, arch: Any, seconds: float) -> int:
    """The number of meta-iterations that fit into `seconds`."""
    trial = problem.training(arch, 10**9)
    for _ in range(WARMUP):
        trial.step()
    start = time.perf_counter()
    while time.perf_counter() - start < max(3.0, MEASURED * seconds):
        trial.step()
    pace = (trial.iteration - WARMUP) / (time.perf_counter() - start)
    return max(1, round(seconds * pace))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--seconds", type=float, default=600)
    budget.add_argument("--iterations", type=int, help="instead of seconds")
    parser.add_argument("--arch", help="another architecture than the space's reference, as its string")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    problem = composition.problem
    space = composition.space
    arch = space.parse(options.arch) if options.arch else space.reference()

    iterations = options.iterations or affordable(problem, arch, options.seconds)
    longest = math.inf if options.iterations else 1.05 * options.seconds
    training = problem.training(arch, iterations)
    start = time.perf_counter()
    while not training.done and time.perf_counter() - start < longest:
        training.step()
        if training.iteration % max(1, iterations // 10) == 0:
            progress, seconds = training.read(), time.perf_counter() - start
            print(
                f"{seconds:.0f} s, {progress.iteration} of {iterations} iterations, "
                f"loss {progress.loss:.3f}, accuracy {progress.accuracy}",
                file=sys.stderr,
            )
    seconds = time.perf_counter() - start
    training.finish()
    valid = problem.judge(training.state, lambda: False)
    tasks = composition.config.keys.budget.test_tasks
    test = score(composition.learner, training.state, composition.sampler("test"), tasks)
    keys = composition.config.keys
    print(
        json.dumps(
            {
                "overrides": options.overrides,
                "arch": str(arch),
                "seconds": round(seconds, 1),
                "iterations": training.iteration,
                "tasks_seen": training.iteration * keys.task.meta_batch,
                "batch_norm": keys.batch_norm,
                "valid_accuracy": valid.accuracy,
                "test_accuracy": test.accuracy,
                "test_ci95": test.ci95,
                "test_tasks": test.tasks,
            }
        )
    )


if __name__ == "__main__":
    main()
