"""Where the shipped configuration lies."""

from pathlib import Path


def config_directory() -> Path:
    """The folder of the shipped config groups: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
