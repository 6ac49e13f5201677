import subprocess
import sys
from pathlib import Path

import pytest

from nasmeta.cli.catalogue import catalogue
from nasmeta.errors import ConfigError


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for name, text in {
        "search.yaml": "# the primary config\n",
        "strategy/random.yaml": "# every trial an independent draw\n_target_: a.B\n",
        "strategy/evolution.yaml": "\n_target_: a.C\n# comes late but counts\n# not this one\n",
        "experiment/rea.yaml": "# @package _global_\n# regularized evolution\n",
        "hydra/job_logging/stderr.yaml": "# nothing to compose\n",
        "dataset/bare.yaml": "_target_: a.D\n",
    }.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "conf"


def test_one_group(conf: Path) -> None:
    assert catalogue([conf], "strategy").splitlines() == [
        "evolution  comes late but counts",
        "random     every trial an independent draw",
    ]
    assert catalogue([conf], "experiment") == "rea  regularized evolution"


def test_all_groups(conf: Path) -> None:
    assert catalogue([conf]).splitlines() == [
        "dataset",
        "  bare",
        "",
        "experiment",
        "  rea  regularized evolution",
        "",
        "strategy",
        "  evolution  comes late but counts",
        "  random     every trial an independent draw",
    ]


def test_a_users_folder_adds_options_and_never_hides_ours(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "strategy").mkdir(parents=True)
    (tmp_path / "mine" / "strategy" / "random.yaml").write_text("# theirs\n")
    (tmp_path / "mine" / "strategy" / "hillclimb.yaml").write_text("# uphill\n")
    lines = catalogue([conf, tmp_path / "mine"], "strategy").splitlines()
    assert [line.split()[0] for line in lines] == ["evolution", "hillclimb", "random"]
    assert "theirs" not in "".join(lines)


def test_an_unknown_group_names_the_closest(conf: Path) -> None:
    with pytest.raises(ConfigError, match="'stratgy'; did you mean 'strategy'"):
        catalogue([conf], "stratgy")
    with pytest.raises(ConfigError, match="valid: dataset, experiment, strategy"):
        catalogue([conf], "xyz")


def test_what_is_listed_besides_the_groups_is_a_name_too(conf: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'checkpoints'"):
        catalogue([conf], "checkpoint", others=["checkpoints"])


def test_the_projects_own_options_are_all_described() -> None:
    conf = Path(__file__).parents[2] / "conf"
    lines = [line for line in catalogue([conf]).splitlines() if line.startswith("  ")]
    assert len(lines) >= 6
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    "module",
    ["cli.catalogue", "reporting.tables.closing", "reporting.progress", "reporting.trackers.tensorboard"],
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, nasmeta.{module}; "
        "print([name for name in ('torch', 'hydra', 'matplotlib', 'tensorboard', 'omegaconf') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: no such folder \(--config-dir\)"):
        catalogue([tmp_path / "nowhere"])
