"""The checkpoints that come with the package, by name: `nasmeta predict symbols ...`.

`scripts/checkpoints` makes them, and index.json, which says what each was meta-trained on. Where a checkpoint
is asked for, a bare name of one of them is that one, whatever lies in the working directory; a file or folder
of the same name is typed ./NAME. This module does not load torch.
"""

import json
from pathlib import Path
from typing import Any

from nasmeta.errors import CheckpointError, suggest
from nasmeta.runtime import files

FOLDER = Path(__file__).parent / "checkpoints"


def index() -> dict[str, dict[str, Any]]:
    """What index.json says of each checkpoint, by name."""
    entries: dict[str, dict[str, Any]] = json.loads(files.read_bytes(FOLDER / "index.json", files.MAX_TEXT))
    return entries


def checkpoint_path(text: str) -> Path:
    """The file of the ready checkpoint of this name; for any other text, the path that it is.

    Raises CheckpointError, with the nearest name, if a bare word is neither.
    """
    path = Path(text).expanduser()
    if text in index():
        return FOLDER / f"{text}.pt"
    if path.name == text and not path.exists():
        raise CheckpointError(
            f"{text}: no such file or folder, and no ready checkpoint (nasmeta list checkpoints); "
            f"{suggest(text, index())}"
        )
    return path


def listing() -> str:
    """The ready checkpoints as text: what each is for, was trained on, may be used under, and can do."""
    return "\n".join(_entry(name, entry) for name, entry in sorted(index().items()))


def _entry(name: str, entry: dict[str, Any]) -> str:
    size = f"{entry['params'] / 1000:.1f} K parameters, {entry['bytes'] / 1000:.0f} KB"
    lines = [
        entry["about"],
        f"trained on {entry['data']} ({', '.join(entry['licences'])})",
        f"{entry['arch']}: {size}",
        f"accuracy on classes held out: {', '.join(_accuracy(row) for row in entry['accuracy'])}",
        *(f"of {folder} alone: {_accuracy(row)}" for folder, row in entry["folders"].items()),
    ]
    return "\n".join(f"{name if number == 0 else '':<12}{line}" for number, line in enumerate(lines))


def _accuracy(row: dict[str, Any]) -> str:
    return f"{row['way']}-way {row['shot']}-shot {100 * row['accuracy']:.1f} %"
