"""A sweep gets more jobs, and one that fails may stop the others."""

from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.errors import ConfigError
from nasmeta.run.grid import more_jobs
from nasmeta.run.manifest import SweepJob, SweepPlan
from tests.cli.kills import outcome
from tests.cli.runs import SHORT, jobs
from tests.cli.test_sweeps import sweep


def config_of(overrides: list[str]) -> dict[str, Any]:
    return {"seed": 0, **dict(override.split("=", 1) for override in overrides)}


def plan(*jobs: list[str]) -> SweepPlan:
    listed = [
        SweepJob(number=n, directory=str(n), overrides=o, config=config_of(o)) for n, o in enumerate(jobs)
    ]
    return SweepPlan(
        sweeper="hydra._internal.core_plugins.basic_sweeper.BasicSweeper", total=len(jobs), jobs=listed
    )


SEEDS = plan(["task.way=5", "seed=0"], ["task.way=5", "seed=1"])
LEARNERS = plan(["meta_learner=maml"], ["meta_learner=protonet"])


@pytest.mark.parametrize(
    "swept, overrides, added, others",
    [
        (SEEDS, ["seed=2,3"], [(2, "task.way=5 seed=2"), (3, "task.way=5 seed=3")], []),
        (SEEDS, ["seed=1,2", "progress=false"], [(2, "task.way=5 seed=2")], ["progress=false"]),
        (SEEDS, ["seed=range(0,2)"], [], []),
        (SEEDS, ["seed=7"], [(2, "task.way=5 seed=7")], []),
        (LEARNERS, ["seed=1"], [(2, "meta_learner=maml seed=1"), (3, "meta_learner=protonet seed=1")], []),
        (
            LEARNERS,
            ["meta_learner=anil", "seed=1"],
            [
                (2, "meta_learner=maml seed=1"),
                (3, "meta_learner=protonet seed=1"),
                (4, "meta_learner=anil seed=0"),
                (5, "meta_learner=anil seed=1"),
            ],
            [],
        ),
        (SEEDS, ["device=cpu"], [], ["device=cpu"]),
    ],
)
def test_the_jobs_that_a_grid_lacks(
    swept: SweepPlan, overrides: list[str], added: list[tuple[int, str]], others: list[str]
) -> None:
    found, rest = more_jobs(swept, overrides, config_of)
    assert [(job.number, " ".join(job.overrides)) for job in found] == added
    assert all(job.config == config_of(job.overrides) and job.directory == str(job.number) for job in found)
    assert rest == others


def test_a_further_job_gets_a_directory_of_its_own() -> None:
    """Jobs that are named by their seeds, 2 and 3, leave no room for the job number 2."""
    named = plan(["task.way=5", "seed=2"], ["task.way=5", "seed=3"])
    jobs = [job.model_copy(update={"directory": str(n)}) for n, job in enumerate(named.jobs, 2)]
    (found,) = more_jobs(named.model_copy(update={"jobs": jobs}), ["seed=4"], config_of)[0]
    assert (found.number, found.directory) == (2, "4")


def test_a_key_that_the_sweep_does_not_vary_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.way=5,10: .* it varies seed"):
        more_jobs(SEEDS, ["task.way=5,10"], config_of)


def test_more_seeds_are_the_jobs_of_a_sweep_that_had_them(tmp_path: Path) -> None:
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    assert main(sweep(grown, "-m", "seed=0,1")) == 0
    before = (grown / "0" / "best.pt").stat().st_mtime_ns
    assert main(["resume", str(grown), "seed=2,0"]) == 0
    assert (grown / "0" / "best.pt").stat().st_mtime_ns == before
    assert main(sweep(whole, "-m", "seed=0,1,2")) == 0
    assert [{**job, "overrides": None} for job in jobs(grown)] == [
        {**job, "overrides": None} for job in jobs(whole)
    ]
    assert outcome(grown / "2") == outcome(whole / "2")
    assert jobs(grown)[2]["config"] == parse(composed([*SHORT, "seed=2"]), trusted=True).to_dict()


def test_more_jobs_overwrite_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    assert main(sweep(directory, "-m", "seed=0")) == 0
    (directory / "1").mkdir()
    assert main(["resume", str(directory), "seed=1"]) == 2
    assert f"{directory / '1'}: " in capfd.readouterr().err
    assert [job["number"] for job in jobs(directory)] == [0]


def test_a_job_that_fails_may_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "sweep"
    grid = ["-m", "strategy.sample_size=2,99,1", "on_failure=stop"]
    assert main(sweep(directory, *grid)) == 1
    err = capfd.readouterr().err
    assert "1 did not begin" in err
    assert [job["status"] for job in jobs(directory)] == ["done", "failed", "planned"]
    assert err.index("job 1 failed") < err.index("job 2 does not begin"), "said at once"
    assert main(["resume", str(directory)]) == 1
    assert [job["status"] for job in jobs(directory)] == ["done", "failed", "planned"]
    assert main(["resume", str(directory), "on_failure=go_on"]) == 1
    assert [job["status"] for job in jobs(directory)] == ["done", "failed", "done"]
