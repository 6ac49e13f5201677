"""The state of a run: what the events of its journal add up to."""

from collections.abc import Iterable
from typing import NamedTuple

from nasmeta.run.front import Front
from nasmeta.run.ranking import best_of
from nasmeta.run.records import (
    Asked,
    Finished,
    JournalEvent,
    Measured,
    Pruned,
    Retried,
    Searched,
    Started,
    Tested,
    Uncountable,
    WarmStarted,
)
from nasmeta.trial import Phase, TrialResult

FAILURES_IN_A_ROW = 20
"""A run stops if so many trials fail at its start and none succeeds, because its settings must be wrong."""


class Training(NamedTuple):
    """A full training: all that its result depends on besides the run's own settings.

    network: 0, or the number of a further network of the architecture. spans: the budgets that decide how it
    is trained, besides its own iterations: none if it is the beginning of any longer training.
    """

    phase: Phase
    arch: str
    iterations: int
    network: int
    spans: tuple[int, ...]


class RunState:
    """A fold over the journal. `apply` takes every event, whether it is read back or has just happened.

    objectives: the strategy's costs; with some, the run has a Pareto front.

    earlier: the trials of earlier runs. asked: the proposed trials by number. finished: the results by phase
    and trial. best: the best result of the search so far; of equal ones, the first. latencies: milliseconds
    by network. uncountable: networks whose cost cannot be counted (both without settings). elapsed: seconds
    of wall time; search_seconds: those of the search phase. has_searched: whether that is over. pruned:
    whether the run was last ended by the study of its sweep. tested: the meta-test with which the run has
    ended; None if it goes on. ends: how often it has ended. trained: the number of the latest result of each
    full training. continued: by phase and number, the training of the same phase that a full training
    continued. retries: the failed trials to try again.
    """

    def __init__(self, objectives: tuple[str, ...] = ()) -> None:
        self.front = Front(objectives) if objectives else None
        self.starts: list[Started] = []
        self.earlier: list[TrialResult] = []
        self.asked: dict[int, Asked] = {}
        self.finished: dict[tuple[Phase, int], TrialResult] = {}
        self.best: TrialResult | None = None
        self.latencies: dict[str, float] = {}
        self.uncountable: set[str] = set()
        self.elapsed = 0.0
        self.search_seconds = 0.0
        self.has_searched = False
        self.pruned = False
        self.tested: Tested | None = None
        self.ends = 0
        self.trained: dict[Training, int] = {}
        self.continued: dict[tuple[Phase, int], int] = {}
        self.retries: set[tuple[Phase, int]] = set()

    @classmethod
    def replay(cls, events: Iterable[JournalEvent], objectives: tuple[str, ...] = ()) -> "RunState":
        """The state after the events."""
        state = cls(objectives)
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: JournalEvent) -> None:
        """Takes the next event."""
        passed = max(event.elapsed - self.elapsed, 0.0)
        self.elapsed += passed
        if not self.has_searched:
            self.search_seconds += passed
        match event:
            case Started():
                self.starts.append(event)
                self.pruned = False
                if event.added:
                    self.tested = None
                if {"budget.trials", "budget.max_seconds"} & event.added.keys():
                    self.has_searched = False
            case WarmStarted():
                self.earlier = event.results
            case Asked():
                self.asked[event.trial] = event
            case Finished():
                self._finish(event)
            case Retried():
                self.tested = None
                keys = {(phase, trial) for phase, trials in event.trials.items() for trial in trials}
                self.retries |= keys
                self.trained = {t: n for t, n in self.trained.items() if (t.phase, n) not in keys}
            case Measured():
                self.latencies[event.arch] = event.ms
            case Uncountable():
                self.uncountable.add(event.arch)
            case Searched():
                self.has_searched = True
            case Pruned():
                self.pruned = True
            case Tested():
                self.tested = event
                self.ends += 1

    def _finish(self, event: Finished) -> None:
        phase, result = event.phase, event.result
        self.finished[phase, result.trial] = result
        self.retries.discard((phase, result.trial))
        if phase == "search":
            self.best = best_of([r for r in (self.best, result) if r is not None])
            if self.front is not None and result.score is not None:
                self.front.add(result)
        elif phase != "tuning":
            training = Training(phase, result.arch, result.iterations, event.network, tuple(event.spans))
            self.trained[training] = result.trial
            if event.continues is not None:
                self.continued[phase, result.trial] = event.continues

    @property
    def searched(self) -> list[TrialResult]:
        """The results of the search's trials, in the order in which they ended."""
        return [result for (phase, _), result in self.finished.items() if phase == "search"]

    @property
    def failed(self) -> dict[Phase, list[int]]:
        """The failed trials by phase, except full trainings that were tried again."""
        full = {(training.phase, number) for training, number in self.trained.items()}
        failed: dict[Phase, list[int]] = {}
        for (phase, trial), result in self.finished.items():
            if result.status == "failed" and (phase in ("search", "tuning") or (phase, trial) in full):
                failed.setdefault(phase, []).append(trial)
        return failed

    @property
    def first_trials(self) -> int | None:
        """budget.trials before it grew; None if it never did."""
        grown = (start.added["budget.trials"] for start in self.starts if "budget.trials" in start.added)
        first = next(grown, [None])[0]
        return None if first is None else int(first)

    def train_seconds(self, key: tuple[Phase, int]) -> float:
        """The seconds of a trial's meta-training, with those of the trials of its phase that it continued."""
        seconds, seen = 0.0, set[tuple[Phase, int]]()
        while key in self.finished and key not in seen:
            seconds += self.finished[key].train_seconds
            seen.add(key)
            phase, trial = key
            before = self.asked[trial].continues if phase == "search" else self.continued.get(key)
            key = phase, -1 if before is None else before
        return seconds

    def continuable(self) -> set[tuple[Phase, int]]:
        """The full trainings that a longer one may continue: the longest of each network."""
        longest: dict[tuple[Phase, str, int], Training] = {}
        for training in self.trained:
            key = training.phase, training.arch, training.network
            if training.iterations >= longest.get(key, training).iterations:
                longest[key] = training
        return {(training.phase, self.trained[training]) for training in longest.values()}

    @property
    def simulated_seconds(self) -> float:
        """The seconds that the search's trials say that they took."""
        return sum(result.seconds for result in self.searched)

    @property
    def hopeless(self) -> str | None:
        """Why the search should stop, because all its first trials failed; None if it should not."""
        if self.best is not None or len(self.searched) < FAILURES_IN_A_ROW:
            return None
        return self.all_failed

    @property
    def all_failed(self) -> str:
        """What to say of a search that has no best result."""
        failed = self.searched
        if not failed:
            return "the search tried no architecture"
        return f"the first {len(failed)} trials all failed, the last one: {failed[-1].reason}"
