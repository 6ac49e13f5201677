"""The spaces under conf/search_space, built from their files alone, so that a new one is tested unlisted."""

from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from nasmeta.search_spaces.base import SearchSpace

FILES = sorted((Path(__file__).parents[2] / "conf" / "search_space").glob("*.yaml"))


def options(name: str) -> dict[str, Any]:
    """The values of a file, with its `_target_`."""
    (path,) = [path for path in FILES if path.stem == name]
    values: Any = OmegaConf.to_container(OmegaConf.load(path))
    return dict(values)


def shipped(name: str, **changed: Any) -> SearchSpace[Any]:
    """The space of a file, with some values changed."""
    values = {**options(name), **changed}
    module, _, cls = values.pop("_target_").rpartition(".")
    space: SearchSpace[Any] = getattr(import_module(module), cls)(**values)
    return space
