"""Judges candidates by inherited weights: one-shot search (SPOS: Guo et al. 2020, arXiv:1904.00420).

Before the first candidate is judged, one set of weights is meta-learned on sampled sub-networks for
budget.search_iterations meta-iterations. A candidate then costs no more than its meta-validation tasks. With
strategy=evolution this is SPOS, with random it is random search with weight sharing (Li & Talwalkar 2019).
Choose it if a search cannot afford to train every candidate. scripts/bench/ranking.py measures how far the
inherited accuracies of a space and a learner can be trusted. Sampling ignores `constraints`.

With `iterations_per_trial` the weights are trained further before every later candidate, on that candidate.
strategy=reinforce then alternates between weights and controller, both on what the policy draws, like ENAS
(Pham et al. 2018, arXiv:1802.03268, section 2.2). Deviations: they alternate at every candidate instead of
every epoch, and the sub-network that was trained is the one judged. The outer learning rate of the shared
weights is then constant, whatever optimizer.schedule says for the final trainings. A deviation from all these
papers: every sub-network's gradient is rescaled to the typical norm (training.py).

With `finetune_iterations` a candidate's own copy of the weights is meta-trained before it is judged; the
shared weights do not change. How far a network gets in a few meta-iterations ranks it better than what it
inherits, in the whole conv space (the README has the taus). `criterion` is what candidates are compared by:
their accuracy, or their loss, which also sees how sure they are of their errors.

Batch-norm statistics are the candidate's own. Under batch_norm=support or transductive every episode has its
own anyway; under running they are computed anew from meta-training tasks. The final candidates and the
reference are meta-trained from scratch, so a run's final numbers owe nothing to sharing.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nasmeta.errors import ConfigError, Diverged, Interrupted, RunFailed
from nasmeta.evaluators.base import Evaluator, Report
from nasmeta.evaluators.limits import FAILURES, Limit, check_finite, failure
from nasmeta.evaluators.supernet.sampling import Sampling
from nasmeta.evaluators.supernet.training import SupernetTraining
from nasmeta.evaluators.supernet.weights import Subnetwork
from nasmeta.meta_learners.base import adopt_population
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.cost import measure_cost
from nasmeta.search_spaces.decisions import Decidable
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import MetaTraining, population_batches
from nasmeta.training.problem import Problem
from nasmeta.training.score import Score, Stop
from nasmeta.training.weights import Weights
from nasmeta.trial import Cost, TrialResult

FILE = "supernet.pt"
"""The file of the shared weights and their training's progress, next to the weights of the trials."""

READ_EVERY = 10
"""Meta-iterations between two readings of the metrics. Each reading waits for the device."""


