"""Records what happens in a run: in its journal, in its state, and for its observers."""

import time
from collections.abc import Sequence

from nasmeta.run import records
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.environment import environment, recorded
from nasmeta.run.events import Announcer, Observer, RunStarted
from nasmeta.run.growth import grown
from nasmeta.run.journal import Journal
from nasmeta.run.records import JournalEvent, Retried, Started
from nasmeta.run.state import RunState
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.training.problem import Problem


class Recorder:
    """Writes events to the open `journal` of the run in `directory`, and applies them to its `state`.

    composition: the parts of the run. observers: those to `announce` to. command: what makes the run, if that
    is known.
    """

    def __init__(
        self,
        composition: Composition,
        directory: RunDirectory,
        journal: Journal,
        state: RunState,
        observers: Sequence[Observer] = (),
        command: SearchCommand | None = None,
    ) -> None:
        self.state, self.announce = state, Announcer(list(observers))
        self._composition, self._directory, self._journal = composition, directory, journal
        self._command = command
        self._has_started = False
        before = recorded(state.starts)
        self.added = grown(before["config"], composition.config.to_dict()) if before else {}
        """The budgets that grow with this session."""
        self._elapsed_before, self._began = state.elapsed, time.monotonic()

    def announce_start(self, problem: Problem | None, *, retry_failed: bool = False) -> None:
        """Tells the observers that the run begins or is resumed.

        problem: that of the trials, from whose training tasks some are shown; None if no network is trained.
        retry_failed: whether failed trials are tried again, which is recorded.
        """
        resumed = bool(self._journal.records)
        if not resumed or self.added:
            self.start()
        state, command = self.state, self._command or records.command(self.state.starts)
        if retry_failed and state.failed:
            self.record(Retried(trials=state.failed))
        self.announce(
            RunStarted(
                directory=str(self._directory.path),
                trials=self._composition.trials,
                finished=sum(key[0] == "search" for key in state.finished.keys() - state.retries),
                resumed=resumed,
                batch_norm=self._composition.config.keys.batch_norm,
                episode=problem.train.batch(0, 1) if problem else None,
                best=state.best,
                ended=state.finished,
                searching=not state.has_searched,
                settings=self._composition.config.hparams(),
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
        before, now = recorded(self.state.starts), environment(self._composition)
        changed = before is not None and before["config"] != now["config"]
        changed = changed or self._directory.config_is_stale()
        replaces = {"replaces": self._directory.config_checksum()} if changed else {}
        typed = {name: list(words) for name, words in vars(self._command).items()} if self._command else {}
        event = "extended" if self.added else "resumed" if self._journal.records else "started"
        added = {"added": self.added} if self.added else {}
        values = {"event": event, "at": time.time(), **now, **typed, **replaces, **added}
        self.record(Started.model_validate(values))
        self._directory.keep_config(now["config"], replace=changed)

    def record(self, event: JournalEvent) -> None:
        """Applies an event to the state and writes it to the journal."""
        self.state.apply(event)
        self.write(event)

    def write(self, event: JournalEvent) -> None:
        """Writes an event that is applied already."""
        self.start()
        self._journal.append(event.event, **event.values())
        self._journal.events.append(event)

    @property
    def elapsed(self) -> float:
        """Seconds of wall time, including those before the run was resumed."""
        return self._elapsed_before + time.monotonic() - self._began
