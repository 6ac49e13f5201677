"""What every tracker shows of a run, and what a tracker has to be able to do."""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nasmeta.config.keys import has_effect
from nasmeta.errors import ConfigError
from nasmeta.reporting.progress.run_status import RunStatus
from nasmeta.reporting.read.differences import Settings, option_name
from nasmeta.run.events import Event, RunFinished, RunStarted, TrialFinished, TrialReading, TrialStarted
from nasmeta.runtime.command_lines import values_of
from nasmeta.runtime.text import printable
from nasmeta.trial import COUNTED

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nasmeta.reporting.figures.canvas import Figure
    from nasmeta.run.front import Front
    from nasmeta.trial import TrialResult

STEPS_PER_TRIAL = 1000
RESULTS = ("test_accuracy", "valid_accuracy", *COUNTED, "train_seconds")
REGRESSION_RESULTS = ("test_loss", "valid_loss", *COUNTED, "train_seconds")
NAMING = ("dataset", "meta_learner", "search_space", "strategy")
"""The groups whose options name a run."""

NAME_WIDTH = 120
"""The most characters of a run's name besides its seed; further words are left out."""


class Tracker(ABC):
    """An observer that shows the run in `directory` in another tool. Call `close` if the run ends early.

    The number of tags does not depend on the number of trials:

    - `search/valid_accuracy`, `best_valid_accuracy`, `params`, `flops`, `memory`, `flash` (in bytes),
      `seconds`, `failed` (1 or 0), by trial number. For regression: `search/valid_loss` and
      `best_valid_loss`. If the evaluator trains nothing: `search/proxy` and `best_proxy`.
    - `search/hypervolume` by trial number and `pareto/front`, if the strategy has several objectives; see
      `nasmeta.run.front`. The latter is a picture of scores against costs, each time the front changes.
    - `train/loss`, `train/accuracy` of the search's trials, one after the other on one axis. Trial n owns
      the steps 1000 n to 1000 n + 999, whatever its budget, so a reading has the same step in every session,
      and the readings of a resumed trial fall onto the old ones. A curve for each trial would make a
      thousand tags or runs. A count of all iterations would be wrong if a run is resumed, if budgets differ,
      or if trials run side by side.
    - `final/<trial>/train_loss`, `train_accuracy`, `valid_accuracy`, `architecture` of the few trials that
      are trained in full, and `reference/...` of the reference, by iteration.
    - `best/architecture` (a drawing, and its string as text), by trial number, at each improvement.
    - `episode/support_and_query` (a picture of a meta-training task) and `run/settings`, at the start.
    - At the end the final numbers of the chosen network, the run's settings, and best.pt.
    """

    package: ClassVar[str]
    """The package that the tracker needs."""

    def __init__(self, *, directory: Path) -> None:
        self.directory = directory
        self._run_status = RunStatus()
        self._graphs: dict[int, Any] = {}
        self._results: list[TrialResult] = []

    @classmethod
    def check(cls) -> None:
        """Raises ConfigError, with the command that installs it, if the tracker's package is missing."""
        if find_spec(cls.package) is None:
            raise ConfigError(
                f"logger={cls.package}: it is not installed: pip install 'nasmeta[{cls.package}]'"
            )

    def _imported(self) -> Any:
        return import_module(self.package)

    @abstractmethod
    def begin(self, name: str, identity: str, settings: Settings) -> None:
        """Called first. `name` says what the run is. A resumed run has the same `identity` as before."""

    @abstractmethod
    def scalar(self, tag: str, value: float, step: int) -> None: ...

    @abstractmethod
    def image(self, tag: str, picture: "npt.NDArray[np.uint8]", step: int) -> None:
        """Shows a picture of the shape [height, width, 3]."""

    @abstractmethod
    def text(self, tag: str, text: str, step: int) -> None: ...

    @abstractmethod
    def finish(self, settings: Settings, results: Mapping[str, float], checkpoint: Path) -> None:
        """Called at the end of a run. A run that trains no network has no file `checkpoint`."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left. Calling it twice, or before `begin`, does no harm."""

    def __call__(self, event: Event) -> None:
        self._run_status(event)
        match event:
            case RunStarted():
                self._start(event)
            case TrialStarted(phase="search"):
                self._graphs[event.trial] = event.graph
            case TrialStarted():
                self._draw(f"{_family(event)}/architecture", event.graph, event.arch, 0)
            case TrialReading():
                self._read(event)
            case TrialFinished(phase="search"):
                self._finish_search_trial(event)
            case TrialFinished():
                self._valid(f"{_family(event)}/", event.result, event.result.iterations)
            case RunFinished():
                self._finish(event)

    def _start(self, event: RunStarted) -> None:
        from nasmeta.reporting.figures.episodes import episode_picture

        unique = os.fsencode(f"{self.directory.name} {event.began!r}")
        self.begin(run_name(event), hashlib.sha256(unique).hexdigest()[:16], _shown(event.settings))
        self._results = [r for (phase, _), r in event.ended.items() if phase == "search" and r.status == "ok"]
        settings = f"batch_norm: {event.batch_norm}, trials: {event.trials}"
        self.text("run/settings", settings, event.finished)
        picture = None if event.episode is None else episode_picture(event.episode)
        if picture is not None:
            self.image("episode/support_and_query", picture, event.finished)

    def _read(self, event: TrialReading) -> None:
        if event.phase == "search":
            share = (STEPS_PER_TRIAL - 1) * event.iteration // event.iterations
            step, prefix = STEPS_PER_TRIAL * event.trial + share, f"{event.of}/"
        else:
            step, prefix = event.iteration, f"{_family(event)}/{event.of}_"
        self._scalar(f"{prefix}loss", event.loss, step)
        self._scalar(f"{prefix}accuracy", event.accuracy, step)

    def _finish_search_trial(self, event: TrialFinished) -> None:
        result = event.result
        failed = result.status == "failed"
        self._scalar("search/failed", float(failed), result.trial)
        self._scalar("search/seconds", result.seconds, result.trial)
        graph = self._graphs.pop(result.trial, None)
        if not failed:
            for name in COUNTED:
                self._scalar(f"search/{name}", getattr(result, name), result.trial)
            self._valid("search/", result, result.trial)
        if self._run_status.best is not None:
            self._valid("search/best_", self._run_status.best, result.trial)
        if event.best:
            self._draw("best/architecture", graph, f"trial {result.trial}: {result.arch}", result.trial)
            self.text("best/architecture", f"`{result.arch}`", result.trial)
        if event.front:
            self._show_front(event.front, event.hypervolume, result)

    def _show_front(self, front: "Front", hypervolume: float | None, result: "TrialResult") -> None:
        from nasmeta.reporting.figures.curves import front_figure

        self._scalar("search/hypervolume", hypervolume, result.trial)
        if result.status == "ok":
            self._results.append(result)
        if result.trial in front.trials:
            dominated = [r for r in self._results if r.trial not in front.trials]
            self._figure("pareto/front", front_figure(front, dominated), result.trial)

    def _finish(self, event: RunFinished) -> None:
        best = event.summary["best"]
        names = RESULTS if best.get("test_accuracy") is not None else REGRESSION_RESULTS
        results = {name: float(best[name]) for name in names if best.get(name) is not None}
        self.finish(_shown(event.hparams), results, self.directory / "best.pt")
        self.close()

    def _valid(self, prefix: str, result: "TrialResult", step: int) -> None:
        if result.proxy is not None:
            self._scalar(f"{prefix}proxy", result.proxy, step)
        elif result.valid_accuracy is not None:
            self._scalar(f"{prefix}valid_accuracy", result.valid_accuracy, step)
        else:
            self._scalar(f"{prefix}valid_loss", result.valid_loss, step)

    def _scalar(self, tag: str, value: float | None, step: int) -> None:
        if value is not None:
            self.scalar(tag, value, step)

    def _draw(self, tag: str, graph: Any, title: str, step: int) -> None:
        from nasmeta.reporting.figures.architecture import draw_architecture

        if graph is not None:
            self._figure(tag, draw_architecture(graph, title), step)

    def _figure(self, tag: str, figure: "Figure", step: int) -> None:
        from nasmeta.reporting.figures.canvas import rgb

        self.image(tag, rgb(figure), step)


