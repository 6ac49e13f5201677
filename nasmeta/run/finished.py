"""Resuming a run that has ended: its result is shown, lost files are made again, or its budget grows."""

import logging
from typing import Any

from nasmeta.config.schema import OPTION_GROUPS, Config, resolve
from nasmeta.errors import CheckpointError, RunDirectoryError
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import changes, in_words, is_harmless, recorded
from nasmeta.run.growth import GROWING, grown
from nasmeta.run.records import Tested, command
from nasmeta.run.state import RunState
from nasmeta.run.summary import Summary
from nasmeta.run.weights import tidy
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.training.trained_network import TrainedNetwork

log = logging.getLogger(__name__)


def finished_summary(
    directory: RunDirectory,
    state: RunState,
    config: Config,
    overrides: list[str],
    *,
    retry_failed: bool = False,
    in_sweep: bool = False,
) -> dict[str, Any] | None:
    """The summary of a run that has ended and needs nothing more; None if it has to be run or resumed.

    It has to if it has not ended, if its budget grows, if failed trials are tried again (`retry_failed`), or
    if files have to be made again. The journal stays as it is.

    state: what its journal says. config: the one to resume with, which includes `overrides`, those of the
    command. in_sweep: whether they are those of a sweep, which its other jobs may need. Raises
    RunDirectoryError if the run has ended and the configuration differs from its own. If there is something
    to do, or in a sweep, only differences that the result depends on are refused.
    """
    if state.tested is None:
        return None
    with directory.lock():
        before = recorded(state.starts)
        target = config.groups["evaluator"]["_target_"]
        trained = resolve("evaluator", target, trusted=True).trains_networks()
        summary = stored_summary(directory, state.tested, trained=trained)
        now = config.to_dict()
        changed = changes({"config": before["config"]}, {"config": now}) if before else {}
        added = grown(before["config"], now) if before else {}
        # It may go on on another machine or executor.
        if summary is None or added or retry_failed or in_sweep:
            changed = {n: text for n, text in changed.items() if not is_harmless(n, same_data=True)}
        wrong = {n: text for n, text in changed.items() if n.removeprefix("config.") not in added}
        if wrong:
            raise RunDirectoryError(
                f"{directory.path}: the run is finished, so its budgets may grow ({', '.join(GROWING)}), but "
                f"not: {in_words(wrong)}; " + _new_run(command(state.starts), overrides)
            )
        if added or (retry_failed and state.failed):
            return None
        if summary is not None:
            tidy(directory, state)  # a kill may have kept the run from it
            if before is not None:
                directory.keep_config(before["config"])  # if it is lost or damaged
    return None if summary is None else summary.model_dump()


def stored_summary(directory: RunDirectory, tested: Tested | None, *, trained: bool) -> Summary | None:
    """The summary of a run that has ended; None if it has not, or if its files have to be made again.

    tested: the event of its meta-test, if it has one. trained: whether the run must also have a readable
    best.pt.
    """
    if tested is None:
        return None
    try:
        summary = Summary.read(directory.summary, tested.checksum)
        if trained:
            TrainedNetwork.load(directory.path, trusted=False)
    except CheckpointError as error:
        log.warning("%s; made again", error)
    except (OSError, ValueError) as error:
        log.warning("%s: missing or damaged (%s); made again", directory.summary, error)
    else:
        return summary
    return None


def _new_run(command: SearchCommand | None, overrides: list[str]) -> str:
    if command is None or not overrides:
        return "start a new run for that"
    return f"start a new run for that: {command.changed(overrides, OPTION_GROUPS)}"
