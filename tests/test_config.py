"""The configuration: every file of conf/ composes, is checked and is built; schemas come from annotations."""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nasmeta.config.conf_dir import config_directory
from nasmeta.config.overrides import composed, overridden
from nasmeta.config.schema import GROUPS, INJECTED, OPTION_GROUPS, flat, parse, resolve
from nasmeta.config.shipped import closest, option_of
from nasmeta.errors import ConfigError
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.run.composition import Composition
from tests.option_names import names

OPTIONS = sorted(
    (path.parent.name, path.stem)
    for path in config_directory().glob("*/*.yaml")
    if path.parent.name in GROUPS
)
NEEDS = {
    ("dataset", "sinusoid"): ["search_space=mlp", "meta_learner=maml"],
    ("dataset", "omniglot"): ["dataset.root=here"],
    ("evaluator", "tabular"): ["evaluator.table=here"],
    ("dataset", "image_folder"): ["dataset.root=here"],
}

NAMED = "meta_learner", "search_space", "augment"


@cache
def shipped(group: str, option: str) -> DictConfig:
    return composed([f"{group}={option}", *NEEDS.get((group, option), [])])


@pytest.mark.parametrize("group,option", OPTIONS, ids=str)
def test_every_option_composes_and_is_valid(group: str, option: str) -> None:
    config = parse(shipped(group, option), trusted=False)
    if group not in ("dataset", "evaluator", "executor", "strategy"):
        assert config.build(group, batch_norm=BatchNormPolicy.SUPPORT) is not None


@pytest.mark.parametrize("group,option", OPTIONS, ids=str)
def test_every_option_is_the_closest_to_its_own_values(group: str, option: str) -> None:
    stored = parse(shipped(group, option), trusted=False).to_dict()[group]
    if stored:  # loggers are several options of a group
        assert closest(group, dict(flat(stored, ""))) == option


@pytest.mark.parametrize("group,option", [o for o in OPTIONS if o[0] in NAMED], ids=str)
def test_an_object_has_the_name_of_its_option(group: str, option: str) -> None:
    part = parse(shipped(group, option), trusted=False).build(group, batch_norm=BatchNormPolicy.SUPPORT)
    assert option_of(group, part) == option


def test_a_users_own_object_has_the_name_of_its_class() -> None:
    class Own: ...

    assert option_of("strategy", Own()) == "Own"


@pytest.mark.parametrize("group,option", OPTIONS, ids=str)
def test_yaml_keys_are_the_constructor_arguments_and_nothing_has_a_default(group: str, option: str) -> None:
    node = shipped(group, option)[group]
    target = resolve(group, node["_target_"], trusted=False)
    parameters = inspect.signature(target).parameters
    assert {*node} - {"_target_"} == {*parameters} - INJECTED.get(group, frozenset())
    for parameter in parameters.values():
        injected = parameter.name in INJECTED.get(group, frozenset())
        assert injected or parameter.kind is parameter.KEYWORD_ONLY, parameter
        assert parameter.default is parameter.empty, parameter
        assert parameter.annotation is not parameter.empty, parameter


RECIPES = [(group, option) for group in ("experiment", "target", "debug") for option in names(group)]


@pytest.mark.parametrize("group,option", RECIPES, ids=str)
def test_every_recipe_composes_and_fits_together(group: str, option: str) -> None:
    Composition.of(parse(composed([f"{group}={option}"]), trusted=False))


def test_every_folder_of_options_is_a_group_that_is_checked() -> None:
    folders = {path.name for path in config_directory().iterdir() if path.is_dir()}
    assert folders - {"experiment", "target", "debug", "hydra"} == set(OPTION_GROUPS)


def test_the_stored_form_is_parsed_back() -> None:
    config = parse(composed([]), trusted=False)
    assert parse(config.to_dict(), trusted=False) == config


def test_folders_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = parse(composed(["dataset=image_folder", "dataset.root=pictures"]), trusted=False)
    assert config.groups["dataset"]["root"] == str(tmp_path / "pictures")


def test_a_users_own_class_is_checked_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from typing import Annotated\nfrom pydantic import Field\n"
        "from nasmeta.strategies.random import RandomSearch\n"
        "class Mine(RandomSearch):\n"
        "    def __init__(self, context, *, power: Annotated[int, Field(le=9)]):\n"
        "        super().__init__(context)\n"
        "        self.power = power\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    values: dict[str, Any] = OmegaConf.to_container(composed([]))  # type: ignore[assignment]
    values["strategy"] = {"_target_": "mine.Mine", "power": 3}
    assert Composition.of(parse(values, trusted=True)).strategy(lambda arch: True).power == 3  # type: ignore[attr-defined]
    values["strategy"] = {"_target_": "mine.Mine", "power": 30}
    with pytest.raises(ConfigError, match=r"strategy\.power: got 30\b.*\b9$"):
        parse(values, trusted=True)
    values["strategy"] = {"_target_": "mine.Mine", "powr": 3}
    with pytest.raises(ConfigError, match=r"strategy\.powr: .*'power'"):
        parse(values, trusted=True)
    with pytest.raises(ConfigError, match=r"'mine\.Mine' .*nasmeta\.strategies .*--trust-code"):
        parse(values, trusted=False)


def test_overrides_of_a_stored_configuration() -> None:
    stored = parse(composed([]), trusted=False).to_dict()
    config = parse(overridden(stored, ["task.shot=5", "optimizer=sgd", "optimizer.lr=0.5"]), trusted=False)
    assert config.keys.task.shot == 5
    assert config.groups["optimizer"]["_target_"].endswith("sgd")
    assert config.groups["optimizer"]["lr"] == 0.5
    with pytest.raises(ConfigError, match="only key=value"):
        overridden(stored, ["task.shot=1,5"])


def test_hparams_are_flat_and_plain() -> None:
    flat = parse(composed([]), trusted=False).hparams()
    assert flat["task.way"] == 5
    assert flat["budget.max_seconds"] == "None"
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())


@pytest.mark.parametrize("name", names("dataset"))
def test_the_debug_settings_go_with_every_dataset(name: str) -> None:
    root = ["dataset.root=images"] if name == "image_folder" else []
    config = parse(composed([f"dataset={name}", "debug=default", *root]), trusted=True)
    assert config.keys.budget.trials == 3
