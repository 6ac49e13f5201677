#!/usr/bin/env python3
"""What random draws of a space cost and are worth, beside the reference and its relatives.

    scripts/bench/draws.py [--count 20] [--iterations 300] [--archs FILE] [KEY=VALUE ...]

Draws are those of a search with the given constraints. Prints the quantiles of their parameters and FLOPs.
With --iterations, each is trained for as long, and its validation accuracy is printed with the median of each
group. --archs reads architectures, one a line, as a group of their own.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import Diverged
from nasmeta.networks.cost import measure_cost
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages
from nasmeta.trial import Cost

QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=0)
    parser.add_argument("--archs", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    space, task = composition.space, composition.task
    rng = seeding.stream(composition.config.keys.seed, "bench", "draws")
    groups: dict[str, list[Any]] = {
        "relatives": space.relatives(),
        "draws": [space.sample(rng) for _ in range(options.count)],
    }
    if options.archs:
        groups["file"] = [
            space.parse(line) for line in options.archs.read_text().splitlines() if line.strip()
        ]
    for name, archs in groups.items():
        print(f"{name}: {len(archs)} architectures")
        describe([measure_cost(space, arch, task) for arch in archs])
        if options.iterations:
            judge(composition, archs, options.iterations)


def describe(costs: list[Cost]) -> None:
    """Prints quantiles of the costs."""
    columns = {"parameters": [cost.params for cost in costs], "FLOPs": [cost.flops for cost in costs]}
    rows = [
        [name, *(f"{q:,.0f}" for q in np.quantile(values, QUANTILES))] for name, values in columns.items()
    ]
    print(tabulate(rows, ["quantile", *map(str, QUANTILES)], disable_numparse=True))


def judge(composition: Composition, archs: list[Any], iterations: int) -> None:
    """Trains each architecture. Prints its validation accuracy, 0 if it diverges, and the median of all."""
    problem, accuracies = composition.problem, []
    for arch in archs:
        training = problem.training(arch, iterations)
        try:
            while not training.done:
                training.step()
            training.finish()
            accuracies.append(problem.judge(training.state, lambda: False).accuracy or 0.0)
        except Diverged:
            accuracies.append(0.0)
        print(f"  {100 * accuracies[-1]:.1f} %  {arch}", flush=True)
    print(f"  {100 * statistics.median(accuracies):.1f} % median")


if __name__ == "__main__":
    main()
