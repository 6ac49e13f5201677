"""What a run's results depend on besides its seed, and what may change between two starts of a run."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from nasmeta.config.keys import WITHOUT_EFFECT, is_below
from nasmeta.config.schema import flat, needs_trust
from nasmeta.datasets import contents
from nasmeta.errors import RunDirectoryError
from nasmeta.run.composition import Composition
from nasmeta.run.growth import GROWING, grown
from nasmeta.run.records import Started
from nasmeta.run.summary import versions
from nasmeta.runtime.command_lines import command_line
from nasmeta.runtime.device import kind

log = logging.getLogger(__name__)

HARMLESS = (
    *(f"config.{key}" for key in WITHOUT_EFFECT),
    "config.executor",  # affects no trial, only, by the number in flight, what a strategy proposes
    "config.device",  # the device that is used is compared as `device`
    "versions.python",
    "threads",  # the last digits may depend on it
)
"""Names that may change, with all names below them, because no result depends on them."""

WHERE_DATA_LIES = ("config.dataset.root", "config.dataset.split_files", "config.dataset.download")
"""Names that may change if the data stays the same: a folder may be moved, or copied to another machine."""

DECIDES_PROPOSALS = (
    "config.seed",
    "config.search_space",
    "config.strategy",
    "config.history",
    "config.constraints",
    "config.budget.search_iterations",
    "config.budget.trials",
)
"""Names that a strategy's proposals depend on; with other values it would not repeat the journal's trials."""


def environment(composition: Composition) -> dict[str, Any]:
    """What the journal records whenever a run starts or resumes."""
    import torch

    return {
        "config": composition.config.to_dict(),
        "versions": versions(),
        "device": kind(composition.device),
        "execution": composition.execution.in_use(composition.device),
        "threads": torch.get_num_threads(),
        "data": None if composition.data is None else contents.plain(composition.data),
        "table": composition.evaluators.for_search.fingerprint,
    }


@dataclass(frozen=True)
class Session:
    """A session of a run, which begins with a start or a resumption.

    before: the environment of the session before it; None if it is the first. now: its own environment.
    added: the budgets that grow with it, as [before, now] by dotted key.
    """

    before: dict[str, Any] | None
    now: dict[str, Any]
    added: dict[str, list[Any]]

    @classmethod
    def of(cls, composition: Composition, starts: Iterable[Started]) -> "Session":
        """The session of this composition, after the earlier `starts`."""
        before, now = recorded(starts), environment(composition)
        return cls(before, now, grown(before["config"], now["config"]) if before else {})


def recorded(starts: Iterable[Started]) -> dict[str, Any] | None:
    """The environment at the last of a run's starts; None for a new run."""
    known = _known(starts)
    return known[-1] if known else None


def settings_changed(starts: Iterable[Started]) -> list[str]:
    """What later starts of a run changed: "key: old -> new" for everything that its results depend on."""
    return [
        f"{name.removeprefix('config.')}: {text}"
        for before, now in pairwise(_known(starts))
        if before != now
        for name, text in harmful_changes(before, now).items()
        if name.removeprefix("config.") not in GROWING
    ]


def _known(starts: Iterable[Started]) -> list[dict[str, Any]]:
    names = ("config", "versions", "device", "execution", "threads", "data", "table")
    return [{name: getattr(start, name) for name in names} for start in starts if start.config]


def check_unchanged(
    path: Path, session: Session, *, force: bool, asked: bool, overrides: Iterable[str]
) -> None:
    """Warns of what has changed since the last start of the run in `path`.

    Raises RunDirectoryError if results depend on a change, unless `force`; budgets may grow (growth.py). The
    message offers `--force` unless it would not help, because trials were `asked` for and the strategy would
    now propose others. overrides: those of this start's command.
    """
    before, now = session.before, session.now
    if before is None:
        return
    harmful = {
        name: text
        for name, text in harmful_changes(before, now).items()
        if name.removeprefix("config.") not in session.added
    }
    if harmful and not force:
        ways = "start a new run"
        if not (asked and any(is_below(name, DECIDES_PROPOSALS) for name in harmful)):
            forced = command_line("resume", path, *overrides, "--force", trusted=needs_trust(now["config"]))
            ways = f"resume anyway with: {forced}"
        raise RunDirectoryError(
            f"{path}: since this run was last started, {in_words(harmful)}: its results would mix two "
            f"settings (what may grow: {', '.join(GROWING)}); undo that, or {ways}"
        )
    if changed := changes(before, now):
        log.warning("since this run was last started, %s", in_words(changed))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """{dotted name: "old -> new"} for all values that differ; for the data, a text says how it differs."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in {**old, **new} if old.get(key, _NOTHING) != new.get(key, _NOTHING)]
    changed = {key: f"{old.get(key, _NOTHING)} -> {new.get(key, _NOTHING)}" for key in keys}
    return changed | _data_changes(before.get("data"), now.get("data"))


def harmful_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The `changes` that results depend on."""
    same, alike = same_data(before, now), used_alike(before, now)
    return {
        name: text
        for name, text in changes(before, now).items()
        if not is_harmless(name, same_data=same) and name not in alike
    }


def used_alike(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """The settings whose values differ and mean the same, such as `auto` and what it stands for."""
    then = before["execution"]
    return {f"config.{name}" for name, used in now["execution"].items() if then.get(name) == used}


def same_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return before["data"] is not None and bool(before["data"] == now["data"])


def _data_changes(before: Any, now: Any) -> dict[str, str]:
    if before is None or now is None:
        return {}
    try:
        changed = contents.changes(contents.read(before), contents.read(now))
    except ValueError as error:
        raise RunDirectoryError(f"the data that the journal recorded: {error}; start a new run") from error
    return {f"data.{split}": text for split, text in changed.items()}


_NOTHING = "nothing"


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """All values except the data, by dotted name."""
    return dict(flat({name: value for name, value in values.items() if name != "data"}, ""))


def is_harmless(name: str, *, same_data: bool = False) -> bool:
    """Whether a value may change when a run is resumed, because no result depends on it.

    `same_data`: whether the data is known to be the same; then its place may change too.
    """
    return is_below(name, (*HARMLESS, *(WHERE_DATA_LIES if same_data else ())))


def in_words(changed: Mapping[str, str]) -> str:
    """The `changes` as a part of a sentence."""
    return ", ".join(f"{name.removeprefix('config.')} changed ({text})" for name, text in changed.items())
