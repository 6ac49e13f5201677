"""Judges candidates by inherited weights: one-shot search (SPOS: Guo et al. 2020, arXiv:1904.00420).

Before the first candidate is judged, one set of weights is meta-learned on sampled sub-networks for
budget.search_iterations meta-iterations. A candidate then costs no more than its meta-validation tasks. With
strategy=evolution this is SPOS, with random it is random search with weight sharing (Li & Talwalkar 2019).
Choose it if a search cannot afford to train every candidate. scripts/bench/ranking.py measures how well
inherited accuracies rank the networks of a space. Sampling ignores `constraints`.

With `iterations_per_trial`, the weights are trained further before every later candidate, on that candidate.
strategy=reinforce then trains weights and controller in turn, both on what the policy draws, like ENAS (Pham
et al. 2018, arXiv:1802.03268, section 2.2). Deviations: the turns change at every candidate instead of every
epoch, and the sub-network that was trained is the one that is judged. The outer learning rate of the shared
weights is then constant, whatever optimizer.schedule says for the final trainings. A deviation from all these
papers: every sub-network's gradient is rescaled to the typical norm (training.py).

With `finetune_iterations`, a candidate's own copy of the weights is meta-trained before it is judged; the
shared weights do not change. In the whole conv space, this ranks networks better than what they inherit.

Batch-norm statistics are the candidate's own. Under batch_norm=support or transductive every episode has its
own anyway; under running they are computed from meta-training tasks. The final candidates and the reference
are meta-trained from scratch, so a run's final numbers do not depend on sharing.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError, Diverged, RunFailed
from nasmeta.evaluators.base import Candidate, Evaluator, Judgement, Report
from nasmeta.evaluators.failures import FAILURES, failure, limited
from nasmeta.evaluators.supernet.sampling import PathSampling
from nasmeta.evaluators.supernet.training import SupernetTraining
from nasmeta.evaluators.supernet.weights import Subnetwork
from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.training.meta_training import MetaTraining, population_batches
from nasmeta.training.problem import Problem
from nasmeta.training.resumable import Resumable
from nasmeta.training.score import Stop
from nasmeta.trial import Criterion

WEIGHTS_FILE = "supernet.pt"
"""The file of the shared weights and their training's progress, next to the weights of the trials."""


