"""A warm start: a new search begins with what the trials of earlier runs have shown.

The trials are copied into the journal of the new run, which then no longer needs the earlier ones. They do
not count as its trials, but the best of them may enter its finals.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasmeta.config.keys import EXECUTION, is_below
from nasmeta.errors import RunDirectoryError
from nasmeta.run import journal
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import changes, in_words, is_harmless, recorded, same_data, used_alike
from nasmeta.run.recorder import Recorder
from nasmeta.run.records import WarmStarted
from nasmeta.run.state import RunState
from nasmeta.trial import TrialResult

log = logging.getLogger(__name__)

MAY_DIFFER = (
    *("config.seed", "config.strategy", "config.history", "config.constraints", "config.budget"),
    *(f"config.{key}" for key in EXECUTION),
    *("versions", "device", "execution"),
)
"""Names that may differ between two runs whose scores compare, with all names below them."""

COMPARED = "config.budget.search_iterations"
"""The one budget that decides what a score means."""

COSTS = {"memory": "config.constraints.bits", "flash": "config.constraints.bits", "latency": "device"}
"""What decides a cost besides the architecture, for those of which it is true. It counts for objectives."""


def warm_start(runs: Sequence[str], recorder: Recorder, objectives: Sequence[str]) -> None:
    """Copies the search trials of earlier `runs`, given by their directories, into the journal.

    Does nothing if it has them already. Raises RunDirectoryError as `earlier_trials`, before anything is
    recorded.
    """
    if not runs or recorder.state.earlier:
        return
    results = earlier_trials(runs, recorder.session.now, objectives)
    numbered = [replace(result, trial=number) for number, result in enumerate(results, -len(results))]
    recorder.record(WarmStarted(results=numbered))
    log.info("history: the search begins with %d trials of %d earlier run(s)", len(numbered), len(runs))


def earlier_trials(
    runs: Sequence[str], now: Mapping[str, Any], objectives: Sequence[str]
) -> list[TrialResult]:
    """The finished search trials of earlier runs, for a run with the environment `now` and these objectives.

    Raises RunDirectoryError if one of them is no run, has no trial, or differs in more than MAY_DIFFER.
    """
    return [result for path in runs for result in _trials(Path(path).expanduser(), now, objectives)]


def _trials(path: Path, now: Mapping[str, Any], objectives: Sequence[str]) -> list[TrialResult]:
    """The finished search trials of a run whose scores and costs compare with those of the run `now`."""
    state = RunState.replay(journal.events(RunDirectory(path).journal))
    before = recorded(state.starts)
    if before is None:
        raise RunDirectoryError(f"history: {path} is not the directory of a run; name one that has a journal")
    same, alike = same_data(before, now), used_alike(before, now)
    decisive = {COMPARED, *(COSTS[cost] for cost in objectives if cost in COSTS)}
    differs = {
        name: text
        for name, text in changes(before, now).items()
        if name in decisive or (_matters(name, same=same) and name not in alike)
    }
    if differs:
        raise RunDirectoryError(
            f"history: the trials of {path} do not compare with those of this run: {in_words(differs)}; "
            "use a run with the same settings, or leave it out"
        )
    if not state.searched:
        raise RunDirectoryError(f"history: {path} has no finished trial; leave it out")
    unknown = {
        cost for r in state.searched if r.score is not None for cost in objectives if r.costs[cost] is None
    }
    if unknown:
        raise RunDirectoryError(
            f"history: {path} does not say the {min(unknown)} of its networks, which is an objective; leave "
            "it out"
        )
    return state.searched


def _matters(name: str, *, same: bool) -> bool:
    """Whether scores do not compare if the value of this name differs."""
    return not (is_below(name, MAY_DIFFER) or is_harmless(name, same_data=same))
