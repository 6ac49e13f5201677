"""One run: search, train the best few in full, choose one, test it once next to the reference.

`Search.run` is all of it, in order. The journal decides what is already done. Resuming an interrupted run
makes the same calls again, and those that have finished return what the journal holds.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from nasmeta.errors import ArchitectureError, Interrupted, NothingFeasible, RunDirectoryError, RunFailed
from nasmeta.evaluators.ranking import best_of, ranked
from nasmeta.executors.base import Executor
from nasmeta.run import records
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import Constraints
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import environment, recorded, settings_changed
from nasmeta.run.events import (
    Announcer,
    Observer,
    RunFinished,
    RunStarted,
    Trained,
    TrialFinished,
    TrialStarted,
)
from nasmeta.run.front import Front
from nasmeta.run.journal import Journal
from nasmeta.run.judges import Judges, fingerprints, rebuild
from nasmeta.run.outputs import keep_front, save_network, save_summary, stored_summary
from nasmeta.run.records import Asked
from nasmeta.run.summary import describe, has_result, metrics, paired_difference, tested_numbers
from nasmeta.runtime import files
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.strategies.base import Strategy
from nasmeta.strategies.memory import Memory
from nasmeta.training import checkpoint
from nasmeta.training.meta_training import Progress
from nasmeta.training.score import Score, Stop, score
from nasmeta.training.weights import Weights
from nasmeta.trial import Job, MetaTested, Outcome, Phase, Proposal, TrialResult

log = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 20
"""A run stops if so many trials fail at its start and none succeeds, because its settings must be wrong."""


class Search:
    """One run in its directory.

    composition: the parts of the run. directory: where it writes; the caller holds its lock. journal: that of
    the directory, open. observers: called with every event. stop: returns whether to stop. command: what
    makes the run, if that is known.
    """

    def __init__(
        self,
        composition: Composition,
        directory: RunDirectory,
        journal: Journal,
        observers: list[Observer],
        stop: Stop,
        command: SearchCommand | None = None,
    ) -> None:
        self.composition, self.config = composition, composition.config
        self.directory, self.journal, self.stop = directory, journal, stop
        self.command = command
        self._started = False
        self.announce = Announcer(observers)
        self.judges = Judges(composition)
        self.problem, self.evaluator = self.judges.problem, self.judges.search
        self.finals = self.judges.final
        self.journal.durable = self.evaluator.trains_networks()
        self.executor = self._executor()
        records.check(journal)
        self._finished = {
            (r["phase"], r["trial"]): records.result(r) for r in journal.records if r["event"] == "finished"
        }
        self._events = {record["event"] for record in journal.records}
        self._with_weights = {trial for phase, trial in self._finished if phase == "search"}
        self._elapsed_before = max((r["elapsed"] for r in journal.records if "elapsed" in r), default=0.0)
        self._began = time.monotonic()
        self.best: TrialResult | None = None
        self.front: Front | None = None
        self.constraints = Constraints(composition, self.evaluator, journal.records, self._record)
        self.strategy: Strategy
        files.make_folder(directory.checkpoints, inside=directory.path)

    def run(self) -> dict[str, Any]:
        """Runs to the end and returns what summary.json holds.

        Raises Interrupted once everything is saved if `stop` says so, and RunFailed if there is no result.
        """
        self._start()
        with closing(self.executor):
            self._search()
            reference, *finals = self._in_full()
        chosen = best_of(finals)
        if chosen is None:
            raise RunFailed("every final candidate failed: " + "; ".join(str(r.reason) for r in finals))
        summary = self._test(chosen, reference)
        for phase, trial in self._finished:
            checkpoint.forget(self.directory.weights(phase, trial))
        self.announce(RunFinished(summary, self.config.hparams()))
        return summary

    # The loop of asks and tells -------------------------------------------------------------------------

    def _search(self) -> None:
        memory = Memory(self.directory.strategy, seconds=self.config.keys.save_seconds, stop=self.stop)
        limits = self.constraints
        strategy = self.composition.strategy(limits.feasible, self.problem, memory, costs=limits.cost)
        self.strategy = strategy
        if not strategy.black_box:  # replaying its asks may train
            self._record_start()
        self.front = self._front(strategy)
        self._warn_of_noise(strategy)
        waiting = self._replay(strategy)
        in_flight = 0
        self._give_up_if_hopeless()
        while True:
            while in_flight < self.executor.capacity and not self.stop():
                proposal = waiting.pop(0) if waiting else self._ask(strategy)
                if proposal is None:
                    break
                self._submit(self._search_job(_asked(proposal)))
                in_flight += 1
            if in_flight == 0:
                break
            result = self.executor.collect()
            in_flight -= 1
            self._finish("search", result)
            strategy.tell(self._told(result))
            self._forget_weights(strategy.needed())
            self._give_up_if_hopeless()
        if self.stop():
            raise Interrupted("stopped between two trials")
        self._forget_weights(strategy.final_starts())
        if self.best is None and not strategy.chosen():
            raise RunFailed(self._hopeless())
        if not self._happened("searched"):
            self._record("searched", elapsed=self._elapsed())

    def _ask(self, strategy: Strategy) -> Proposal | None:
        limit = self.config.keys.budget.max_seconds
        late = limit is not None and self._clock() >= limit
        if strategy.done() or self._happened("searched") or (late and self.best is not None):
            return None
        try:
            proposal = strategy.ask()
        except NothingFeasible as error:
            raise RunFailed(f"search_space: {error}: {self.constraints.reasons()}") from error
        if proposal is not None:
            self._record("asked", **asdict(_asked(proposal)))
        return proposal

    def _replay(self, strategy: Strategy) -> list[Proposal]:
        """Repeats the journal's asks and tells with the strategy; returns the trials still in flight."""
        asked: dict[int, Proposal] = {}
        for record in self.journal.records:
            if record["event"] == "asked":
                proposal = strategy.ask()
                known, now = records.asked(record), proposal and _asked(proposal)
                if proposal is None or now != known:
                    raise RunDirectoryError(
                        f"{self.directory.journal}: it has {known}, the strategy now proposes {now}: "
                        "the code or the configuration has changed"
                    )
                asked[proposal.trial] = proposal
            elif record["event"] == "finished" and record["phase"] == "search":
                result = records.result(record)
                if asked.pop(result.trial, None) is None:
                    raise RunDirectoryError(
                        f"{self.directory.journal}: trial {result.trial} ends and was never asked for"
                    )
                strategy.tell(self._told(result))
                self._note_best(result)
                if self.front:
                    self.front.add(result)
        self._forget_weights(strategy.needed())
        self._forget_dominated()
        return list(asked.values())

    def _front(self, strategy: Strategy) -> Front | None:
        """The Pareto front to keep; None unless the strategy has objectives besides the score."""
        if not strategy.objectives:
            return None
        files.make_folder(self.directory.pareto, inside=self.directory.path)
        space = self.composition.space

        def costs(text: str) -> dict[str, float]:
            arch = space.parse(text)
            try:
                cost = self.evaluator.cost(arch)
            except ArchitectureError:  # the reference, for which a table may have no row
                cost = self.constraints.cost(arch)
            assert cost is not None, "run/compatible.py refuses objectives that the evaluator does not know"
            known: dict[str, Callable[[], float]] = {
                "params": lambda: cost.params,
                "flops": lambda: cost.flops,
                "latency": lambda: self.constraints.latency(arch),
            }
            return {objective: known[objective]() for objective in strategy.objectives}

        return Front(strategy.objectives, costs, str(space.reference()))

    def _warn_of_noise(self, strategy: Strategy) -> None:
        limited = self.config.keys.constraints.max_latency_ms is not None
        if self.executor.capacity > 1 and (limited or "latency" in strategy.objectives):
            log.warning(
                "latencies are measured while trials run beside: longer, and noisier, than by executor=serial"
            )

    def _told(self, result: TrialResult) -> Outcome:
        arch = self.composition.space.parse(result.arch)
        asks_latency = self.front is not None and "latency" in self.front.objectives
        latency = self.constraints.latency(arch) if asks_latency and result.status == "ok" else None
        return Outcome(
            trial=result.trial,
            arch=arch,
            score=result.score,
            iterations=result.iterations,
            params=result.params,
            flops=result.flops,
            latency_ms=latency,
            seconds=result.seconds,
        )

    def _forget_weights(self, needed: set[int]) -> None:
        """Deletes the weights of finished trials, except those `needed` by later trials to start from."""
        for trial in self._with_weights - needed:
            checkpoint.forget(self.directory.weights("search", trial))
        self._with_weights &= needed

    def _give_up_if_hopeless(self) -> None:
        if self.best is not None:
            return
        if sum(phase == "search" for phase, _ in self._finished) >= FAILURES_IN_A_ROW:
            raise RunFailed(self._hopeless())

    def _hopeless(self) -> str:
        failed = [r for (phase, _), r in self._finished.items() if phase == "search"]
        if not failed:
            return "the search looked at no architecture"
        return f"the first {len(failed)} trials all failed, the last one: {failed[-1].reason}"

    # One trial ------------------------------------------------------------------------------------------

    def _executor(self) -> Executor:
        executor: Executor = self.config.build(
            "executor",
            run=self._evaluate,
            rebuild=partial(rebuild, self.config, fingerprints(self.composition)),
            follow=self._follow,
            stop=self.stop,
        )
        return executor

    def _evaluate(self, job: Job) -> TrialResult:
        return self.judges.evaluate(job, partial(self._follow, job), self.stop)

    def _follow(self, job: Job, progress: Progress) -> None:
        numbers = progress.iteration, job.iterations, progress.loss, progress.accuracy
        self.announce(Trained(job.phase, job.trial, *numbers))

    def _job(self, phase: Phase, trial: int, arch: str, iterations: int, start: Path | None) -> Job:
        weights = self.directory.weights(phase, trial)
        return Job(phase=phase, trial=trial, arch=arch, iterations=iterations, weights=weights, start=start)

    def _search_job(self, asked: Asked) -> Job:
        start = None if asked.start is None else self._weights("search", asked.start)
        return self._job("search", asked.trial, asked.arch, asked.iterations, start)

    def _full_job(self, phase: Phase, trial: int, arch: str) -> Job:
        iterations = self.config.keys.budget.final_iterations
        return self._job(phase, trial, arch, iterations, self._start_of(arch))

    def _submit(self, job: Job) -> None:
        self._record_start()
        self._announce_start(job)
        self.executor.submit(job)

    def _weights(self, phase: Phase, trial: int) -> Path:
        """The weights that a finished trial left. If they are damaged or lost, the trial is run again."""
        if phase == "final" and self._is_reference(self._finished[phase, trial].arch):
            phase, trial = "reference", 0
        path = self.directory.weights(phase, trial)
        if not checkpoint.is_whole(path):
            log.warning("trial %d (%s) is trained again", trial, phase)
            self._record_start()
            if phase == "search":
                asked = (r for r in self.journal.records if r["event"] == "asked" and r["trial"] == trial)
                self._evaluate(self._search_job(records.asked(next(asked))))
            else:
                self._evaluate(self._full_job(phase, trial, self._finished[phase, trial].arch))
        return path

    def _in_full(self) -> list[TrialResult]:
        """The results of the reference and then the candidates at the full budget.

        Those that the journal has are not trained again.
        """
        wanted: dict[tuple[Phase, int], str] = {("reference", 0): str(self.composition.space.reference())}
        wanted |= {("final", trial): arch for trial, arch in enumerate(self._candidates())}
        same = [key for key, arch in wanted.items() if key[0] == "final" and self._is_reference(arch)]
        self._share_reference(same)
        waiting = deque(key for key in wanted if key not in self._finished and key not in same)
        in_flight: deque[Phase] = deque()
        while waiting or in_flight:
            while waiting and len(in_flight) < self.executor.capacity and not self.stop():
                phase, trial = waiting.popleft()
                self._submit(self._full_job(phase, trial, wanted[phase, trial]))
                in_flight.append(phase)
            if not in_flight:
                raise Interrupted("stopped before the final training")
            self._finish(in_flight.popleft(), self.executor.collect())
            self._share_reference(same)
        return [self._finished[key] for key in wanted]

    def _is_reference(self, arch: str) -> bool:
        """Whether the full training of an architecture is the reference's, so that it is done only once.

        Everything else about the training (iterations, episodes, what it starts from) follows from the
        architecture.
        """
        return self.finals.leaves_weights and arch == str(self.composition.space.reference())

    def _share_reference(self, same: list[tuple[Phase, int]]) -> None:
        """Records the reference's result, once it exists, for final candidates that are the `same`."""
        reference = self._finished.get(("reference", 0))
        for phase, trial in same:
            if reference is not None and (phase, trial) not in self._finished:
                self._finish(phase, replace(reference, trial=trial), trained_as="reference")

    def _start_of(self, arch: str) -> Path | None:
        """The weights that an architecture's full training starts from; None unless the strategy has some."""
        starts = (t for t in self.strategy.final_starts() if self._finished["search", t].arch == arch)
        trial = next(starts, None)
        return None if trial is None else self._weights("search", trial)

    def _finish(self, phase: Phase, result: TrialResult, **also: str) -> None:
        """Records a result. best.pt is written first, so that a kill in between repeats the trial's end."""
        is_best = phase == "search" and self._note_best(result)
        weights = self.directory.weights(phase, result.trial)
        if is_best and self.evaluator.leaves_weights:
            self._save_best(self.directory.best, weights, result)
        front = self.front if phase == "search" else None
        if front and front.add(result) and self.evaluator.leaves_weights:
            self._save_best(self.directory.front(result.trial), weights, result)
        volume = front.hypervolume() if front else None
        known = {} if volume is None else {"hypervolume": volume}
        self._record("finished", phase=phase, elapsed=self._elapsed(), **result.to_dict(), **known, **also)
        self._finished[phase, result.trial] = result
        if phase == "search":
            self._with_weights.add(result.trial)
        self._forget_dominated()
        self.announce(TrialFinished(phase, result, is_best, front))

    def _note_best(self, result: TrialResult) -> bool:
        """Keeps a result if it is the best of the search so far, and returns whether it is.

        Of equal results, the first stays.
        """
        better = best_of([r for r in (self.best, result) if r is not None]) is result
        if better:
            self.best = result
        return better

    def _forget_dominated(self) -> None:
        if self.front is not None:
            keep_front(self.directory, self.front.trials)

    def _save_best(self, path: Path, weights: Path, result: TrialResult, **tested: Any) -> None:
        """Writes a checkpoint. `tested` is its meta-test; without one, the network is provisional."""
        numbers, inside = {**metrics(result), **tested}, self.directory.path
        save_network(self.composition, path, weights, result, numbers, provisional=not tested, inside=inside)

    # After the search -----------------------------------------------------------------------------------

    def _candidates(self) -> list[str]:
        """The architectures that the strategy has chosen, then the best ones, best first; each once."""
        results = [r for (phase, _), r in sorted(self._finished.items()) if phase == "search"]
        best = [result.arch for result in ranked(results)]
        distinct = list(dict.fromkeys([*map(str, self.strategy.chosen()), *best]))
        return distinct[: self.config.keys.budget.final_candidates]

    def _test(self, chosen: TrialResult, reference: TrialResult) -> dict[str, Any]:
        """Tests the chosen network and the reference once, on the same tasks; returns the summary."""
        done = stored_summary(self.directory, self.journal.records, trained=self.finals.leaves_weights)
        if done is not None:
            return done
        self._record_start()
        best = self._meta_test("final", chosen)
        if not has_result(best):
            raise RunFailed(
                f"the searched network {chosen.arch} diverges on meta-test tasks: its loss is not finite; "
                "search again with a lower meta_learner.inner_lr or optimizer.lr"
            )
        baseline = None
        if reference.status == "ok":
            same = self._is_reference(chosen.arch)
            baseline = best if same else self._meta_test("reference", reference)
        if baseline is not None and not has_result(baseline):
            baseline, reference = None, replace(reference, reason="its loss on meta-test tasks is not finite")
        if self.finals.leaves_weights:
            weights = self._weights("final", chosen.trial)
            self._save_best(self.directory.best, weights, chosen, **tested_numbers(best))
        summary = describe(
            self.composition,
            [result for (phase, _), result in self._finished.items() if phase == "search"],
            best={**metrics(chosen), **tested_numbers(best)},
            reference={**metrics(reference), **tested_numbers(baseline)},
            difference=paired_difference(best, baseline),
            trained=self.evaluator.trains_networks(),
            wall_seconds=self._elapsed(),
            simulated_seconds=self._clock() if self.evaluator.simulated_time else None,
            pareto=self.front.summary(checkpoints=self.evaluator.leaves_weights) if self.front else None,
            settings_changed=settings_changed(self.journal.records),
        )
        checksum = save_summary(self.directory, summary)
        self._record(
            "tested", elapsed=self._elapsed(), arch=chosen.arch, checksum=checksum, **tested_numbers(best)
        )
        return summary

    def _meta_test(self, phase: Phase, result: TrialResult) -> Score | MetaTested:
        if not self.finals.leaves_weights:
            return self.finals.test(result.arch, result.iterations)
        problem = self.problem.for_arch(self.composition.space.parse(result.arch))
        state = problem.restored(Weights.read(self._weights(phase, result.trial)))
        sampler, tasks = self.composition.sampler("test"), self.config.keys.budget.test_tasks
        return score(problem.learner, state, sampler, tasks, stop=self.stop)

    # What observers are told ----------------------------------------------------------------------------

    def _start(self) -> None:
        resumed = bool(self.journal.records)
        if not resumed:
            self._record_start()
        done = sum(phase == "search" for phase, _ in self._finished)
        keys = self.config.keys
        episode = self.problem.train.batch(0, 1) if self.evaluator.trains_networks() else None
        best = best_of([r for (phase, _), r in self._finished.items() if phase == "search"])
        path = str(self.directory.path)
        self.announce(RunStarted(path, keys.budget.trials, done, resumed, keys.batch_norm, episode, best))

    def _record_start(self) -> None:
        """Records what the run is made with, before it makes anything; later calls do nothing.

        Settings that differ from those of the last start replace them, first in the journal, then in
        config.json.
        """
        if self._started:
            return
        self._started = True
        before, now = recorded(self.journal.records), environment(self.composition)
        event = "resumed" if self.journal.records else "started"
        changed = before is not None and before["config"] != json.loads(json.dumps(now["config"]))
        changed = changed or self.directory.config_is_stale()
        replaces = {"replaces": self.directory.config_checksum()} if changed else {}
        typed = asdict(self.command) if self.command else {}
        self.journal.append(event, at=time.time(), **now, **typed, **replaces)
        self.directory.keep_config(now["config"], replace=changed)

    def _announce_start(self, job: Job) -> None:
        space = self.composition.space
        graph = space.drawing(space.parse(job.arch))
        self.announce(TrialStarted(job.phase, job.trial, job.arch, job.iterations, graph))

    def _record(self, event: str, **values: Any) -> None:
        self._record_start()
        self.journal.append(event, **values)
        self._events.add(event)

    def _happened(self, event: str) -> bool:
        return event in self._events

    def _elapsed(self) -> float:
        """Seconds of wall time, including those before the run was resumed."""
        return self._elapsed_before + time.monotonic() - self._began

    def _clock(self) -> float:
        """Seconds spent searching: wall time, or the trials' own times if the evaluator simulates them."""
        if not self.evaluator.simulated_time:
            return self._elapsed()
        return sum(result.seconds for (phase, _), result in self._finished.items() if phase == "search")


def _asked(proposal: Proposal) -> Asked:
    starts = proposal.continues, proposal.inherits
    return Asked(proposal.trial, str(proposal.arch), proposal.iterations, *starts)
