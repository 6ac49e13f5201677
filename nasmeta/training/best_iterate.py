"""Trains and keeps the iterate that is best on meta-validation tasks, which need not be the last."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nasmeta.config.keys import BudgetConfig
from nasmeta.networks.network import Parameters
from nasmeta.training.meta_training import MetaTraining, Reading
from nasmeta.training.problem import Problem
from nasmeta.training.resumable import Resumable
from nasmeta.training.score import Score, Stop


@dataclass(frozen=True)
class KeepBest:
    """How iterates are judged.

    every: the meta-iterations between two judgements; the last iterate is judged too. patience: training
    ends early after so many judgements in a row without improvement; None: never.
    """

    every: int
    patience: int | None

    @classmethod
    def of(cls, budget: BudgetConfig) -> "KeepBest | None":
        """How full trainings of this budget judge iterates; None if they leave the last one."""
        return cls(budget.judge_every, budget.patience) if budget.keep == "best" else None


def run_and_keep_best(
    saved: Resumable[MetaTraining],
    keep: KeepBest,
    problem: Problem,
    report: Callable[[Reading], None],
    stop: Stop,
) -> None:
    """Trains to the end, or until patience runs out, and leaves the best iterate's parameters.

    Raises what `Resumable.run` raises. Resumed, it ends as if it had never been interrupted.
    """
    if saved.finished:
        return
    training, best = saved.training, BestIterate(problem, saved.extra.get("best"))
    while True:
        if best.judged < training.iteration and (training.done or training.iteration % keep.every == 0):
            saved.save()  # judging may be interrupted
            score = best.judge(training, stop)
            report(Reading(training.iteration, score.loss, score.accuracy, of="judged"))
            saved.extra["best"] = best.state_dict()
        idle = best.judged - best.iteration
        if training.done or (keep.patience is not None and idle >= keep.patience * keep.every):
            break
        following = (training.iteration // keep.every + 1) * keep.every
        saved.run(min(following, training.iterations), report, stop)
    if best.parameters:
        training.state.load(best.parameters, {})


class BestIterate:
    """The best iterate so far of one training.

    Of equal scores, the earliest counts; a loss that is not finite never does. Iterates are judged on as many
    tasks as a candidate, but on other ones. Else a candidate's score would be the best of many tries.

    saved: the `state_dict` to go on from, if any. iteration: that of the best iterate, 0 if there is none
    yet. value: its score. judged: the latest iteration that was judged.
    """

    def __init__(self, problem: Problem, saved: dict[str, Any] | None = None) -> None:
        self._problem = problem
        self.iteration, self.value, self.judged = 0, -math.inf, 0
        self.parameters: Parameters = {}
        if saved is not None:
            self.iteration, self.value, self.judged = saved["iteration"], saved["value"], saved["judged"]
            self.parameters = saved["parameters"]

    def judge(self, training: MetaTraining, stop: Stop) -> Score:
        """Judges the current iterate with statistics of its own, and changes nothing in the training.

        Raises Interrupted once `stop()` is true.
        """
        state = training.state
        execution = state.network.execution  # may do fewer tasks at once after it was out of memory
        training.finish()
        score = self._problem.judge_iterate(state, stop)
        state.network.execution = execution
        state.set_statistics({})
        if math.isfinite(score.loss) and score.value > self.value:
            self.iteration, self.value = training.iteration, score.value
            self.parameters = {name: value.detach().clone() for name, value in state.parameters.items()}
        self.judged = training.iteration
        return score

    def state_dict(self) -> dict[str, Any]:
        """What a later BestIterate goes on from: tensors and plain values."""
        known = {"iteration": self.iteration, "value": self.value, "judged": self.judged}
        return {**known, "parameters": self.parameters}
