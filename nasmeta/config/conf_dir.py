"""The location of the shipped configuration."""

from pathlib import Path


def config_directory() -> Path:
    """The folder of the shipped config groups: inside the package if installed, next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
