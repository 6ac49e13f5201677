"""Shortcuts that all test processes take. They save what short commands take most of their time for.

None changes a result: shipped options and drawings are the same every time, and no test cuts the power.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from functools import wraps

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra.core.object_type import ObjectType
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
