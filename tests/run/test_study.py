"""A study proposes and prunes by its settings and the ended jobs alone, whoever asks, and whenever."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.errors import ConfigError, RunDirectoryError
from nasmeta.run.manifest import Manifest, StudySettings, SweepJob, SweepPlan
from nasmeta.run.pruning import Pruning
from nasmeta.run.study import Study, searched
from nasmeta.runtime.validation import validated
from nasmeta.trial import TrialResult

pytestmark = pytest.mark.extra("optuna")

SPACE = ("optimizer.lr=tag(log, interval(1e-4, 1e-1))", "meta_learner=protonet,maml", "seed=0")


def settings(*sweeps: str, **changed: Any) -> StudySettings:
    fixed, space = searched(OverridesParser.create().parse_overrides(list(sweeps or SPACE)))
    values = {
        "n_trials": 12,
        "n_jobs": 1,
        "sampler": "TPESampler",
        "pruner": "NopPruner",
        "objectives": ["score"],
        "constraints": {},
        "seed": 0,
        "fixed": fixed,
        "space": space,
    }
    return validated(StudySettings, values | changed, "hydra.sweeper.")


def ended(number: int, overrides: list[str]) -> SweepJob:
    """A made-up job: its numbers depend on its overrides, and every fifth one failed."""
    rate = float(next(o for o in overrides if o.startswith("optimizer.lr=")).partition("=")[2])
    score = 1 - abs(math.log10(rate) + 2) / 4 + 0.1 * ("meta_learner=maml" in overrides)
    job = SweepJob(number=number, directory=str(number), overrides=overrides, config={})
    if number % 5 == 4:
        return job.model_copy(update={"status": "failed", "reason": "made up"})
    numbers = {"score": score, "params": 1e6 * rate}
    return job.model_copy(update={"status": "done", "numbers": numbers, "scores": [score / 2, score]})


def stored(directory: Path, study: StudySettings, jobs: Sequence[SweepJob] = ()) -> Manifest:
    directory.mkdir(exist_ok=True)
    manifest = Manifest(directory)
    manifest.write(SweepPlan(sweeper="optuna", total=study.n_trials, study=study, jobs=list(jobs)))
    return manifest


def swept(manifest: Manifest, study: StudySettings) -> list[SweepJob]:
    """The jobs of the sweep; those that the manifest has already are not run again."""
    for first, batch in Study(study).batches(manifest):
        known = manifest.read().by_number()
        for number, overrides in enumerate(batch, first):
            if number not in known:
                manifest.add(ended(number, overrides))
    return manifest.read().jobs


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize(
    "changed",
    [
        {"sampler": "RandomSampler"},
        {"sampler": {"name": "TPESampler", "n_startup_trials": 3, "multivariate": True}},
        {"sampler": "QMCSampler"},
        {"sampler": {"name": "NSGAIISampler", "population_size": 4}, "objectives": ["score", "params"]},
        {"sampler": {"name": "TPESampler", "n_startup_trials": 3}, "constraints": {"params": 5000}},
    ],
    ids=str,
)
def test_a_resumed_study_asks_what_an_unbroken_one_asks(
    tmp_path: Path, changed: dict[str, Any], n_jobs: int
) -> None:
    study = settings(n_jobs=n_jobs, **changed)
    unbroken = swept(stored(tmp_path / "unbroken", study), study)
    assert len({str(job.overrides) for job in unbroken}) > 6
    for kept in (0, 4, 8):
        assert swept(stored(tmp_path / str(kept), study, unbroken[:kept]), study) == unbroken


def test_what_jobs_gave_decides_what_is_asked_next(tmp_path: Path) -> None:
    study = settings(sampler={"name": "TPESampler", "n_startup_trials": 3})
    unbroken = swept(stored(tmp_path / "unbroken", study), study)
    first = unbroken[0].model_copy(update={"numbers": {"score": 99.0, "params": 1.0}})
    others = swept(stored(tmp_path / "other", study, [first, *unbroken[1:3]]), study)
    assert [job.overrides for job in others[3:]] != [job.overrides for job in unbroken[3:]]


def test_the_sampler_heeds_constraints(tmp_path: Path) -> None:
    sampler = {"name": "TPESampler", "n_startup_trials": 5}
    free = settings(n_trials=30, sampler=sampler)
    limited = settings(n_trials=30, sampler=sampler, constraints={"params": 1000})

    def within(study: StudySettings) -> int:
        jobs = swept(stored(tmp_path / str(len(study.constraints)), study), study)
        return sum(job.numbers.get("params", 0.0) <= 1000 for job in jobs[5:] if job.status == "done")

    assert within(limited) > within(free)


def test_another_proposal_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    study = settings()
    other = ended(0, ["seed=0", "optimizer.lr=0.5", "meta_learner=maml"])
    with pytest.raises(RunDirectoryError, match=r"job 0 was seed=0 optimizer.lr=0.5 .* now proposes"):
        swept(stored(tmp_path / "sweep", study, [other]), study)


def test_a_sampler_that_has_proposed_everything_ends_the_study(tmp_path: Path) -> None:
    study = settings("optimizer.lr=0.1,0.2", "meta_learner=protonet,maml", sampler="BruteForceSampler")
    jobs = swept(stored(tmp_path / "sweep", study), study)
    assert len({str(job.overrides) for job in jobs}) == len(jobs) == 4


@pytest.mark.parametrize(
    "sweep,ends",
    [
        ("a=interval(1, 4)", ["1.0", "4.0"]),
        ("a=int(interval(1, 4))", ["1", "4"]),
        ("a=range(1, 4)", ["1", "3"]),
        ("a=range(2, 9, 3)", ["2", "8"]),
        ("a=range(0.5, 2.0, 0.5)", ["0.5", "1.5"]),
        ("a=tag(log, int(interval(1, 64)))", ["1", "64"]),
        ("a=choice(x, y, 3)", ["x", "y", "3"]),
        ("a=x,'y z'", ["x", "'y z'"]),
    ],
)
def test_hydras_sweeps_are_optunas_distributions(sweep: str, ends: list[str]) -> None:
    study = Study(settings(sweep, "b=1"))
    assert list(study.extremes()) == [["b=1", f"a={end}"] for end in ends]
    low, high = ends[0], ends[-1]
    asked = [overrides[-1].removeprefix("a=") for overrides in study.ask(20)]
    if sweep.startswith(("a=interval", "a=int", "a=range", "a=tag")):
        assert all(float(low) <= float(value) <= float(high) for value in asked)
    else:
        assert set(asked) == set(ends)


@pytest.mark.parametrize(
    "changed,told",
    [
        ({"sampler": "TPESample"}, "sampler.*TPESample in .*did you mean 'TPESampler'"),
        ({"sampler": {"name": "TPESampler", "startup": 1}}, "sampler: TPESampler: .*startup"),
        ({"sampler": 3}, "sampler"),
        ({"sampler": {"name": "BaseSampler"}}, "no BaseSampler"),
        ({"pruner": {"name": "PercentilePruner"}}, "pruner: PercentilePruner: .*percentile"),
        ({"pruner": "MedianPruner", "objectives": ["score", "flops"]}, "pruner: .*one objective"),
        ({"pruner": "MedianPruner", "objectives": ["flops"]}, r"pruner: .*objectives=\[score\]"),
        ({"objectives": ["test_accuracy"]}, "objectives"),
        ({"n_trials": 0}, "n_trials"),
        ({"constraints": {"size": 3}}, "constraints"),
    ],
)
def test_wrong_settings_are_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=rf"hydra\.sweeper\..*{told}"):
        Study(settings(**changed))


@pytest.mark.parametrize("sweep", ["a=interval(3, 1)", "a=tag(log, interval(0, 1))", "a=range(3, 1)"])
def test_a_range_that_is_none_is_named(sweep: str) -> None:
    with pytest.raises(ConfigError, match=r"^a="):
        settings(sweep)


def results(*scores: float | None) -> list[TrialResult]:
    return [
        TrialResult(
            trial=trial,
            arch="a",
            iterations=1,
            status="failed" if score is None else "ok",
            valid_accuracy=score,
            params=1,
            flops=1,
            train_seconds=0.0,
            seconds=0.0,
        )
        for trial, score in enumerate(scores)
    ]


def earlier(*scores: float) -> list[SweepJob]:
    return [
        SweepJob(
            number=number,
            directory=str(number),
            overrides=[],
            config={},
            status="done",
            numbers={"score": score},
            scores=[score, score],
        )
        for number, score in enumerate(scores)
    ]


def test_a_job_worse_than_the_median_of_earlier_ones_is_pruned() -> None:
    study = settings(pruner={"name": "MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 1})
    trials = results(0.2, 0.4, 0.6)
    pruning = Pruning(study, earlier(0.5, 0.7), 2)
    assert not pruning(trials[:1]), "the first step is for warming up"
    assert pruning(trials[:2])
    assert pruning.scores == [0.2, 0.4]
    assert not Pruning(study, earlier(0.5, 0.3), 2)(trials[:2])
    assert not Pruning(study, earlier(0.5), 1)(trials[:2]), "too few jobs to compare with"


def test_a_pruner_sees_the_best_score_so_far_and_no_failed_trial() -> None:
    study = settings(pruner={"name": "ThresholdPruner", "lower": 0.1})
    pruning = Pruning(study, [], 0)
    assert not pruning(results(None, 0.5, 0.0, 0.7))
    assert pruning.scores == [None, 0.5, 0.5, 0.7]
    assert Pruning(study, [], 0)(results(None, 0.05))


def test_jobs_of_a_batch_do_not_see_each_other() -> None:
    study = settings(n_jobs=2, pruner={"name": "MedianPruner", "n_startup_trials": 1})
    jobs = earlier(0.5, 0.5, 0.9)
    assert not Pruning(study, jobs, 3)(results(0.6, 0.6))
    assert Pruning(study, earlier(0.5, 0.5, 0.9, 0.9), 4)(results(0.4, 0.4))


def test_what_a_pruner_notes_counts_for_later_jobs() -> None:
    study = settings(pruner={"name": "SuccessiveHalvingPruner", "min_resource": 1, "reduction_factor": 2})
    first = Pruning(study, [], 0)
    assert not first(results(0.9, 0.9))
    (job,) = earlier(0.9)
    job = job.model_copy(update={"notes": first.notes})
    assert Pruning(study, [job], 1)(results(0.5, 0.5))
    assert not Pruning(study, earlier(0.9), 1)(results(0.5, 0.5)), "without the notes it would be the first"
