"""Settings that are searched together with the architecture: what is refused, and what they reach."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import Config, parse
from nasmeta.config.tuning import tuned
from nasmeta.errors import ConfigError
from nasmeta.meta_learners.maml import Maml
from nasmeta.run.composition import Composition
from nasmeta.search_spaces.joint import TunedArchitecture
from nasmeta.training.trained_network import TrainedNetwork
from tests.cli.runs import TINY, search

RATE = "tune={meta_learner.inner_lr: {low: 0.001, high: 0.1, log: true}}"


def config(*overrides: str) -> Config:
    return parse(composed([*TINY, *overrides]), trusted=True)


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("3", "tune: got 3"),
        ("{optimizer.lx: [1, 2]}", "tune.optimizer.lx: cannot be tuned; did you mean 'optimizer.lr'"),
        ("{budget.trials: [1, 2]}", "tune.budget.trials: cannot be tuned"),
        (
            "{optimizer.lr: 5}",
            "tune.optimizer.lr: got 5, should be choices, as [0.01, 0.1], or a range",
        ),
        ("{optimizer.lr: [0.1]}", "tune.optimizer.lr: got [0.1], should be choices"),
        ("{optimizer.lr: [0.1, 0.2, 0.10]}", "0.1 is there twice"),
        ("{meta_learner.learn_inner_lr: [true, 1]}", "1 is there twice"),
        ("{optimizer.lr: [1, 2], optimizer: {lr: [3, 4]}}", "optimizer.lr is there twice"),
        ("{optimizer.lr: {low: 1}}", "tune.optimizer.lr.high: missing"),
        ("{optimizer.lr: {low: 2, high: 1}}", "low=2 has to be below high=1"),
        ("{optimizer.lr: {low: 0, high: 1, log: true}}", "low=0 has to be above 0"),
        ("{optimizer.lr: {low: 1, high: 2, lag: true}}", "tune.optimizer.lr.lag: no such key"),
        ("{optimizer.lr: {low: -1, high: 3}}", "tune.optimizer.lr: cannot be -1"),
        ("{optimizer.schedule: [cosine, lin]}", "tune.optimizer.schedule: cannot be lin"),
        ("{optimizer.schedule: {low: 1, high: 2}}", "tune.optimizer.schedule: its value is 'constant'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tune: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        tuned(config("optimizer.schedule=constant", f"tune={tune}"))
    assert "\n" not in str(caught.value)


def test_what_changes_the_episodes_cannot_be_tuned() -> None:
    with pytest.raises(ConfigError, match="train_way: "):
        tuned(
            parse(composed(["meta_learner=protonet", "tune={meta_learner.train_way: [5, 20]}"]), trusted=True)
        )


@pytest.mark.parametrize(
    "other",
    [["evaluator=zero_cost"], ["evaluator=supernet"], ["strategy=differentiable", "search_space=darts"]],
)
def test_parts_that_train_no_candidate_by_itself(other: list[str]) -> None:
    strokes = ["dataset=strokes", "meta_learner=protonet", "search_space=conv_small"]
    tune = "tune={optimizer.lr: [0.001, 0.01]}"
    with pytest.raises(ConfigError, match="tune: "):
        Composition.of(parse(composed([*strokes, *other, tune]), trusted=True))


def test_a_key_may_be_nested() -> None:
    nested = config("+tune.meta_learner.inner_lr={low: 0.001, high: 0.1, log: true}")
    assert nested.keys.tune == config(RATE).keys.tune


def test_a_key_that_is_not_tuned_yet_has_to_be_added() -> None:
    with pytest.raises(
        ConfigError, match=r"^tune\.optimizer\.lr: is not tuned yet; .*\+tune\.optimizer\.lr="
    ):
        config("tune.optimizer.lr=[0.01, 0.1]")


def test_an_end_of_a_range_is_changed_with_the_whole_range() -> None:
    said = r"^tune\.optimizer\.lr\.high: write the whole range: 'tune=\{optimizer\.lr: \{low: "
    with pytest.raises(ConfigError, match=said):
        config("tune={optimizer.lr: {low: 0.001, high: 0.1}}", "tune.optimizer.lr.high=0.5")


def test_the_order_in_which_keys_are_typed_does_not_matter() -> None:
    one = config("tune={optimizer.lr: [0.01, 0.1], meta_learner.inner_lr: [0.01, 0.1]}")
    other = config("tune={meta_learner.inner_lr: [0.01, 0.1], optimizer.lr: [0.01, 0.1]}")
    assert str(Composition.of(one).space.reference()) == str(Composition.of(other).space.reference())


def test_whole_numbers_are_the_ends_of_a_range_of_numbers() -> None:
    rate, steps = tuned(
        config("tune={optimizer.lr: {low: 1, high: 3}, meta_learner.train_steps: {low: 1, high: 3}}")
    )[::-1]
    assert len(rate.levels) == 33
    assert steps.levels == (1, 2, 3)


def test_settings_that_do_not_go_together_are_a_failed_trial(tmp_path: Path) -> None:
    """Each value alone is right, so only the trial can find out."""
    tune = "tune={meta_learner.alpha_min: [0.001, 0.3], meta_learner.alpha_max: [0.01, 0.6]}"
    words = [word for word in TINY if not word.startswith(("meta_learner", "strategy"))]
    words += [
        "meta_learner=meta_sgd",
        tune,
        "strategy=random",
        "budget.trials=12",
        f"hydra.run.dir={tmp_path}",
    ]
    assert main(["search", *words]) == 0
    reasons = {each["arch"].partition(" @ ")[2]: each["reason"] for each in events(tmp_path, "search")}
    wrong = "meta_learner.alpha_max=0.01,meta_learner.alpha_min=0.3"
    assert wrong in reasons, "draw more trials"
    assert "do not go together: meta_learner.alpha_min=0.3" in reasons.pop(wrong)
    assert not any(reasons.values())


def test_a_training_of_a_tuned_run_tunes_the_reference_too(finished: Path, tmp_path: Path) -> None:
    best = json.loads((finished / "summary.json").read_text())["best"]["arch"]
    for what in (finished, finished / "best.pt"):
        place = tmp_path / what.name
        words = ["seed=1", "logger=none", "progress=false", f"hydra.run.dir={place}"]
        assert main(["train", str(what), *words]) == 0
        assert json.loads((place / "summary.json").read_text())["best"]["arch"] == best
        assert len(events(place, "tuning")) == config(RATE).keys.budget.reference_trials


def test_a_typed_setting_is_that_of_both_networks(finished: Path, tmp_path: Path) -> None:
    words = ["meta_learner.inner_lr=0.02", "logger=none", "progress=false", f"hydra.run.dir={tmp_path}"]
    assert main(["train", str(finished), *words]) == 0
    assert " @ " not in json.loads((tmp_path / "summary.json").read_text())["best"]["arch"]
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["tune"], stored["meta_learner"]["inner_lr"]) == ({}, 0.02)
    assert not events(tmp_path, "tuning")


def test_another_learner_has_no_settings_of_the_first_one(finished: Path, tmp_path: Path) -> None:
    words = ["meta_learner=meta_sgd", "logger=none", "progress=false", f"hydra.run.dir={tmp_path}"]
    assert main(["train", str(finished), *words]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["tune"] == {}


def test_an_architecture_is_trained_with_the_settings_in_its_string(finished: Path, tmp_path: Path) -> None:
    best = json.loads((finished / "summary.json").read_text())["best"]["arch"]
    plain, _, setting = best.partition(" @ ")
    words = [word for word in TINY if not word.startswith(("strategy", "meta_learner.inner_lr"))]
    assert main(["train", best, *words, f"hydra.run.dir={tmp_path}"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["best"]["arch"] == plain
    network = TrainedNetwork.load(tmp_path / "best.pt", trusted=False)
    assert f"meta_learner.inner_lr={network.config['meta_learner']['inner_lr']}" == setting


def test_a_candidate_has_its_own_learner() -> None:
    composition = Composition.of(config("meta_learner.inner_lr=0.01", RATE))
    problem, reference = composition.problem, composition.space.reference()
    own = problem.for_arch(reference.having("meta_learner.inner_lr", 0.1))
    assert isinstance(own.learner, Maml)
    assert isinstance(problem.learner, Maml)
    assert (own.learner.inner_lr, problem.learner.inner_lr) == (0.1, 0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tuned")
    assert search(directory, RATE, "budget.final_candidates=1") == 0
    return directory


def test_the_checkpoint_has_the_settings_of_its_network(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best: dict[str, Any] = json.loads((finished / "summary.json").read_text())["best"]
    plain, _, settings = best["arch"].partition(" @ ")
    network = TrainedNetwork.load(finished / "best.pt", trusted=False)
    assert network.arch == plain
    assert f"meta_learner.inner_lr={network.config['meta_learner']['inner_lr']}" == settings
    assert not network.config["tune"]
    assert main(["evaluate", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(best["test_loss"], rel=1e-5)


def test_a_run_that_is_resumed_reads_its_candidates(finished: Path) -> None:
    space = Composition.of(config(RATE)).space
    asked = [event["arch"] for event in journal(finished) if event["event"] == "asked"]
    assert len(asked) == 4
    for text in asked:
        arch = space.parse(text)
        assert isinstance(arch, TunedArchitecture)
        assert str(arch) == text


def journal(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]


def events(directory: Path, phase: str) -> list[dict[str, Any]]:
    return [e for e in journal(directory) if e["event"] == "finished" and e["phase"] == phase]


def test_the_reference_gets_the_settings_that_judge_it_best(finished: Path) -> None:
    tried = events(finished, "tuning")
    searched = events(finished, "search")
    plain = str(Composition.of(config(RATE)).space.space.reference())
    assert len(tried) == config(RATE).keys.budget.reference_trials
    assert {line["arch"].partition(" @ ")[0] for line in tried} == {plain}
    assert len({line["arch"] for line in tried}) == len(tried)
    own = [*tried, *(line for line in searched if line["arch"].startswith(f"{plain} @ "))]
    least = min(own, key=lambda line: line["valid_loss"])
    (full,) = events(finished, "reference")
    assert full["arch"] == least["arch"]


def test_under_limits_the_reference_is_scaled_to_meet_them(tmp_path: Path) -> None:
    free = Composition.of(config()).space.reference()
    assert search(tmp_path, "constraints.max_params=500", "budget.final_candidates=1") == 0
    (full,) = events(tmp_path, "reference")
    assert full["params"] <= 500
    assert full["arch"] != str(free)


def test_whole_numbers_are_choices_of_a_rate() -> None:
    """Also if the configured value is one of them, and when the network is trained again."""
    (setting,) = tuned(config("tune={optimizer.weight_decay: [0, 1]}"))
    assert setting.levels == (0.0, 1.0)
    assert [str(level) for level in setting.levels] == ["0.0", "1.0"]
    assert setting.parse(str(setting.default)) == 0.0
