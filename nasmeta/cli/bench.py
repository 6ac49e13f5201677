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

from nasmeta.meta_learners.state import MetaState
from nasmeta.run.composition import Composition
from nasmeta.runtime.device import wait
from nasmeta.task import TaskBatch
from nasmeta.training.cuda_graphs import recorded_predict
from nasmeta.training.problem import Problem

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
    space, device, meta_batch = composition.space, composition.device, composition.config.keys.task.meta_batch
    problem, learner = composition.problem, composition.learner
    architecture = space.parse(arch) if arch else space.reference()
    training = problem.training(architecture, 10**9)
    batch, valid = (sampler.batch(0, meta_batch) for sampler in (problem.train, problem.valid))
    state = training.state
    training.finish()
    training_flops, evaluation_flops = _flops_of_a_task(problem, architecture, state, batch, valid)
    predict = recorded_predict(learner, state)
    rate = matmul_rate(device)
    jobs: list[tuple[str, Callable[[], object], int]] = [
        ("meta-training", lambda: training.step_on(batch), training_flops),
        ("meta-training, sampling included", training.step, training_flops),
        ("evaluation", lambda: predict(valid[:3]), evaluation_flops),
    ]
    rows = []
    for what, job, flops in jobs:
        speeds = [meta_batch / taken for taken in times(job, device, seconds, repeats)]
        middle = statistics.median(speeds)
        share, peak = flops * middle / rate, peak_mib(device)
        rows.append(Measurement(what, middle, min(speeds), max(speeds), len(speeds), flops, share, peak))
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "matmul_gflops": rate / 1e9}
    return {"arch": str(architecture), **_setting(composition, state), **machine}, rows


def _flops_of_a_task(
    problem: Problem, arch: Any, state: MetaState, batch: TaskBatch, valid: TaskBatch
) -> tuple[int, int]:
    """The operations of one task in meta-training and in evaluation, counted on the meta device.

    state: a network of `arch`, with its statistics. batch, valid: tasks of meta-training and of evaluation.
    """
    counted = replace(problem, device=torch.device("meta")).initial_state(arch)
    execution = counted.network.execution  # the meta device has neither autocast nor Triton
    counted.network.execution = replace(execution, precision="fp32", kernels="torch")
    counted.set_statistics({name: value.to("meta") for name, value in state.statistics.items()})
    one, judged = (TaskBatch._make(part[:1].to("meta") for part in each) for each in (batch, valid))
    learner = problem.learner
    return (
        _flops(lambda: learner.meta_gradient(counted, one, 0)),
        _flops(lambda: learner.predict(counted, *judged[:3])),
    )


def _setting(composition: Composition, state: MetaState) -> dict[str, Any]:
    """What is measured: the learner, its tasks, and how they are computed."""
    keys, execution = composition.config.keys, state.network.execution
    return {
        "learner": type(composition.learner).__name__,
        "batch_norm": keys.batch_norm,
        "task_parallel": execution.task_parallel,
        "way": keys.task.way,
        "shot": keys.task.shot,
        "query": composition.dataset.queries("train", shot=keys.task.shot, query=keys.task.query),
        "meta_batch": keys.task.meta_batch,
        "cuda_graphs": execution.cuda_graphs,
        **composition.execution.in_use(composition.device),
        "device": str(composition.device),
    }


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
        wait(device)
        start = time.perf_counter()
        job()
        wait(device)
        if i >= 0:
            measured.append(time.perf_counter() - start)
        if len(measured) >= repeats and sum(measured) >= seconds:
            break
    return measured


def _flops(job: Callable[[], object]) -> int:
    """The operations of one run on the meta device; they are the same on every device."""
    with FlopCounterMode(display=False) as counter:
        job()
    return int(counter.get_total_flops())
