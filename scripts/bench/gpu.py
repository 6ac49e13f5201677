#!/usr/bin/env python3
"""Times meta-training and evaluation on a GPU: learners, kernels and precisions beside each other.

    scripts/bench/gpu.py [--device cuda] [--seconds 0.3] [--meta-batches 32 4] [--profile] [KEY=VALUE ...]

The network is 4-conv-64 on images of 28x28, the tasks are 5-way 1-shot with 15 queries a class. Prints tasks
a second (medians), and the seconds until a new network is trained at full speed, its recording included. With
--profile there are the kernels of a meta-step too, by the share of its time.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from nasmeta.cli.bench import times
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.run.composition import Composition
from nasmeta.runtime import device
from nasmeta.training.cuda_graphs import recorded_predict

LEARNERS = {
    "protonet": ["meta_learner=protonet"],
    "maml": ["meta_learner=maml", "meta_learner.train_steps=5", "meta_learner.test_steps=5"],
    "fomaml": [
        *("meta_learner=fomaml", "meta_learner.train_steps=5", "meta_learner.test_steps=5"),
        "meta_learner.learn_inner_lr=false",
    ],
    "reptile": ["meta_learner=reptile", "meta_learner.test_steps=5"],
}
STEPS, ROWS = 10, 15
"""The meta-steps of a profile, and the kernels that it shows."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each figure")
    parser.add_argument("--meta-batches", type=int, nargs="+", default=[32, 4])
    parser.add_argument("--learners", nargs="+", choices=list(LEARNERS), default=list(LEARNERS))
    parser.add_argument("--kernels", nargs="+", default=["torch", "triton"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "bf16"])
    parser.add_argument("--graphs", nargs="+", default=["auto"], help="values of cuda_graphs")
    parser.add_argument("--profile", action="store_true", help="of the first of --meta-batches")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="other settings, for all rows")
    options = parser.parse_args()
    rows, profiles = [], []
    tasks = (options.learners, options.precisions, options.meta_batches)
    choices = (*tasks, options.kernels, options.graphs)
    for learner, precision, meta_batch, kernels, graphs in product(*choices):
        name = [learner, precision, meta_batch, kernels, graphs]
        keys = [f"precision={precision}", f"task.meta_batch={meta_batch}", f"kernels={kernels}"]
        keys = [*keys, f"cuda_graphs={graphs}"]
        keys = [*LEARNERS[learner], *keys, f"device={options.device}", *options.overrides]
        try:
            figures, step = measured(keys, meta_batch, options.seconds)
        except RuntimeError as error:  # the other rows are measured
            rows.append([*name, str(error).splitlines()[0][:60]])
            continue
        rows.append([*name, *figures])
        print(*rows[-1], flush=True)
        if options.profile and meta_batch == options.meta_batches[0]:
            profiles.append((name, kernels_of(step)))
        del step  # and with it the memory of its graph
    print(f"\n{device.kind(torch.device(options.device))}, torch {torch.__version__}; tasks a second\n")
    head = ["learner", "precision", "meta-batch", "kernels", "graphs"]
    head += ["training", "evaluation", "seconds to build"]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))
    for name, table in profiles:
        print(f"\n{' '.join(map(str, name))}\n{table}")


def measured(keys: list[str], meta_batch: int, seconds: float) -> tuple[list[str], Callable[[], object]]:
    """Training and evaluation in tasks a second, and the seconds to build; and a function that trains on."""
    composition = Composition.of(parse(composed(["dataset=strokes", *keys]), trusted=True))
    problem, place = composition.problem, composition.device
    problem.load()
    batch, valid = (s.batch(0, meta_batch) for s in (problem.train, problem.valid))
    device.wait(place)
    start = time.perf_counter()
    training = problem.training(problem.space.reference(), 10**9)
    for _ in range(3):
        training.step_on(batch)
    device.wait(place)
    built = time.perf_counter() - start

    def step() -> None:
        training.step_on(batch)

    trained = statistics.median(times(step, place, seconds, 5))
    training.finish()
    predict = recorded_predict(composition.learner, training.state)
    evaluated = statistics.median(times(lambda: predict(valid[:3]), place, seconds, 5))
    return [f"{meta_batch / trained:,.0f}", f"{meta_batch / evaluated:,.0f}", f"{built:.2f}"], step


def kernels_of(step: Callable[[], object]) -> str:
    """The kernels of a meta-step by their share of its time."""
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
    found = sorted(profiler.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in found)
    rows = [
        [
            row.key[:100],
            row.count / STEPS,
            f"{row.self_device_time_total / STEPS / 1000:.3f}",
            f"{100 * row.self_device_time_total / total:.1f}",
        ]
        for row in found[:ROWS]
    ]
    rows.append(["all", sum(row.count for row in found) / STEPS, f"{total / STEPS / 1000:.3f}", "100"])
    return str(tabulate(rows, ["kernel", "calls", "ms", "%"], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
