"""Records what happens in a run: in its journal, in its state, and for its observers."""

import time
from contextlib import suppress
from typing import Any

from nasmeta.errors import RunDirectoryError
from nasmeta.run import records
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory, read_config
from nasmeta.run.environment import Session
from nasmeta.run.events import Announcer, RunStarted
from nasmeta.run.journal import Journal
from nasmeta.run.records import JournalEvent, Started
from nasmeta.run.state import RunState
from nasmeta.runtime.command_lines import SearchCommand


class Recorder:
    """Writes events to the open `journal` of the run in `directory`, and applies them to its `state`.

    composition: the parts of the run. command: what makes it, if that is known. session: the one that it
    records. announce: tells the observers, which are added to its list.
    """

    def __init__(
        self,
        composition: Composition,
        directory: RunDirectory,
        journal: Journal,
        command: SearchCommand | None = None,
    ) -> None:
        self.directory, self.journal, self.announce = directory, journal, Announcer()
        self.state = RunState.replay(journal.events, composition.objectives)
        self.session = Session.of(composition, self.state.starts)
        self._composition, self._command = composition, command
        self._has_started = False
        self._elapsed_before, self._began = self.state.elapsed, time.monotonic()

    def announce_start(self) -> None:
        """Tells the observers that the run begins or is resumed, with a meta-training task to show."""
        resumed = bool(self.journal.records)
        if not resumed or self.session.added:
            self.start()
        state, whole = self.state, self._composition
        command = self._command or records.command(state.starts)
        self.announce(
            RunStarted(
                directory=str(self.directory.path),
                trials=whole.trials,
                finished=sum(key[0] == "search" for key in state.finished.keys() - state.retries),
                resumed=resumed,
                batch_norm=whole.config.keys.batch_norm,
                episode=whole.problem.train.batch(0, 1) if whole.trains_networks else None,
                best=state.best,
                ended=state.finished,
                searching=not state.has_searched,
                settings=whole.config.hparams(),
                overrides=command.overrides if command else (),
                began=state.starts[0].at if state.starts else None,
            )
        )

    def start(self) -> None:
        """Records what the run is made with, before it makes anything; later calls do nothing.

        Settings that differ from those of the last start replace them, first in the journal, then in
        config.json.
        """
        if self._has_started:
            return
        self._has_started = True
        before, now, added = self.session.before, self.session.now, self.session.added
        known = self._stored_config() if before is None else before["config"]
        changed = known not in (None, now["config"]) or self.directory.config_is_stale(self.state.starts)
        replaces = {"replaces": self.directory.config_checksum()} if changed else {}
        typed = {name: list(words) for name, words in vars(self._command).items()} if self._command else {}
        event = "extended" if added else "resumed" if self.journal.records else "started"
        grown = {"added": added} if added else {}
        values = {"event": event, "at": time.time(), **now, **typed, **replaces, **grown}
        self.record(Started.model_validate(values))
        self.directory.keep_config(now["config"], replace=changed)

    def _stored_config(self) -> dict[str, Any] | None:
        """The configuration in the run's directory, which a run that was killed early may have left."""
        with suppress(RunDirectoryError):
            return read_config(self.directory.config)
        return None

    def record(self, event: JournalEvent) -> None:
        """Applies an event to the state and writes it to the journal."""
        self.state.apply(event)
        self.write(event)

    def write(self, event: JournalEvent) -> None:
        """Writes an event that is applied already."""
        self.start()
        self.journal.append(event.event, **event.values())
        self.journal.events.append(event)

    @property
    def elapsed(self) -> float:
        """Seconds of wall time, including those before the run was resumed."""
        return self._elapsed_before + time.monotonic() - self._began
