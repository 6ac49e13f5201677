#!/usr/bin/env python3
"""What each zero-cost proxy is worth: Kendall's tau with the accuracies of a table of meta-trained networks.

    scripts/bench/proxies.py --table fewshot_conv.csv --learner protonet --dataset strokes --iterations 300 \
        search_space=conv_small meta_learner=protonet task.query=5 task.meta_batch=2

The overrides are Hydra's, as for `nasmeta search`: they say what the table's networks were trained on, and
evaluator.batches how many batches a proxy sees. Prints one line a proxy: tau-b over the table's
architectures, its 95% bootstrap interval (architectures resampled), the paired difference to parameters
alone with its interval, seconds an architecture, and how many values were not finite (they count as the
lowest). `vote` is the mean rank among the table's architectures of the voters, evaluator.voters.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from kendall import draws, interval, spread, tau
from tabulate import tabulate

from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.evaluators.tabular.open_table import open_table
from nasmeta.evaluators.zero_cost.proxies import PROXIES
from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.evaluators.zero_cost.vote import vote
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages

BASELINE = "params"


@dataclass(frozen=True)
class Line:
    """The worth of one proxy. Intervals are (low, high)."""

    proxy: str
    tau: float
    interval: tuple[float, float]
    over_params: float
    over_params_interval: tuple[float, float]
    seconds: float
    not_finite: int


def main() -> None:
    options = arguments()
    keep_pages()
    table = open_table(options.table, options.learner, options.dataset)
    composition = Composition.of(parse(composed(["evaluator=zero_cost", *options.overrides]), trusted=True))
    accuracies = {}
    for arch in dict.fromkeys(table.archs):
        validated = table.valid(arch, options.iterations)
        if validated is not None:
            test = table.test(arch, options.iterations)
            accuracies[arch] = validated.accuracy if options.accuracy == "valid" else test.accuracy
    if len(accuracies) < 2:
        sys.exit(f"{options.table}: has {len(accuracies)} architectures of {options.iterations} iterations")
    archs = list(accuracies)[: options.limit]
    values, seconds = measure(composition, archs, options.proxy or list(PROXIES))
    voters = [name for name in composition.config.groups["evaluator"]["voters"] if name in values]
    if len(voters) > 1:
        reference = list(zip(*(values[name] for name in voters), strict=True))
        values["vote"] = [vote(row, reference) for row in reference]
        seconds["vote"] = sum(seconds[name] for name in voters)
    lines = worth(values, seconds, [accuracies[arch] for arch in archs], options.resamples)
    if options.json:
        print(json.dumps([asdict(line) for line in lines]))
    else:
        print(
            f"{len(archs)} architectures, {options.accuracy} accuracy after {options.iterations} iterations\n"
        )
        print(as_text(lines))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, required=True, help="as evaluator.table")
    parser.add_argument("--learner", help="whose rows, as evaluator.learner")
    parser.add_argument("--dataset", help="of which dataset, as evaluator.dataset")
    parser.add_argument("--iterations", type=int, required=True, help="of which budget")
    parser.add_argument("--accuracy", choices=("valid", "test"), default="valid")
    parser.add_argument("--proxy", action="append", choices=tuple(PROXIES), help="again for more; all")
    parser.add_argument("--limit", type=int, help="the table's first so many architectures")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    return parser.parse_intermixed_args()


def measure(
    composition: Composition, archs: list[str], proxies: list[str]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Each proxy's values for the architectures, and its mean seconds for one; params is always included."""
    problem, space = composition.problem, composition.space
    batches = composition.config.groups["evaluator"]["batches"]
    names = list(dict.fromkeys([BASELINE, *proxies]))
    values: dict[str, list[float]] = {name: [] for name in names}
    seconds = dict.fromkeys(names, 0.0)
    for number, arch in enumerate(archs, 1):
        net = Untrained.of(problem, space.parse(arch), batches)
        for name in names:
            began = time.perf_counter()
            values[name].append(PROXIES[name](net))
            seconds[name] += (time.perf_counter() - began) / len(archs)
        if number % 10 == 0:
            print(f"{number} of {len(archs)} architectures", file=sys.stderr)
    return values, seconds


def worth(
    values: dict[str, list[float]], seconds: dict[str, float], accuracies: list[float], resamples: int
) -> list[Line]:
    """A line for each proxy, the best first. All share the same resamples, so that differences are paired."""
    columns = {name: np.array([finite_or_lowest(v) for v in column]) for name, column in values.items()}
    target, drawn = np.array(accuracies), draws(len(accuracies), resamples)
    taus = {name: np.array([tau(column[d], target[d]) for d in drawn]) for name, column in columns.items()}
    baseline = tau(columns[BASELINE], target)
    lines = [
        Line(
            name,
            tau(column, target),
            interval(taus[name]),
            tau(column, target) - baseline,
            interval(taus[name] - taus[BASELINE]),
            seconds[name],
            sum(not math.isfinite(v) for v in values[name]),
        )
        for name, column in columns.items()
    ]
    return sorted(lines, key=lambda line: -line.tau)


def finite_or_lowest(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def as_text(lines: list[Line]) -> str:
    headers = ["proxy", "Kendall's tau", "over parameters alone", "s / architecture", "not finite"]
    rows = [
        [
            line.proxy,
            spread(line.tau, *line.interval),
            spread(line.over_params, *line.over_params_interval),
            f"{line.seconds:.3f}",
            line.not_finite,
        ]
        for line in lines
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