class Supernet(Evaluator):
    """Judges candidates by weights that all architectures share.

    sampling: which sub-networks train them. iterations_per_trial, finetune_iterations: meta-iterations, see
    the module; 0 for none. max_seconds: the limit for judging one candidate; training the shared weights has
    none.

    Every result records the version of the weights: their number of meta-iterations.
    """

    final = "scratch"
    owns_weights = True

    def __init__(
        self,
        *,
        sampling: Sampling,
        iterations_per_trial: Annotated[int, Field(ge=0)],
        finetune_iterations: Annotated[int, Field(ge=0)],
        criterion: Literal["accuracy", "loss"],
        max_seconds: Annotated[float, Field(gt=0)] | None,
        problem: Problem,
    ) -> None:
        self.problem, self.sampling, self.max_seconds = problem, sampling, max_seconds
        self.iterations_per_trial, self.finetune_iterations = iterations_per_trial, finetune_iterations
        self.criterion = criterion
        problem.space.sharing(problem.task)  # raises if it has none
        if not isinstance(problem.space, Decidable):
            raise ConfigError(
                f"evaluator: supernet samples decision by decision, and {type(problem.space).__name__} does "
                "not say what its decisions are; use evaluator=scratch"
            )
        self._open: _Saved | None = None

    def budget_error(self, iterations: int) -> str | None:
        only = self.problem.search_iterations
        if iterations == only:
            return None
        return f"Supernet judges every candidate at budget.search_iterations={only}"

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
        if wrong := self.budget_error(iterations):
            raise ConfigError(f"evaluator: trial {trial} is to get {iterations} iterations, and {wrong}")
        architecture = self.problem.space.parse(arch)
        known: dict[str, Any] = {"trial": trial, "arch": arch, "iterations": iterations}
        cost, train_seconds = Cost(0, 0), 0.0
        try:
            cost = self.cost(architecture)
            shared = self._trained(weights.with_name(FILE), architecture, trial, report, stop)
            train_seconds, version = time.monotonic() - began, shared.training.iteration
            limit = Limit(self.max_seconds)
            state, score = limit.run(self._judged, shared.training, architecture, limit.checked(stop))
            check_finite(score)
        except FAILURES as error:
            seconds = time.monotonic() - began
            return TrialResult.failed(
                **known, reason=failure(error), cost=cost, train_seconds=train_seconds, seconds=seconds
            )
        Weights.of(arch, state).write(weights)
        by_loss = self.criterion == "loss"
        return TrialResult(
            **known,
            status="ok",
            valid_accuracy=None if by_loss else score.accuracy,
            valid_ci95=None if by_loss else score.ci95,
            valid_loss=score.loss,
            params=cost.params,
            flops=cost.flops,
            train_seconds=train_seconds,
            seconds=time.monotonic() - began,
            weights_version=version,
        )

    def _trained(self, path: Path, arch: Any, trial: int, report: Report, stop: Stop) -> "_Saved":
        """The shared weights, trained as far as trial `trial` needs."""
        if self._open is None or self._open.path != path:
            optimizer = self.problem.optimizer
            if self.iterations_per_trial:  # the number of trials is open, so a schedule has no end
                optimizer = replace(optimizer, schedule="constant")
            iterations = self.problem.search_iterations
            training = SupernetTraining(self.problem, optimizer, self.sampling, iterations)
            self._open = _Saved(training, path)
        saved = self._open
        saved.run(self.problem.search_iterations, self.problem.save_seconds, report, stop)
        saved.go_on(arch, trial, self.iterations_per_trial, self.problem.save_seconds, report, stop)
        return saved

    def _judged(self, training: SupernetTraining, arch: Any, stop: Stop) -> tuple[MetaState, Score]:
        """The network that inherits, after fine-tuning, and its score."""
        unseen = training.iteration

        def judge(inherits: Subnetwork) -> tuple[MetaState, Score]:
            return inherits.state, self.score(inherits.state, unseen, stop)

        return training.inheriting(arch, judge)

    def score(self, state: MetaState, unseen: int, stop: Stop) -> Score:
        """Fine-tunes a candidate's own weights, takes its statistics, and judges it.

        Fine-tuning uses the first meta-batches, the same for all candidates; statistics use those from
        `unseen` on.
        """
        problem = self.problem
        self._finetune(state, stop)
        batches = population_batches(problem.train, unseen, problem.meta_batch)
        adopt_population(problem.learner, state, batches)
        return problem.judge(state, stop)

    def _finetune(self, state: MetaState, stop: Stop) -> None:
        problem, iterations = self.problem, self.finetune_iterations
        training = MetaTraining(
            problem.learner,
            state,
            problem.train,
            problem.optimizer,
            iterations=iterations,
            meta_batch=problem.meta_batch,
        )
        while not training.done:
            if stop():
                raise Interrupted(f"stopped at iteration {training.iteration} of {iterations} of fine-tuning")
            training.step()


class _Saved:
    """A training that keeps its progress in a file, and resumes from it if the file is there.

    trial: the last trial for which the weights were trained further, up to `target` meta-iterations.
    """

    def __init__(self, training: SupernetTraining, path: Path) -> None:
        self.training, self.path = training, path
        self.trial, self.target = 0, training.problem.search_iterations
        checkpoint.load_progress(path, self._restore)

    def run(self, iterations: int, save_seconds: float, report: Report, stop: Stop) -> None:
        """Trains up to `iterations` in all. Raises Interrupted, with progress saved, once `stop()` is true.

        Raises RunFailed if a sampled network cannot be trained or the loss is not finite, because then
        candidates have nothing to inherit.
        """
        training = self.training
        last_save = time.monotonic()
        while training.iteration < iterations:
            try:
                training.step()
            except FAILURES as error:
                if training.path is not None:
                    raise  # it is the failure of that candidate
                raise RunFailed(
                    f"the supernet: a sampled network cannot be trained on these tasks: {failure(error)}; "
                    "leave what it is made of out of search_space, or use evaluator=scratch"
                ) from error
            done = training.iteration == iterations
            if training.iteration % READ_EVERY == 0 or done:
                try:
                    report(training.read())
                except Diverged as error:
                    raise RunFailed(f"the supernet: {error}; try a lower optimizer.lr") from error
            stopping = stop()
            if done or stopping or time.monotonic() - last_save >= save_seconds:
                self._save()
                last_save = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped at iteration {training.iteration} of {iterations}")

    def go_on(
        self, arch: Any, trial: int, iterations: int, save_seconds: float, report: Report, stop: Stop
    ) -> None:
        """Trains on `arch` for `iterations` more meta-iterations, once per trial after the first.

        If that was interrupted, trains for what is left of them.
        """
        if trial > self.trial and iterations > 0:
            self.trial, self.target = trial, self.training.iteration + iterations
        self.training.path = arch
        self.run(self.target, save_seconds, report, stop)

    def _save(self) -> None:
        payload = {"training": self.training.state_dict(), "trial": self.trial, "target": self.target}
        checkpoint.save_progress(self.path, payload)

    def _restore(self, payload: dict[str, Any]) -> None:
        self.training.load_state_dict(payload["training"])
        self.trial, self.target = payload["trial"], payload["target"]
