"""How busy workers are if results are told by submission and by completion. The clock is simulated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.executors.base import Executor, Order
from nasmeta.run.composition import Composition
from nasmeta.run.journal import read
from nasmeta.run.search import propose_and_judge
from nasmeta.trial import Job, TrialResult
from tests.cli.runs import TINY
from tests.run.test_trials import by_length, trials_of

WORKERS = 8
BASE = [o for o in TINY if not o.startswith(("strategy.", "budget.trials"))]
STRATEGIES = {
    "random": ["budget.trials=160"],
    "evolution": ["budget.trials=160", "strategy.population_size=20", "strategy.sample_size=5"],
    "nsga2": ["budget.trials=160", "strategy.population_size=12"],
    "hyperband": ["budget.trials=160", "strategy.mode=asha", "budget.search_iterations=9"],
    "predictor": ["budget.trials=60", "strategy.mutants=3", "strategy.immigrants=2"],
}


def between(job: Job) -> float:
    """0.2 to 2 s for a full training, by the architecture."""
    return float(seeding.stream(0, "seconds", job.arch, job.iterations).uniform(0.2, 2.0))


def by_budget(job: Job) -> float:
    """1, 3 or 9 s on the rungs of ASHA."""
    return float(job.iterations)


class Simulated(Executor):
    """Workers that take the `seconds` of a job on a clock of their own; `busy` is the share of their time.

    Until the last job is submitted: after that, workers run out of jobs whatever the order.
    """

    capacity = WORKERS

    def __init__(self, seconds: Callable[[Job], float], order: Order) -> None:
        self.seconds, self.order = seconds, order
        self.now, self.until = 0.0, 0.0
        self.running, self.spans = list[tuple[float, float, Job]](), list[tuple[float, float]]()

    def submit(self, job: Job) -> None:
        self.running.append((self.now, self.now + self.seconds(job), job))
        self.until = self.now

    def collect(self) -> tuple[Job, TrialResult]:
        by_end = sorted(self.running, key=lambda each: each[1])
        ended = (self.running if self.order == "submission" else by_end)[0]
        self.running.remove(ended)
        began, end, job = ended
        self.now = max(self.now, end)
        self.spans.append((began, end))
        return job, by_length(job)

    @property
    def busy(self) -> float:
        worked = sum(max(0.0, min(end, self.until) - began) for began, end in self.spans)
        return worked / (WORKERS * self.until)


def searched(name: str, path: Path, seconds: Callable[[Job], float], order: Order) -> float:
    """How busy the workers are in a search with a strategy of STRATEGIES."""
    config = parse(composed([*BASE, f"strategy={name}", *STRATEGIES[name]]), trusted=True)
    path.mkdir()
    with trials_of(Composition.of(config), path) as (trials, _, strategy):
        trials.executor = executor = Simulated(seconds, order)
        propose_and_judge(strategy, trials)
    return executor.busy


@pytest.mark.parametrize("name", STRATEGIES)
def test_by_completion_eight_workers_are_busy(name: str, tmp_path: Path) -> None:
    assert searched(name, tmp_path / "run", between, "completion") > 0.9


def test_by_submission_workers_wait_for_long_trials(tmp_path: Path) -> None:
    waiting = searched("hyperband", tmp_path / "submission", by_budget, "submission")
    assert waiting < 0.6
    assert searched("hyperband", tmp_path / "completion", by_budget, "completion") > 0.95


@pytest.mark.parametrize("cut", [5, 40, 70])
def test_the_journal_of_results_in_any_order_replays(cut: int, tmp_path: Path) -> None:
    """A killed run is told in the order of its journal, and goes on: all trials end, each once."""
    config = parse(
        composed([*BASE, "strategy=nsga2", *STRATEGIES["nsga2"], "budget.trials=40"]), trusted=True
    )
    composition = Composition.of(config)
    with trials_of(composition, tmp_path) as (trials, journal, strategy):
        trials.executor = Simulated(between, "completion")
        trials.stop = lambda: len(journal.records) >= cut
        with pytest.raises(BaseException, match="stopped between two trials"):
            propose_and_judge(strategy, trials)
    lines, _ = read(tmp_path / "journal.jsonl")
    told = [line["trial"] for line in lines if line["event"] == "finished"]
    assert cut == 5 or told != sorted(told)
    with trials_of(composition, tmp_path) as (trials, _, strategy):
        trials.executor = Simulated(between, "completion")
        propose_and_judge(strategy, trials)
    again, _ = read(tmp_path / "journal.jsonl")
    assert again[: len(lines)] == lines
    assert sorted(line["trial"] for line in again if line["event"] == "finished") == list(range(40))
