"""What a run's results depend on beside its seed, and what may change between two starts of one run."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nasmeta.composition import Composition
from nasmeta.config import flat
from nasmeta.datasets import contents
from nasmeta.errors import RunDirectoryError
from nasmeta.journal import Record
from nasmeta.summary import versions

log = logging.getLogger(__name__)

HARMLESS = (
    "config.progress",
    "config.tensorboard",
    "config.save_seconds",
    "config.executor",  # of no trial; how many are in flight decides what a strategy that learns proposes
    "config.dataset.cache",
    "config.device",  # what it comes to is `device`
    "versions.python",
    "threads",  # the last digits may depend on it, as README says
)
"""Names, with all below them, that may change: no result depends on them."""

WHERE_DATA_LIES = ("config.dataset.root", "config.dataset.split_files", "config.dataset.download")
"""What may change as long as the data is the same: a folder may be moved, or copied to another machine."""


def environment(composition: Composition) -> dict[str, Any]:
    """What the journal records whenever a run starts or goes on."""
    import torch

    return {
        "config": composition.config.to_dict(),
        "versions": versions(),
        "device": str(composition.device),
        "threads": torch.get_num_threads(),
        "data": None if composition.data is None else contents.plain(composition.data),
    }


def recorded(records: list[Record]) -> Record | None:
    """The environment of the last start; None for a new run, or one of a nasmeta that recorded none."""
    starts = [r for r in records if r["event"] in ("started", "resumed") and "config" in r]
    return {name: starts[-1].get(name) for name in _NAMES} if starts else None


_NAMES = ("config", "versions", "device", "threads", "data")


def check_unchanged(
    path: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any], force: bool
) -> None:
    """Says what has changed since the last start.

    Raises RunDirectoryError where the run could then not end as it would have, unless `force`.
    """
    changed = {} if before is None else changes(before, now)
    same_data = before is not None and before["data"] is not None and before["data"] == now["data"]
    harmless = (*HARMLESS, *(WHERE_DATA_LIES if same_data else ()))
    harmful = {name: text for name, text in changed.items() if not _is_below(name, harmless)}
    if harmful and not force:
        raise RunDirectoryError(
            f"{path}: since this run was last started, {_told(harmful)}: its results would mix two settings; "
            "undo that, or go on all the same with --force"
        )
    if changed:
        log.warning("since this run was last started, %s", _told(changed))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """{dotted name: "old -> new"} of all that differs; of the data, how it differs."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in {**old, **new} if old.get(key, _NOTHING) != new.get(key, _NOTHING)]
    changed = {key: f"{old.get(key, _NOTHING)} -> {new.get(key, _NOTHING)}" for key in keys}
    return changed | _data_changes(before.get("data"), now.get("data"))


def _data_changes(before: Any, now: Any) -> dict[str, str]:
    if before is None or now is None:
        return {}
    try:
        changed = contents.changes(contents.read(before), contents.read(now))
    except ValueError as error:
        raise RunDirectoryError(f"the data that the journal recorded: {error}; start anew") from error
    return {f"data.{split}": text for split, text in changed.items()}


_NOTHING = "nothing"


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """All but the data, as a journal gives it back: lists for tuples."""
    return dict(flat(json.loads(json.dumps({k: v for k, v in values.items() if k != "data"})), ""))


def _is_below(name: str, names: Iterable[str]) -> bool:
    return any(name == above or name.startswith(f"{above}.") for above in names)


def _told(changed: Mapping[str, str]) -> str:
    return ", ".join(f"{name.removeprefix('config.')} changed ({text})" for name, text in changed.items())
