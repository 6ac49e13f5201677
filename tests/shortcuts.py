"""Shortcuts that all test processes take. They save what short commands take most of their time for.

None changes a result: shipped options and drawings are the same every time, and no test cuts the power.
"""

import os
import pickle
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import wraps
from typing import Any

import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.hydra import Hydra
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, _utils

from nasmeta.config.conf_dir import config_directory
from nasmeta.datasets.base import ImageTable
from nasmeta.datasets.strokes import Strokes
from nasmeta.task import Split

_installed: list[bool] = []


def install() -> None:
    """Takes all shortcuts in this process."""
    if not _installed:
        _installed.append(True)
        os.fsync = lambda descriptor: os.fstat(descriptor) and None
        read_once()
        parse_once()
        compose_once()
        assemble_once()
        copy_quickly()
        write_quickly()
        draw_once()


def shipped(source: ConfigSource) -> bool:
    """Whether Hydra or nasmeta comes with these options: those that a test writes may change."""
    return source.scheme() != "file" or source.path == str(config_directory())


def read_once() -> None:
    """Hydra reads a shipped YAML file once: a third of the time that composing takes."""
    known: dict[tuple[str, ...], ConfigResult] = {}
    load = ConfigRepository.load_config

    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or not shipped(source):
            return load(self, config_path)
        key = (source.scheme(), source.path, source.provider, config_path)
        if key not in known:
            known[key] = load(self, config_path)
        return deepcopy(known[key])

    ConfigRepository.load_config = load_config
    ConfigResult.__deepcopy__ = lambda self, memo: pickle.loads(pickle.dumps(self))  # in a third of the time


def parse_once() -> None:
    """Hydra parses an override that it has seen only once: a fifth of the time that composing takes."""
    known: dict[tuple[str, str], Any] = {}
    parse = OverridesParser.parse_rule

    def parse_rule(self: OverridesParser, s: str, rule_name: str) -> Any:
        if (s, rule_name) not in known:
            known[s, rule_name] = parse(self, s, rule_name)
        return deepcopy(known[s, rule_name])

    OverridesParser.parse_rule = parse_rule


def compose_once() -> None:
    """Hydra composes a run once, and not first to learn `hydra.mode`, which no shipped option sets."""
    ask = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
        ours = all(map(shipped, self.config_loader.get_sources()))
        if ours and not any("mode" in override for override in overrides):
            return None
        return ask(self, config_name, overrides)

    Hydra.get_mode = get_mode


class Assembled(list[ResultDefault]):
    """The files that options choose, and in `pickled` the configuration that they make, once it is known."""

    pickled: bytes | None = None


def assemble_once() -> None:
    """Hydra puts the files of the same options together once: nearly all of the time that composing takes.

    Overrides that choose no option are applied to a copy, as ever.
    """
    known: dict[tuple[Any, ...], DefaultsList] = {}
    choose, assemble = (
        config_loader_impl.create_defaults_list,
        ConfigLoaderImpl._compose_config_from_defaults_list,
    )

    def create_defaults_list(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Override], **how: bool
    ) -> DefaultsList:
        if not all(map(shipped, repo.get_sources())):
            return choose(repo, config_name, overrides_list, **how)
        settings = Overrides(repo, overrides_list).config_overrides
        choices = tuple(o.input_line for o in overrides_list if not any(o is other for other in settings))
        key = (config_name, choices, *how.items())
        if key not in known:
            made = choose(repo, config_name, overrides_list, **how)
            known[key] = replace(made, defaults=Assembled(made.defaults))
        return replace(known[key], config_overrides=settings)

    def compose(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        if not isinstance(defaults, Assembled):
            return assemble(self, defaults, repo)
        if defaults.pickled is None:
            defaults.pickled = pickle.dumps(assemble(self, defaults, repo))
        config: DictConfig = pickle.loads(defaults.pickled)
        return config

    config_loader_impl.create_defaults_list = create_defaults_list
    ConfigLoaderImpl._compose_config_from_defaults_list = compose


def copy_quickly() -> None:
    """A whole configuration is copied in a thirteenth of the time."""
    copy = DictConfig.__deepcopy__

    def deepcopy(self: DictConfig, memo: dict[int, Any]) -> DictConfig:
        return copy(self, memo) if self._get_parent() is not None else pickle.loads(pickle.dumps(self))

    DictConfig.__deepcopy__ = deepcopy


def write_quickly() -> None:
    """YAML is written in C, but for names that are not UTF-8. Hydra stores three files of every run."""
    slow, write = _utils.OmegaConfDumper, OmegaConf.to_yaml
    options = {name: vars(slow)[name] for name in ("str_representer_added", "str_representer")}
    quick = type("OmegaConfDumper", (yaml.CDumper,), options)

    def to_yaml(config: Any, **options: bool) -> str:
        _utils.OmegaConfDumper = quick
        try:
            return write(config, **options)
        except UnicodeEncodeError:
            _utils.OmegaConfDumper = slow
            return write(config, **options)

    OmegaConf.to_yaml = to_yaml


def draw_once() -> None:
    """Each drawing is made once: eight milliseconds a class. tests/datasets/test_strokes.py undoes this."""
    known: dict[str, Mapping[Split, ImageTable]] = {}
    draw = Strokes._load

    @wraps(draw)
    def load(self: Strokes, split: Split) -> Mapping[Split, ImageTable]:
        key = self.contents(split).fingerprint  # of the options, which determine every drawing
        if key not in known:
            known[key] = draw(self, split)
        return known[key]

    Strokes._load = load
