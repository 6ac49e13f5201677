"""The files of trials: kept while they are needed, forgotten, and made again."""

from pathlib import Path

import pytest
import torch

from nasmeta.run.directory import RunDirectory
from nasmeta.run.state import RunState
from nasmeta.run.weights import TrialPlan, TrialWeights, tidy
from nasmeta.training import checkpoint
from nasmeta.trial import Job
from tests.run.events import asked, finished


class Run:
    """A run of three trials, of which the last continues the first, and of finals in two rounds."""

    def __init__(self, path: Path) -> None:
        self.directory, self.jobs = RunDirectory(path), list[Job]()
        self.state = RunState.replay(
            [
                asked(0), asked(1), finished(0, 0.5), finished(1, 0.4), asked(2, continues=0, iterations=20),
                finished(2, 0.6, arch="arch-0"), finished(0, 0.9, "reference", arch="reference"),
                finished(0, 0.7, "final", arch="arch-0", iterations=50),
                finished(1, 0.8, "final", arch="arch-0", iterations=100),
            ]
        )  # fmt: skip
        self.weights = TrialWeights(self.directory, self.state, self.run, searched=True)
        self.weights.plan(
            [
                TrialPlan("final", 0, "arch-0", 50, start=("search", 2)),
                TrialPlan("final", 1, "arch-0", 100, start=("final", 0)),
                TrialPlan("final", 2, "arch-0", 100, network=1),
            ]
        )
        self.directory.checkpoints.mkdir()
        for phase, trial in self.state.finished:
            self.leave(self.directory.weights(phase, trial))

    def run(self, job: Job) -> None:
        self.jobs.append(job)
        self.leave(job.weights)

    def leave(self, path: Path) -> None:
        checkpoint.save(path, {"x": torch.zeros(3)})

    def names(self) -> set[str]:
        return {path.name for path in self.directory.checkpoints.iterdir()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_only_what_later_trials_start_from_is_kept(run: Run) -> None:
    run.weights.forget_unneeded({0})
    assert "search-00000.pt" in run.names()
    assert not {"search-00001.pt", "search-00002.pt"} & run.names()
    run.weights.forget_unneeded(set())
    assert run.names() == {"reference-00000.pt", "final-00000.pt", "final-00001.pt"}
    tidy(run.directory, run.state)
    assert run.names() == {"reference-00000.pt", "final-00001.pt"}, "what could be continued"


def test_a_trial_that_continues_another_starts_from_its_file(run: Run) -> None:
    job = run.weights.job(TrialPlan.of(run.state.asked[2]))
    assert (job.start, job.iterations) == (run.directory.weights("search", 0), 20)
    assert run.weights.job(TrialPlan.of(run.state.asked[1])).start is None
    assert not run.jobs


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_a_lost_file_is_made_again_with_what_it_starts_from(run: Run, harm: str) -> None:
    for trial in (0, 2):
        path = run.directory.weights("search", trial)
        path.unlink() if harm == "lost" else path.write_bytes(b"no checkpoint")
    assert checkpoint.is_whole(run.weights.of("search", 2))
    assert [(job.trial, job.start) for job in run.jobs] == [
        (0, None),
        (2, run.directory.weights("search", 0)),
    ]


def test_a_file_that_was_forgotten_and_made_again_is_forgotten_again(run: Run) -> None:
    run.weights.forget_unneeded(set())
    run.weights.of("search", 1)
    assert "search-00001.pt" in run.names()
    run.weights.forget_unneeded(set())
    assert "search-00001.pt" not in run.names()


def test_a_lost_full_training_is_made_again_as_it_was_planned(run: Run) -> None:
    for phase, trial in (("search", 2), ("final", 0), ("final", 1)):
        run.directory.weights(phase, trial).unlink()  # type: ignore[arg-type]
    assert checkpoint.is_whole(run.weights.of("final", 1))
    assert [(job.phase, job.trial, job.iterations, job.start) for job in run.jobs] == [
        ("search", 2, 20, run.directory.weights("search", 0)),
        ("final", 0, 50, run.directory.weights("search", 2)),
        ("final", 1, 100, run.directory.weights("final", 0)),
    ]
    run.weights.of("final", 2)
    assert (run.jobs[-1].start, run.jobs[-1].network) == (None, 1)


def test_a_search_that_leaves_no_weights_starts_from_none(run: Run) -> None:
    weights = TrialWeights(run.directory, run.state, run.run, searched=False)
    assert weights.job(TrialPlan("search", 2, "arch-0", 20, start=("search", 0))).start is None
    assert run.weights.job(TrialPlan("search", 2, "arch-0", 20, start=("search", 0))).start is not None
