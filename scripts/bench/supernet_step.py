#!/usr/bin/env python3
"""What weight sharing costs a meta-training step: a supernet's beside the plain network's, same architecture.

    scripts/bench/supernet_step.py --architectures 5 --steps 20 meta_learner=protonet

Overrides are Hydra's, as for `nasmeta search`. Of each architecture (the reference, then random ones of the
space) both are trained by turns on the same episodes, so that both see the same machine. Prints a line an
architecture: median milliseconds of a step of either, the ratio, and what the supernet's step spends on
making the sub-network; then the parameters of all shared tensors.
"""

import argparse
import statistics
import time

from tabulate import tabulate

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ArchitectureError
from nasmeta.evaluators.supernet.training import SupernetTraining
from nasmeta.run.composition import Composition
from nasmeta.runtime.allocator import keep_pages

WARMUP = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architectures", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args()
    keep_pages()
    composition = Composition.of(parse(composed(options.overrides), trusted=True))
    problem, space = composition.problem, composition.space
    shared = SupernetTraining(problem, problem.optimizer, "uniform", 10**9)
    rng = seeding.stream(composition.config.keys.seed, "supernet step")
    rows: list[list[object]] = []
    arch = space.reference()
    while len(rows) < options.architectures:
        try:
            plain = problem.training(arch, 10**9)
        except ArchitectureError:
            arch = space.sample(rng)
            continue
        shared.path = arch
        times: dict[str, list[float]] = {"plain": [], "shared": [], "made": []}
        for step in range(WARMUP + options.steps):
            batch = problem.train.batch(step, problem.meta_batch)
            for name, job in (
                ("plain", lambda: plain.step_on(batch)),  # noqa: B023 - called at once
                ("shared", lambda: shared.step_on(batch)),  # noqa: B023
                ("made", lambda: shared.weights.subnetwork(arch)),  # noqa: B023
            ):
                began = time.perf_counter()
                job()
                if step >= WARMUP:
                    times[name].append(1000 * (time.perf_counter() - began))
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratio = medians["shared"] / medians["plain"]
        rows.append([str(arch), *(f"{m:.1f}" for m in medians.values()), f"{ratio:.2f}"])
        arch = space.sample(rng)
    headers = ["architecture", "plain ms", "shared ms", "making ms", "ratio"]
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))
    count = sum(p.numel() for p in shared.weights.parameters.values())
    print(f"\nshared: {count:,} parameters in {len(shared.weights.parameters)} tensors")


if __name__ == "__main__":
    main()