def run_name(event: RunStarted) -> str:
    """What a run is, in one word: its main options, what its command sets besides, and its seed."""
    settings = event.settings
    typed = values_of(event.overrides)
    words = [typed.pop(group, "") or option_name(group, settings) for group in NAMING]
    words.insert(1, f"{settings.get('task.way')}way{settings.get('task.shot')}shot")
    told = {"seed", "task.way", "task.shot", "device", "executor", "hydra"}
    others = (key for key in typed if key not in told and key.partition(".")[0] not in told)
    words += [f"{key}={typed[key]}" for key in others if has_effect(key)]
    lengths = accumulate(len(word) + 1 for word in words)
    kept = [word for word, length in zip(words, lengths, strict=True) if length <= NAME_WIDTH]
    return re.sub(r"[^\w.=+-]+", "-", "_".join(kept)) + f"_seed{settings.get('seed')}"


def _shown(settings: Settings) -> Settings:
    """The settings without those on which no result depends, and without what no tool can print."""
    return {k: printable(v) if isinstance(v, str) else v for k, v in settings.items() if has_effect(k)}


def _family(event: TrialStarted | TrialReading | TrialFinished) -> str:
    first = (event.phase, event.trial) == ("reference", 0)
    return "reference" if first else f"{event.phase}/{event.trial}"