class Supernet(Evaluator):
    """Judges candidates by weights that all architectures share.

    sampling: which sub-networks are trained: uniform or fair (sampling.py).
    iterations_per_trial: meta-iterations of the shared weights on every later candidate; 0 for none.
    finetune_iterations: meta-iterations of a candidate's own copy of the weights; 0 for none.
    criterion: what candidates are compared by; their training speed is that of their fine-tuning.
    max_seconds: the limit for judging one candidate, without the training of shared weights; None for none.

    Every result records the version of the weights: their number of meta-iterations.
    """

    finals_from_scratch = True
    owns_weights = True

    def __init__(
        self,
        *,
        sampling: PathSampling,
        iterations_per_trial: Annotated[int, Field(ge=0)],
        finetune_iterations: Annotated[int, Field(ge=0)],
        criterion: Criterion,
        max_seconds: Annotated[float, Field(gt=0)] | None,
        problem: Problem,
    ) -> None:
        self.problem, self.sampling, self.max_seconds = problem, sampling, max_seconds
        self.iterations_per_trial, self.finetune_iterations = iterations_per_trial, finetune_iterations
        self.criterion = criterion
        if criterion == "training_speed" and not finetune_iterations:
            raise ConfigError(
                "evaluator.criterion: training_speed is of a candidate's own training, and with "
                "evaluator.finetune_iterations=0 it has none; set that, or use criterion=accuracy, loss"
            )
        problem.space.sharing(problem.task)  # raises if it has none
        if not isinstance(problem.space, Decidable):
            name = option_of("search_space", problem.space)
            raise ConfigError(
                f"evaluator: supernet samples decision by decision, and search_space={name} does not say "
                "what its decisions are; use evaluator=scratch"
            )
        self._shared: Resumable[SupernetTraining] | None = None

    def budget_error(self, iterations: int) -> str | None:
        only = self.problem.search_iterations
        if iterations == only:
            return None
        return f"supernet judges every candidate at budget.search_iterations={only}"

    def _judge(self, candidate: Candidate, report: Report, stop: Stop) -> Judgement:
        began = time.monotonic()
        job = candidate.job
        if wrong := self.budget_error(job.iterations):
            raise ConfigError(
                f"evaluator: trial {job.trial} asks for {job.iterations} iterations, and {wrong}"
            )
        training = self._trained(candidate, report, stop)
        seconds, version = time.monotonic() - began, training.iteration

        def judge(inherits: Subnetwork) -> Judgement:
            return self.judged(inherits.state, job.arch, version, job.weights, stop)

        found = training.inheriting(candidate.arch, judge)
        return replace(found, train_seconds=seconds + found.train_seconds, weights_version=version)

    def _trained(self, candidate: Candidate, report: Report, stop: Stop) -> SupernetTraining:
        """The shared weights, trained as far as the candidate's trial needs.

        Every trial after the first trains them further, on its candidate. If that was interrupted, it
        resumes.
        """
        path, first = candidate.job.weights.with_name(WEIGHTS_FILE), self.problem.search_iterations
        if self._shared is None or self._shared.path != path:
            self._shared = Resumable(
                path, self._new_training, None, self.problem.seed, self.problem.save_seconds
            )
        shared = self._shared
        extra = shared.extra = shared.extra or {"trial": 0, "target": first}
        self._train(shared, first, None, report, stop)
        if candidate.job.trial > extra["trial"] and self.iterations_per_trial > 0:
            target = shared.training.iteration + self.iterations_per_trial
            extra.update(trial=candidate.job.trial, target=target)
        self._train(shared, extra["target"], candidate.arch, report, stop)
        return shared.training

    def _new_training(self) -> SupernetTraining:
        problem, optimizer = self.problem, self.problem.optimizer
        if self.iterations_per_trial:  # the number of trials is open, so a schedule has no end
            optimizer = replace(optimizer, schedule="constant")
        return SupernetTraining(problem, optimizer, self.sampling, problem.search_iterations)

    def _train(
        self, shared: Resumable[SupernetTraining], iterations: int, arch: Any, report: Report, stop: Stop
    ) -> None:
        """Trains up to `iterations` in all, on `arch` alone if it is given.

        Raises RunFailed if a sampled network cannot be trained or the loss is not finite, because then
        candidates have nothing to inherit.
        """
        shared.training.path = arch
        if shared.training.iteration >= iterations:
            return
        try:
            shared.run(iterations, report, stop)
        except Diverged as error:
            raise RunFailed(f"the supernet: {error}; try a lower optimizer.lr") from error
        except FAILURES as error:
            if arch is not None:
                raise  # it is the failure of that candidate
            raise RunFailed(
                f"the supernet: a sampled network cannot be trained on these tasks: {failure(error)}; "
                "leave what it is made of out of search_space (a space's method `buildable` can do that), "
                "or use evaluator=scratch"
            ) from error
        shared.save()

    def judged(self, state: MetaState, arch: str, unseen: int, path: Path, stop: Stop) -> Judgement:
        """Fine-tunes a candidate's own weights, takes its statistics, and judges it.

        Fine-tuning uses the first meta-batches, the same for all candidates; statistics use those from
        `unseen` on. path: the file that keeps the progress, and in the end the weights.
        """
        problem = self.problem
        tuning = Resumable(path, lambda: self._tuning(state), arch, problem.seed, problem.save_seconds)
        earlier = tuning.seconds
        limit = limited(stop, self.max_seconds, spent=earlier)
        tuning.run(self.finetune_iterations, lambda _: None, limit)
        batches = population_batches(problem.train, unseen, problem.meta_batch)
        adopt_population(problem.learner, state, batches)
        tuning.save()
        score = problem.judge(state, limit)
        late = tuning.training.late_loss() if self.finetune_iterations else None
        return Judgement.of(score, train_seconds=tuning.seconds, train_loss=late, earlier_seconds=earlier)

    def _tuning(self, state: MetaState) -> MetaTraining:
        problem = self.problem
        return MetaTraining(
            problem.learner,
            state,
            problem.train,
            problem.optimizer,
            iterations=self.finetune_iterations,
            meta_batch=problem.meta_batch,
        )
