"""Shortcuts that all test processes take. They save what short commands take most of their time for.

None changes a result: shipped options and drawings are the same every time, and no test cuts the power.
"""

import os
import pickle
from collections.abc import Mapping
from copy import deepcopy
from functools import wraps
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode

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
