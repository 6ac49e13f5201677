"""Changes to Hydra that have to be made before it composes anything."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nasmeta.config.keys import SETTINGS
from nasmeta.config.yaml_files import read_mapping, read_text
from nasmeta.errors import ConfigError


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of YAML files, except that what is wrong with a file is said in one line.

    A byte-order mark is skipped; with it, Hydra would overlook the package line that follows.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if not path.is_file():
            return super().load_config(config_path)
        text = read_text(path)
        content = read_mapping(path, text)
        try:
            header = self._get_header_dict(text[:512])
            config = OmegaConf.create(content)
        except (OmegaConfBaseException, ValueError) as error:
            raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
        if config_path.split("/")[0] in SETTINGS and header["package"] != "_global_":
            raise ConfigError(
                f"{path}: sets nothing without the line `# @package _global_` at its top; add it"
            )
        source = f"{self.scheme()}://{self.path}"
        return ConfigResult(config=config, path=source, provider=self.provider, header=header)


def install() -> None:
    """Makes Hydra read files with FileConfigSource."""
    Plugins.instance()  # registers its own reader, once
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


@contextmanager
def text_help() -> Iterator[None]:
    """Inside the block, converts the help of every argparse option to text.

    Hydra passes an object as the help of an option, which argparse refuses from Python 3.14 on (Hydra issue
    3121, Hydra versions up to 1.3.8).
    """
    container = argparse._ActionsContainer
    original = container.add_argument

    def add_argument(self: Any, *names: Any, **options: Any) -> argparse.Action:
        if options.get("help") is not None:
            options["help"] = str(options["help"])
        return original(self, *names, **options)

    container.add_argument = add_argument  # type: ignore[method-assign]
    try:
        yield
    finally:
        container.add_argument = original  # type: ignore[method-assign]
