"""The state of a run: what the events of its journal add up to."""

from collections.abc import Iterable

from nasmeta.run.front import Front
from nasmeta.run.ranking import best_of
from nasmeta.run.records import (
    Asked,
    Finished,
    JournalEvent,
    Measured,
    Pruned,
    Searched,
    Started,
    Tested,
    Uncountable,
)
from nasmeta.trial import Phase, TrialResult

FAILURES_IN_A_ROW = 20
"""A run stops if so many trials fail at its start and none succeeds, because its settings must be wrong."""


class RunState:
    """A fold over the journal. `apply` takes every event, whether it is read back or has just happened.

    objectives: the strategy's costs; with some, the run has a Pareto front.

    asked: the proposed trials by number. finished: the results by phase and trial. best: the best result of
    the search so far; of equal ones, the first. latencies: milliseconds by architecture. uncountable:
    architectures whose cost cannot be counted. elapsed: seconds of wall time. has_searched: whether the
    search phase is over. pruned: whether the run was last ended by the study of its sweep. tested: the last
    meta-test.
    """

    def __init__(self, objectives: tuple[str, ...] = ()) -> None:
        self.front = Front(objectives) if objectives else None
        self.starts: list[Started] = []
        self.asked: dict[int, Asked] = {}
        self.finished: dict[tuple[Phase, int], TrialResult] = {}
        self.best: TrialResult | None = None
        self.latencies: dict[str, float] = {}
        self.uncountable: set[str] = set()
        self.elapsed = 0.0
        self.has_searched = False
        self.pruned = False
        self.tested: Tested | None = None

    @classmethod
    def replay(cls, events: Iterable[JournalEvent], objectives: tuple[str, ...] = ()) -> "RunState":
        """The state after the events."""
        state = cls(objectives)
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: JournalEvent) -> None:
        """Takes the next event."""
        self.elapsed = max(self.elapsed, event.elapsed)
        match event:
            case Started():
                self.starts.append(event)
                self.pruned = False
            case Asked():
                self.asked[event.trial] = event
            case Finished():
                self._finish(event.phase, event.result)
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

    def _finish(self, phase: Phase, result: TrialResult) -> None:
        self.finished[phase, result.trial] = result
        if phase == "search":
            self.best = best_of([r for r in (self.best, result) if r is not None])
            if self.front is not None and result.score is not None:
                self.front.add(result, self.latencies.get(result.arch))

    @property
    def searched(self) -> list[TrialResult]:
        """The results of the search's trials, in the order in which they ended."""
        return [result for (phase, _), result in self.finished.items() if phase == "search"]

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
