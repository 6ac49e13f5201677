"""Every architecture meta-trained from its own initialization: the slow, honest evaluator."""

from typing import Annotated, Any

from pydantic import Field

from nasmeta.evaluators.base import Candidate, Evaluator, Judgement, Report
from nasmeta.evaluators.failures import limited
from nasmeta.training import checkpoint
from nasmeta.training.best_iterate import KeepBest, run_and_keep_best
from nasmeta.training.meta_training import MetaTraining
from nasmeta.training.problem import Problem
from nasmeta.training.resumable import Resumable
from nasmeta.training.score import Stop
from nasmeta.trial import Criterion


class Scratch(Evaluator):
    """Meta-trains every candidate from its own initialization, and judges it.

    max_seconds: the limit for one candidate; None for no limit. It applies to training and judging together,
    and is looked at after every meta-iteration and between tasks. The final trainings have no limit.

    criterion: what candidates are compared by.

    keep: how to find the iterate that a training leaves; None: it leaves the last one.
    """

    finals_from_scratch = True
    continues = True

    def __init__(
        self,
        *,
        max_seconds: Annotated[float, Field(gt=0)] | None,
        criterion: Criterion,
        problem: Problem,
        keep: KeepBest | None,
    ) -> None:
        self.problem, self.max_seconds, self.keep = problem, max_seconds, keep
        self.criterion = criterion

    def _judge(self, candidate: Candidate, report: Report, stop: Stop) -> Judgement:
        """Trains and judges; if memory runs out, resumes from the saved state with half the tasks at once."""

        earlier: list[float] = []

        def attempt(problem: Problem) -> Judgement:
            saved = _training(problem, candidate, chooses=self.keep is not None)
            earlier.append(saved.seconds)
            limit = limited(stop, self.max_seconds, spent=saved.seconds)
            if self.keep is None:
                saved.run(candidate.job.iterations, report, limit)
            else:
                run_and_keep_best(saved, self.keep, problem, report, limit)
            saved.finish()
            score = problem.judge(saved.training.state, limit)
            late = saved.training.late_loss()
            return Judgement.of(
                score,
                train_seconds=saved.seconds,
                train_loss=late,
                kept_iteration=saved.extra["best"]["iteration"] if self.keep else None,
                ended_iteration=saved.training.iteration if self.keep else None,
                earlier_seconds=earlier[0],
            )

        return candidate.problem.retry_on_oom(candidate.arch, attempt)[0]


def _training(problem: Problem, candidate: Candidate, *, chooses: bool) -> Resumable[MetaTraining]:
    """The training of a candidate, resumed from its own file; if that is not there, from `start`.

    chooses: whether it leaves the best of its iterates.
    """
    arch, job = candidate.arch, candidate.job
    make = lambda: problem.training(arch, job.iterations)  # noqa: E731
    saved = Resumable(job.weights, make, str(arch), problem.seed, problem.save_seconds, chooses=chooses)
    if not saved.resumed and job.start is not None:
        payload = checkpoint.load_weights(job.start)
        with checkpoint.fitting(job.start):
            _start_from(saved.training, payload, problem, arch)
    return saved


def _start_from(training: MetaTraining, payload: dict[str, Any], problem: Problem, arch: Any) -> None:
    """Resumes a training of the same architecture, or takes over the weights of another one."""
    weights, state = payload["training"]["parameters"], training.state
    if payload["arch"] == str(arch):
        training.load_state_dict(payload["training"])
    else:
        state.load(problem.morphed(payload["arch"], arch, weights, state), {})
