"""Every architecture meta-trained from its own initialization: the slow, honest evaluator."""

import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nasmeta.errors import Interrupted
from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.limits import FAILURES, Limit, check_finite, failure
from nasmeta.networks.cost import measure_cost
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.problem import Problem
from nasmeta.training.score import Score, Stop
from nasmeta.trial import Cost, TrialResult

READ_EVERY = 10
"""Meta-iterations between two readings of the metrics. Each reading waits for the device."""


class Scratch(Evaluator):
    """Meta-trains every candidate from its own initialization, and judges it.

    max_seconds: the limit for one candidate; None for no limit. It applies to counting a network's cost, to
    building it, and to training and judging it together. The final trainings have no limit.
    """

    final = "scratch"
    continues = True

    def __init__(self, *, max_seconds: Annotated[float, Field(gt=0)] | None, problem: Problem) -> None:
        self.problem, self.max_seconds = problem, max_seconds

    def cost(self, arch: Any) -> Cost:
        return Limit(self.max_seconds).run(measure_cost, self.problem.space, arch, self.problem.task)

    def evaluate(
        self,
        arch: str,
        iterations: int,
        trial: int,
        weights: Path,
        *,
        start: Path | None = None,
        report: Report,
        stop: Stop,
    ) -> TrialResult:
        began = time.monotonic()
        architecture = self.problem.space.parse(arch)
        known: dict[str, Any] = {"trial": trial, "arch": arch, "iterations": iterations}
        cost = Cost(0, 0)
        try:
            cost = self.cost(architecture)
            training, score = self._trained(architecture, iterations, weights, start, report, stop)
        except FAILURES as error:
            seconds = time.monotonic() - began
            return TrialResult.failed(
                **known, reason=failure(error), cost=cost, train_seconds=seconds, seconds=seconds
            )
        return TrialResult(
            **known,
            status="ok",
            valid_accuracy=score.accuracy,
            valid_ci95=score.ci95,
            valid_loss=score.loss,
            params=cost.params,
            flops=cost.flops,
            train_seconds=training.seconds,
            seconds=time.monotonic() - began,
        )

    def _trained(
        self, arch: Any, iterations: int, weights: Path, start: Path | None, report: Report, stop: Stop
    ) -> "tuple[_Saved, Score]":
        """Trains and judges; if memory runs out, resumes from the saved state with half the tasks at once."""

        def attempt(problem: Problem) -> tuple[_Saved, Score]:
            built = Limit(self.max_seconds).run(problem.training, arch, iterations)
            training = _Saved(problem, arch, built, weights, start)
            limit = Limit(self.max_seconds, spent=training.seconds)
            training.run(report, stop, limit)
            return training, limit.run(problem.judge, training.state, limit.checked(stop))

        (training, score), _ = self.problem.for_arch(arch).retry_on_oom(arch, attempt)
        check_finite(score)
        return training, score


class _Saved:
    """A training that keeps its progress in the file `path`, and resumes from it if the file is there.

    Otherwise it starts from `start`, the file of another training, if given.
    """

    def __init__(
        self, problem: Problem, arch: Any, training: MetaTraining, path: Path, start: Path | None = None
    ) -> None:
        self.path = path
        self.problem, self.arch = problem, arch
        self.training, self.state = training, training.state
        self.seconds = 0.0
        self.finished = False
        if not checkpoint.load_progress(path, self._restore) and start is not None:
            payload = checkpoint.load_weights(start)
            with checkpoint.fitting(start):
                self._start_from(payload)

    def run(self, report: Report, stop: Stop, limit: Limit) -> None:
        """Trains to the end, saving now and then. Raises Interrupted, after a save, once `stop()` is true.

        Raises TimedOut at the `limit`, but never while a file is being written.
        """
        training, stop = self.training, limit.checked(stop)
        began = last_save = time.monotonic()
        base = self.seconds
        while not training.done:
            limit.run(training.step)
            if training.iteration % READ_EVERY == 0 or training.done:
                report(limit.run(training.read))
            now = time.monotonic()
            self.seconds = base + now - began
            stopping = stop()
            if stopping or now - last_save >= self.problem.save_seconds:
                self._save()
                last_save = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped at iteration {training.iteration} of {training.iterations}")
        if not self.finished:
            limit.run(training.finish)
            self.finished = True
            self._save()

    def _save(self) -> None:
        payload = {
            "arch": str(self.arch),
            "training": self.training.state_dict(),
            "statistics": self.state.statistics,
            "seconds": self.seconds,
            "finished": self.finished,
        }
        checkpoint.save_progress(self.path, payload)

    def _restore(self, payload: dict[str, Any]) -> None:
        if payload["arch"] != str(self.arch):
            raise ValueError(f"it is of {payload['arch']}")
        # Loaded into a new training, so that a file that does not fit leaves no trace.
        training = self.problem.training(self.arch, self.training.iterations)
        training.load_state_dict(payload["training"])
        training.state.set_statistics(payload["statistics"])
        self.training, self.state = training, training.state
        self.seconds, self.finished = payload["seconds"], payload["finished"]

    def _start_from(self, payload: dict[str, Any]) -> None:
        """Resumes a training of the same architecture, or takes over the weights of another one."""
        if payload["arch"] == str(self.arch):
            self.training.load_state_dict(payload["training"])
            return
        weights = payload["training"]["parameters"]
        self.state.load(self.problem.morphed(payload["arch"], self.arch, weights, self.state), {})
