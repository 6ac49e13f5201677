"""Lists the options of the config groups, read from the YAML files alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nasmeta.config.yaml_files import read_mapping, read_text
from nasmeta.errors import ConfigError, suggest


def catalogue(conf_dirs: Iterable[Path], group: str | None = None, others: Sequence[str] = ()) -> str:
    """One line for each option of all groups, or of `group`: its name and the first comment of its file.

    If several folders have an option of the same name, the first folder counts, as on Hydra's search path.
    Raises ConfigError for a folder that is not there, and for a group that no folder has, with the nearest
    name of a group or of `others`.
    """
    groups = _groups(conf_dirs)
    if group is None:
        return "\n\n".join(f"{name}\n{_lines(options, '  ')}" for name, options in sorted(groups.items()))
    if group not in groups:
        raise ConfigError(f"there is no config group {group!r}; {suggest(group, [*groups, *others])}")
    return _lines(groups[group], "")


def _groups(conf_dirs: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Group -> option -> description. A group in a group is "outer/inner". Hydra's own are left out."""
    groups: dict[str, dict[str, str]] = {}
    for conf_dir in conf_dirs:
        if not conf_dir.is_dir():
            raise ConfigError(f"{conf_dir}: no such folder (--config-dir)")
        for path in sorted(conf_dir.rglob("*.yaml")):
            group = path.parent.relative_to(conf_dir).as_posix()
            if group != "." and group.split("/")[0] != "hydra":
                groups.setdefault(group, {}).setdefault(path.stem, describe(path))
    return groups


def describe(path: Path) -> str:
    """The first comment line of a YAML file, "" if it has none; Hydra's "# @package" does not count.

    Raises ConfigError, with file and line, if Hydra could not compose the file.
    """
    content = read_text(path)
    read_mapping(path, content)
    for line in content.splitlines():
        text = line.strip()
        if text.startswith("#") and not text.lstrip("# ").startswith("@"):
            return text.lstrip("# ")
    return ""


def _lines(options: dict[str, str], indent: str) -> str:
    width = max(map(len, options))
    return "\n".join(f"{indent}{name:<{width}}  {text}".rstrip() for name, text in sorted(options.items()))
