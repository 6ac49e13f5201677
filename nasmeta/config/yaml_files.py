"""Reads YAML files that a user wrote. Errors name the file and the line."""

from pathlib import Path
from typing import Any

import yaml

from nasmeta.errors import ConfigError
from nasmeta.runtime import files


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without the byte-order mark that some editors put at its start.

    Raises ConfigError if the file cannot be read, or is not UTF-8.
    """
    try:
        data = files.read_bytes(path, files.MAX_TEXT)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise ConfigError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from error


def read_mapping(path: Path, text: str) -> dict[str, Any]:
    """The keys and values in `text`, the content of `path`; an empty file has none.

    Raises ConfigError if the text is not YAML or does not consist of `key: value`.
    """
    from omegaconf._utils import get_yaml_loader  # refuses a key that is given twice

    try:
        content = yaml.load(text, Loader=get_yaml_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        hint = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{path}:{line}: {error.problem or error.context}{hint}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: character {error.character:#x}: {error.reason}") from error
    except (RecursionError, ValueError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise ConfigError(f"{path}: {reason}") from error
    if content is not None and not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise ConfigError(f"{path}: holds {kind}; expected lines of `key: value`")
    return content or {}
