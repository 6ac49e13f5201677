"""One run in its directory, begun or resumed, with what it prints and shows."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nasmeta.config.schema import Config
from nasmeta.errors import Interrupted, StorageError
from nasmeta.reporting.learning import Learning
from nasmeta.reporting.numbers import validation_score
from nasmeta.reporting.tables.closing import closing_table
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import check_unchanged
from nasmeta.run.growth import check_growth, more_trials
from nasmeta.run.journal import Journal
from nasmeta.run.manifest import Numbers, numbers_of
from nasmeta.run.pruning import Prune
from nasmeta.run.recorder import Recorder
from nasmeta.run.search import search
from nasmeta.runtime import signals
from nasmeta.runtime.allocator import keep_pages
from nasmeta.runtime.command_lines import SearchCommand, command_line

log = logging.getLogger(__name__)


def complete(
    composition: Composition,
    path: Path,
    command: SearchCommand | None,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    retry_failed: bool = False,
    prune: Prune | None = None,
) -> dict[str, Any]:
    """Begins or resumes the run in `path`; returns what summary.json holds.

    command: what makes the run, if that is known. overrides: the user's changes to a run that is resumed.
    force: allow changes that results depend on. retry_failed: try failed trials again. prune: asked after
    each trial whether to end the run early.
    """
    keep_pages()
    composition.log_notices()
    config, directory = composition.config, RunDirectory(path)
    directory.keep_config(config.to_dict())  # first: with only a journal, the run could not be resumed
    again = command_line("resume", path, trusted=config.needs_trust)
    with directory.lock(), Journal(directory.journal) as journal, signals.interruptible() as stop:
        recorder = Recorder(composition, directory, journal, command)
        session, asked = recorder.session, bool(recorder.state.asked)
        check_unchanged(path, session, force=force, asked=asked, overrides=overrides)
        for line in check_growth(composition, recorder.state, session.added):
            log.warning("%s", line)
        observers = _observers(config, directory)
        recorder.announce.observers += observers
        try:
            return search(composition, recorder, stop, prune, retry_failed=retry_failed)
        except Interrupted as interrupted:
            raise Interrupted(f"{interrupted}; resume with: {again}") from None
        except StorageError as error:
            raise StorageError(
                f"{error}; what was written before is intact; free space, then type: {again}"
            ) from error
        finally:
            for observer in observers:
                with suppress(Exception):  # its terminal or its server is gone
                    observer.close()


def show(summary: dict[str, Any], config: Config, path: Path) -> Numbers:
    """Prints a run's closing table; returns the numbers of its best network."""
    print(
        closing_table(summary, path, trusted=config.needs_trust, more=more_trials(config, summary["trials"]))
    )
    return numbers_of(summary["best"], validation_score(summary["best"]))


def _observers(config: Config, directory: RunDirectory) -> list[Any]:
    observers: list[Any] = [Learning(directory.learning)]
    if config.keys.progress:
        from nasmeta.reporting.progress import Progress

        observers.append(Progress())
    return [*observers, *config.trackers(directory.path)]
