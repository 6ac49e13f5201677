"""The trials of a run: starts them, awaits them, and records how they end."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nasmeta.errors import Interrupted
from nasmeta.executors.base import Executor
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import Constraints
from nasmeta.run.evaluators import Evaluators
from nasmeta.run.events import Announcer, TrialFinished, TrialReading, TrialStarted
from nasmeta.run.outputs import keep_front, save_network
from nasmeta.run.rebuild import fingerprints, rebuild
from nasmeta.run.recorder import Recorder
from nasmeta.run.records import Asked, Finished
from nasmeta.run.state import RunState
from nasmeta.run.weights import TrialPlan, TrialWeights
from nasmeta.training.meta_training import Reading
from nasmeta.training.score import Stop
from nasmeta.trial import Job, Outcome, Phase, TrialResult

log = logging.getLogger(__name__)


class Trials:
    """The trials of a run, as far as its `recorder` and the state of that know them.

    evaluators: they judge the trials. stop: whether to stop. waiting: what an interrupted run asked for and
    has to start again. `close` ends what still runs.
    """

    def __init__(
        self, composition: Composition, evaluators: Evaluators, recorder: Recorder, stop: Stop
    ) -> None:
        self.composition, self.evaluators, self.directory = composition, evaluators, recorder.directory
        self.recorder, self.state, self.stop = recorder, recorder.state, stop
        self.constraints = Constraints(
            composition, evaluators.for_search, self.state, recorder.record, stop=stop
        )
        self.weights = TrialWeights(
            self.directory, self.state, self._run, searched=evaluators.for_search.leaves_weights
        )
        self.waiting: list[Asked] = []
        self.in_flight: dict[tuple[Phase, int], TrialPlan] = {}
        self.executor: Executor = composition.config.build(
            "executor",
            run=self._run,
            rebuild=partial(
                rebuild,
                composition.config,
                fingerprints(composition),
                device=str(composition.device),
                dataset=composition.dataset if composition.config.target("executor").ships_data else None,
            ),
            follow=partial(_follow, recorder.announce),
            stop=stop,
        )

    @property
    def has_room(self) -> bool:
        """Whether another trial may be started now."""
        return len(self.in_flight) < self.executor.capacity and not self.stop()

    @property
    def clock(self) -> float:
        """Seconds spent searching: wall time, or the trials' own times if the evaluator simulates them."""
        if self.evaluators.for_search.simulated_time:
            return self.state.simulated_seconds
        since = 0.0 if self.state.has_searched else self.recorder.elapsed - self.state.elapsed
        return self.state.search_seconds + since

    def start(self, plan: TrialPlan) -> None:
        """Starts a planned training."""
        self.recorder.start()
        job, space = self.weights.job(plan), self.composition.space
        graph = space.drawing(space.parse(job.arch))
        self.recorder.announce(TrialStarted(job.phase, job.trial, job.arch, job.iterations, graph))
        self.executor.submit(job)
        self.in_flight[plan.key] = plan

    def judge_all(self, plans: Sequence[TrialPlan]) -> list[TrialResult]:
        """The results of the planned trainings. What is known is not made again.

        Raises Interrupted if it is stopped before all are known.
        """
        self.weights.plan(plans)
        waiting = deque(plan for plan in plans if not _is_known(plan, self.state))
        while True:
            while waiting and self.has_room:
                self.start(waiting.popleft())
            if not self.in_flight:
                break
            self.next_result()
        if waiting:
            raise Interrupted("stopped between two trainings")
        return [self.state.finished[plan.key] for plan in plans]

    def next_result(self) -> TrialResult:
        """Waits for a trial in flight to end, and records its result."""
        job, result = self.executor.collect()
        return self.finish(self.in_flight.pop((job.phase, job.trial)), result)

    def finish(self, plan: TrialPlan, result: TrialResult) -> TrialResult:
        """Records a result.

        Checkpoints are written before the journal's line: a process that is killed between the two repeats
        this when the run is resumed. The best.pt of a run that has ended before stays until it ends again.
        """
        state, phase, searching = self.state, plan.phase, plan.phase == "search"
        front = state.front if searching else None
        if result.status == "ok" and self.composition.measures_latency:
            latency = self.constraints.latency(self.composition.space.parse(result.arch))
            result = replace(result, latency_ms=latency)
        event = Finished(phase=phase, elapsed=self.recorder.elapsed, result=result, **plan.facts)
        state.apply(event)
        is_best = searching and state.best is event.result
        if self.evaluators.for_search.leaves_weights:
            places = [self.directory.best] if is_best and not state.ends else []
            places += [self.directory.front(result.trial)] if front and result.trial in front.trials else []
            for path in places:
                weights = self.directory.weights(phase, result.trial)
                save_network(self.composition, path, weights, result, inside=self.directory.path)
        volume = None
        if front is not None:
            volume = front.hypervolume(self.constraints.costs_of_reference)
            event = event if volume is None else event.model_copy(update={"hypervolume": volume})
        self.recorder.write(event)
        if front is not None:
            keep_front(self.directory, front.trials)
        self.recorder.announce(TrialFinished(phase, result, is_best, front, volume))
        return result

    def outcome(self, result: TrialResult) -> Outcome:
        """What the strategy is told of a result."""
        return Outcome(
            trial=result.trial,
            arch=self.composition.space.parse(result.arch),
            score=result.score,
            iterations=result.iterations,
            costs=result.costs,
            seconds=result.seconds,
        )

    def close(self) -> None:
        """Ends the trials that still run."""
        self.executor.close()

    def _run(self, job: Job) -> TrialResult:
        """Runs a job in this process."""
        self.recorder.start()
        return self.evaluators.evaluate(job, partial(_follow, self.recorder.announce, job), self.stop)


def _is_known(plan: TrialPlan, state: RunState) -> bool:
    """Whether the training has a result. One of another architecture is from before a forced change."""
    if plan.key in state.retries:
        return False
    result = state.finished.get(plan.key)
    return result is not None and result.arch == plan.arch


def _follow(announce: Announcer, job: Job, reading: Reading) -> None:
    numbers = reading.iteration, job.iterations, reading.loss, reading.accuracy, reading.of
    announce(TrialReading(job.phase, job.trial, *numbers))
