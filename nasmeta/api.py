"""nasmeta from Python and in notebooks: `nasmeta.search` and `nasmeta.load`.

run = nasmeta.search(["dataset=omniglot", "budget.trials=10"], directory="outputs/first")
run.best["test_accuracy"], run.to_frame(), run.figures["trials"]
"""

import time
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasmeta.cli import output
from nasmeta.cli.run import complete
from nasmeta.config.overrides import composed, reconfigured
from nasmeta.config.schema import parse
from nasmeta.errors import UserError
from nasmeta.reporting.figures.canvas import Figure
from nasmeta.reporting.figures.curves import cost_figure, search_figure
from nasmeta.reporting.figures.settings import means_figure, scores_figure
from nasmeta.reporting.numbers import validation_score
from nasmeta.reporting.pages.drawing import drawn
from nasmeta.reporting.read import load as read
from nasmeta.reporting.read.rows import rows_of, settings_of
from nasmeta.reporting.tables.compare import comparison
from nasmeta.reporting.tables.status import status
from nasmeta.run import finished, journal, records
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import ready
from nasmeta.run.directory import RunDirectory
from nasmeta.run.state import RunState
from nasmeta.runtime.command_lines import SearchCommand

if TYPE_CHECKING:
    from pandas import DataFrame


class Run:
    """A run as it stood when it was loaded.

    path: its directory. status: "done", "failed", or "unfinished" if it goes on or was interrupted. config:
    the resolved configuration. summary: what summary.json holds; None until the run is done. `trusted` is
    that of `load`.
    """

    def __init__(self, stored: read.Run, *, trusted: bool = False) -> None:
        self._stored, self._trusted = stored, trusted
        self.path, self.status = stored.path, stored.status
        self.config, self.summary = stored.config, stored.summary

    @property
    def best(self) -> dict[str, Any] | None:
        """The numbers of the chosen network; until the run is done, those of the best trial so far."""
        if self.summary is not None:
            best: dict[str, Any] = self.summary["best"]
            return best
        return vars(self._stored.best) if self._stored.best else None

    def to_frame(self) -> "DataFrame":
        """A pandas DataFrame with a row for each trial of the search, and for each full training.

        The columns are those of the report's CSV file. Raises UserError if pandas is not installed.
        """
        return _frame(self._stored.table())

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the report by name: trials, time, params, flops, memory, latency, architecture."""
        best = self.best
        drawing = drawn(self._stored, best["arch"], trusted=self._trusted) if best else None
        figures = {
            "trials": search_figure(self._stored, "trials"),
            "time": search_figure(self._stored, "time"),
            "params": cost_figure(self._stored, "params"),
            "flops": cost_figure(self._stored, "flops"),
            "memory": cost_figure(self._stored, "memory"),
            "latency": cost_figure(self._stored, "latency"),
            "architecture": drawing,
        }
        return {name: figure for name, figure in figures.items() if isinstance(figure, Figure)}

    def __repr__(self) -> str:
        return status(self.path)


class Sweep:
    """The runs of a sweep, or of a folder of runs, as they stood when they were loaded.

    path: its directory. runs: also those that have not begun. `trusted` is that of `load`.
    """

    def __init__(self, path: Path, *, trusted: bool = False) -> None:
        self.path, self._rows = path, rows_of([path])
        self.runs = [Run(row.run, trusted=trusted) for row in self._rows]

    @property
    def best(self) -> Run | None:
        """The run whose chosen network validation prefers; None until one is done."""
        done = [(run, row) for run, row in zip(self.runs, self._rows, strict=True) if run.status == "done"]
        return max(done, key=lambda pair: validation_score(pair[1].numbers), default=(None, None))[0]

    def to_frame(self) -> "DataFrame":
        """A pandas DataFrame with a row for each run: its numbers, and the settings in which runs differ.

        The columns are the keys of `nasmeta compare --json`. Raises UserError if pandas is not installed.
        """
        rows = [row.to_dict() for row in self._rows]
        return _frame([{**row.pop("settings"), **row} for row in rows])

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the report by name: test, scores of the settings; search, their mean curves."""
        settings = settings_of(self._rows)
        figures = {"test": scores_figure(settings), "search": means_figure(settings)}
        return {name: figure for name, figure in figures.items() if figure is not None}

    def __repr__(self) -> str:
        return comparison(self._rows)


def load(path: str | Path, *, trusted: bool = False) -> Run | Sweep:
    """The run in the directory `path`; for a sweep, or a folder of runs, all of them.

    It may be in progress: load it again to see more. `trusted` lets the stored configuration name code
    outside nasmeta, which drawing an architecture may need. Raises RunDirectoryError if there is none.
    """
    path = Path(path).expanduser()
    if read.is_run(path) or not path.is_dir():
        return Run(read.load_run(path), trusted=trusted)
    return Sweep(path, trusted=trusted)


def search(overrides: Sequence[str] = (), *, directory: str | Path | None = None) -> Run:
    """Searches, trains the best in full, tests once: `nasmeta search` with these overrides.

    directory: of the run; by default a new one in outputs/. A run that is there already is resumed, with the
    same overrides or with none. So a call that was interrupted goes on if it is made again, and a call that
    has ended returns its result. With a larger budget, a run that has ended goes on.

    Raises UserError if the input is wrong, RunFailed if there is no result, and Interrupted, a
    KeyboardInterrupt, once everything is saved.
    """
    path = Path(directory or time.strftime("outputs/%Y-%m-%d/%H-%M-%S")).expanduser()
    place, begun = RunDirectory(path), directory is not None and read.is_run(path)
    state = RunState.replay(journal.events(place.journal)) if begun else RunState()
    command = records.command(state.starts)
    if overrides or not begun:
        config = parse(composed(list(overrides)), trusted=True)
        command = SearchCommand(overrides=tuple(overrides))
    else:
        config = reconfigured(place.load_config(state.starts), [], trusted=False)
    if not begun or finished.finished_summary(place, state, config, list(overrides)) is None:
        composition = Composition.of(config) if state.starts else ready(config)
        if not begun:
            path = output.make_new(path) if directory is None else _checked(path)
        complete(composition, path, command, overrides=overrides)
    return Run(read.load_run(path), trusted=True)


def _checked(path: Path) -> Path:
    """Makes the directory of a new run. Raises RunDirectoryError if it holds a sweep, or is a file."""
    output.refuse_run(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _frame(rows: list[dict[str, Any]]) -> "DataFrame":
    if find_spec("pandas") is None:
        raise UserError("to_frame: needs pandas; pip install 'nasmeta[pandas]'")
    return import_module("pandas").DataFrame(rows)
