#!/usr/bin/env python3
"""Meta-training and evaluation speed of random architectures of a space: what does the slowest cost, and why?

    scripts/bench/architectures.py [--count 30] [--seconds 1] [KEY=VALUE ...]

Prints one line an architecture, slowest first by the share of the machine's matrix-multiply rate that its
meta-training reaches. Run it on a quiet machine.
"""

import argparse
import statistics

from tabulate import tabulate

from nasmeta import seeding
from nasmeta.cli.bench import benchmark
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ArchitectureError
from nasmeta.networks.cost import measure_cost
from nasmeta.reporting.numbers import human
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    archs = ["(reference) " + str(composition.space.reference()), *sample(composition, options.count)]
    rows = []
    for name in archs:
        setting, (training, _, evaluation) = benchmark(
            composition, name.removeprefix("(reference) "), seconds=options.seconds, repeats=3
        )
        rows.append(
            (training.share, training.tasks_per_second, evaluation.tasks_per_second, training.flops, name)
        )
    rows.sort()
    print(
        tabulate(
            [(f"{100 * s:.0f} %", f"{t:.1f}", f"{e:.1f}", human(f), name) for s, t, e, f, name in rows],
            ["of matmul rate", "training tasks/s", "evaluation tasks/s", "FLOPs a task", "architecture"],
            disable_numparse=True,
        )
    )
    shares = [row[0] for row in rows]
    print(f"\nmedian {100 * statistics.median(shares):.0f} % of {setting['matmul_gflops']:.0f} GFLOP/s")


def sample(composition: Composition, count: int) -> list[str]:
    """Random architectures that can be built for the tasks."""
    rng = seeding.stream(composition.config.keys.seed, "bench", "architectures")
    found: list[str] = []
    while len(found) < count:
        arch = composition.space.sample(rng)
        try:
            measure_cost(composition.space, arch, composition.task)
        except ArchitectureError:
            continue
        found.append(str(arch))
    return found


if __name__ == "__main__":
    main()
