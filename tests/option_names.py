"""The options of the configuration's groups, found by their files, so that tests do not list them."""

from nasmeta.config.conf_dir import config_directory


def names(group: str) -> list[str]:
    """The options of a folder of conf, sorted."""
    return sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
