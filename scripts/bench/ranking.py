#!/usr/bin/env python3
"""How far inherited accuracies can be believed: Kendall's tau with those of training from scratch.

    scripts/bench/ranking.py --architectures 30 --learners protonet fomaml --scratch-iterations 200 \
        dataset=omniglot dataset.variant=small dataset.root=../shared/data budget.search_iterations=3000

The overrides are Hydra's, as for `nasmeta search`: budget.search_iterations is the supernet's training,
budget.valid_tasks the tasks that both are judged on. For each meta-learner, one supernet is trained, and the
same random architectures of the space inherit from it and are trained from scratch. Prints a line a learner:
tau-b of accuracies inherited, and of losses (evaluator.criterion), with those trained, and its 95% bootstrap
intervals (architectures resampled); tau of the parameter count alone, and of the same judgements without
sharing: new weights, trained for evaluator.finetune_iterations; and seconds an architecture: from scratch, by
inheritance, their ratio, and of the supernet's training, paid once.
Needs scipy (`pip install "nasmeta[dev]"`).
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
from scipy.stats import kendalltau
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
from nasmeta.trial import TrialResult

RESAMPLES = 1000


@dataclass(frozen=True)
class Line:
    """The ranking of one learner: taus by accuracy and by loss, with intervals if weights are shared.

    Seconds are for one architecture, except `supernet_seconds`.
    """

    learner: str
    architectures: int
    by_accuracy: tuple[float, float, float]
    by_loss: tuple[float, float, float]
    unshared_by_accuracy: float
    unshared_by_loss: float
    by_params: float
    scratch_seconds: float
    inherit_seconds: float
    times_cheaper: float
    supernet_seconds: float


def main() -> None:
    options = arguments()
    keep_pages()
    lines = []
    for learner in options.learners:
        line, pairs = rank(learner, options)
        lines.append(line)
        if options.pairs:
            with options.pairs.open("a") as file:
                file.writelines(json.dumps({"learner": learner, **pair}) + "\n" for pair in pairs)
    if options.json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print(as_text(lines))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architectures", type=int, default=30)
    parser.add_argument("--learners", nargs="+", default=["protonet"], help="options of meta_learner")
    parser.add_argument("--scratch-iterations", type=int, required=True, help="of a training from scratch")
    parser.add_argument("--pairs", type=Path, help="JSON lines to append each architecture's numbers to")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args()


def rank(learner: str, options: argparse.Namespace) -> tuple[Line, list[dict[str, Any]]]:
    """The line of a learner, and the numbers of each architecture."""
    both = "evaluator.criterion=accuracy"  # with it results have losses, too
    overrides = ["evaluator=supernet", *options.overrides, f"meta_learner={learner}", both]
    composition = Composition.of(parse(composed(overrides), trusted=True))
    problem = composition.problem()
    problem.load()
    shared = composition.evaluator(problem)
    scratch = Scratch(max_seconds=None, problem=problem, keep=None)
    assert isinstance(shared, Supernet)
    archs = drawn(composition, shared, options.architectures)
    pairs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        inherit = problem.search_iterations
        began = time.perf_counter()
        judged(shared, archs[0], inherit, Path(folder) / "first.pt", "supernet")
        supernet_seconds = time.perf_counter() - began
        for number, arch in enumerate(archs):
            by_weights = judged(shared, arch, inherit, Path(folder) / "inherited.pt", f"{number}")
            path = Path(folder) / f"scratch-{number}.pt"
            by_training = judged(scratch, arch, options.scratch_iterations, path, f"{number}")
            path.unlink(missing_ok=True)
            alone = shared.score(problem.initial_state(problem.space.parse(arch)), inherit, lambda: False)
            pairs.append(
                {
                    "arch": arch,
                    "params": by_training.params,
                    "accuracy": lowest_if_failed(by_weights.valid_accuracy),
                    "minus_loss": lowest_if_failed(by_weights.valid_loss, -1),
                    "unshared_accuracy": lowest_if_failed(alone.accuracy),
                    "unshared_minus_loss": -alone.loss,
                    "scratch": lowest_if_failed(by_training.score),
                    "inherit_seconds": by_weights.seconds,
                    "scratch_seconds": by_training.seconds,
                }
            )
    return as_line(learner, pairs, supernet_seconds), pairs


def drawn(composition: Composition, evaluator: Evaluator, count: int) -> list[str]:
    """Different random architectures that can be built for the tasks within the constraints."""
    space, limits = composition.space, composition.config.keys.constraints
    rng = seeding.stream(composition.config.keys.seed, "ranking")
    found: dict[str, None] = {}
    for _ in range(1000 * count):
        arch = space.sample(rng)
        try:
            cost = evaluator.cost(arch)
        except ArchitectureError:
            continue
        assert cost is not None
        limited = ((cost.params, limits.max_params), (cost.flops, limits.max_flops))
        if all(limit is None or value <= limit for value, limit in limited):
            found[str(arch)] = None
        if len(found) == count:
            return list(found)
    sys.exit(f"only {len(found)} of {count} architectures found within the constraints")


def judged(evaluator: Evaluator, arch: str, iterations: int, path: Path, what: str) -> TrialResult:
    began = time.perf_counter()
    result = evaluator.evaluate(arch, iterations, 0, path, report=lambda _: None, stop=lambda: False)
    took = time.perf_counter() - began
    name = type(evaluator).__name__
    print(f"{name} {what}: {result.score} {result.reason or ''} in {took:.1f} s", file=sys.stderr)
    return result


def lowest_if_failed(value: float | None, sign: int = 1) -> float:
    return -math.inf if value is None else sign * value


def as_line(learner: str, pairs: list[dict[str, Any]], supernet_seconds: float) -> Line:
    columns = {name: np.array([pair[name] for pair in pairs]) for name in pairs[0]}
    scratch = columns["scratch"]
    draws = seeding.stream(0, "bootstrap").integers(len(pairs), size=(RESAMPLES, len(pairs)))

    def with_interval(values: Any) -> tuple[float, float, float]:
        low, high = np.quantile([tau(values[d], scratch[d]) for d in draws], (0.025, 0.975))
        return tau(values, scratch), float(low), float(high)

    costs = float(columns["scratch_seconds"].mean()), float(columns["inherit_seconds"].mean())
    return Line(
        learner,
        len(pairs),
        with_interval(columns["accuracy"]),
        with_interval(columns["minus_loss"]),
        tau(columns["unshared_accuracy"], scratch),
        tau(columns["unshared_minus_loss"], scratch),
        tau(columns["params"], scratch),
        *costs,
        costs[0] / costs[1],
        supernet_seconds,
    )


def tau(x: Any, y: Any) -> float:
    """Kendall's tau-b; 0 if a side is constant."""
    result = float(kendalltau(x, y).statistic)
    return 0.0 if math.isnan(result) else result


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
            *("{:+.2f} ({:+.2f} to {:+.2f})".format(*values) for values in (line.by_accuracy, line.by_loss)),
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
