"""`nasmeta bench` measures how fast this machine meta-trains and evaluates a network."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasmeta.run.composition import Composition
from nasmeta.training.cuda_graphs import recorded_predict

MATRIX = 2048
"""Rows and columns of the matrices whose product measures the machine's speed."""


@dataclass(frozen=True)
class Measurement:
    """One row of the table.

    tasks_per_second: the median over `repeats`; slowest, fastest: the extremes, in tasks a second too.
    flops: of one task, 2 for each multiply-add of convolutions and matrix products, including those of every
    derivative that is taken. share: the fraction of a matrix product's measured rate that this is, in [0, 1].
    peak_mib: the most memory so far, of this process, or of the device if it is a CUDA GPU.
    """

    what: str
    tasks_per_second: float
    slowest: float
    fastest: float
    repeats: int
    flops: int
    share: float
    peak_mib: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def benchmark(
    composition: Composition, arch: str | None, *, seconds: float, repeats: int
) -> tuple[dict[str, Any], list[Measurement]]:
    """The setting of the measurement, and the rows: meta-training without and with sampling, and evaluation.

    `arch` is an architecture's string, None for the reference. Each row is warmed up, then repeated at least
    `repeats` times and for at least `seconds`.
    """
    space, keys = composition.space, composition.config.keys
    problem = composition.problem
    architecture = space.parse(arch) if arch else space.reference()
    training = problem.training(architecture, 10**9)
    counted = replace(problem, device=torch.device("meta")).initial_state(architecture)
    counted.network.execution = replace(counted.network.execution, precision="fp32")  # meta has no autocast
    state, learner = training.state, composition.learner
    batch = problem.train.batch(0, keys.task.meta_batch)
    valid = problem.valid.batch(0, keys.task.meta_batch)
    training.finish()
    counted.set_statistics({name: value.to("meta") for name, value in state.statistics.items()})
    predict = recorded_predict(learner, state)
    rate = matmul_rate(composition.device)

    one = type(batch)._make(part[:1].to("meta") for part in batch)
    training_flops = _flops(lambda: learner.meta_gradient(counted, one, 0))
    evaluation_flops = _flops(lambda: learner.predict(counted, *(part[:1].to("meta") for part in valid[:3])))
    jobs: list[tuple[str, Callable[[], object], int]] = [
        ("meta-training", lambda: training.step_on(batch), training_flops),
        ("meta-training, sampling included", training.step, training_flops),
        ("evaluation", lambda: predict(valid[:3]), evaluation_flops),
    ]
    rows = []
    for what, job, flops in jobs:
        taken = times(job, composition.device, seconds, repeats)
        speeds = [keys.task.meta_batch / t for t in taken]
        middle = statistics.median(speeds)
        share = flops * middle / rate
        peak = peak_mib(composition.device)
        rows.append(Measurement(what, middle, min(speeds), max(speeds), len(speeds), flops, share, peak))
    setting = {
        "arch": str(architecture),
        "learner": type(learner).__name__,
        "batch_norm": keys.batch_norm,
        "task_parallel": state.network.execution.task_parallel,
        "way": keys.task.way,
        "shot": keys.task.shot,
        "query": composition.dataset.queries("train", shot=keys.task.shot, query=keys.task.query),
        "meta_batch": keys.task.meta_batch,
        "cuda_graphs": state.network.execution.cuda_graphs,
        **composition.execution.in_use(composition.device),
        "device": str(composition.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matmul_gflops": rate / 1e9,
    }
    return setting, rows


def matmul_rate(device: torch.device) -> float:
    """Floating-point operations per second of a product of large float32 matrices, the best of five times."""
    a = torch.linspace(-1, 1, MATRIX**2, device=device).view(MATRIX, MATRIX)
    return 2.0 * MATRIX**3 / min(times(lambda: a @ a, device, 0.0, 5))


def peak_mib(device: torch.device) -> float:
    """The most memory used so far, in MiB: allocated on a CUDA device, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def times(job: Callable[[], object], device: torch.device, seconds: float, repeats: int) -> list[float]:
    """The seconds of each run, after two runs that warm up."""
    measured: list[float] = []
    for i in range(-2, 10**6):
        _wait(device)
        start = time.perf_counter()
        job()
        _wait(device)
        if i >= 0:
            measured.append(time.perf_counter() - start)
        if len(measured) >= repeats and sum(measured) >= seconds:
            break
    return measured


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _flops(job: Callable[[], object]) -> int:
    """The operations of one run on the meta device; they are the same on every device."""
    with FlopCounterMode(display=False) as counter:
        job()
    return int(counter.get_total_flops())
