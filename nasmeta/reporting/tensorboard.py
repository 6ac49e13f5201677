"""A run in TensorBoard, and a sweep of runs in its HParams tab."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasmeta.reporting.progress.run_status import RunStatus
from nasmeta.run.events import Event, RunFinished, RunStarted, Trained, TrialFinished, TrialStarted
from nasmeta.runtime.text import printable

if TYPE_CHECKING:
    from nasmeta.reporting.figures.canvas import Figure
    from nasmeta.run.front import Front
    from nasmeta.trial import TrialResult

STEPS_PER_TRIAL = 1000
HPARAM_METRICS = ("test_accuracy", "valid_accuracy", "params", "flops", "train_seconds")
REGRESSION_METRICS = ("test_loss", "valid_loss", "params", "flops", "train_seconds")


class TensorBoard:
    """An observer that writes event files into `directory`. Call `close` if the run ends early.

    The number of tags does not depend on the number of trials:

    - `search/valid_accuracy`, `best_valid_accuracy`, `params`, `flops`, `seconds`, `failed` (1 or 0), by
      trial number. For regression: `search/valid_loss` and `best_valid_loss`. If the evaluator trains
      nothing: `search/proxy` and `best_proxy`.
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
    - `hparam/...`: the final numbers of the searched network, with the run's settings.
    """

    def __init__(self, directory: str | Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # the import takes seconds

        self._writer = SummaryWriter(str(directory))
        self._run_status = RunStatus()
        self._graphs: dict[int, Any] = {}
        self._results: list[TrialResult] = []

    def __call__(self, event: Event) -> None:
        self._run_status(event)
        match event:
            case RunStarted():
                self._start(event)
            case TrialStarted(phase="search"):
                self._graphs[event.trial] = event.graph
            case TrialStarted():
                self._draw(f"{_family(event)}/architecture", event.graph, event.arch, 0)
            case Trained():
                self._read(event)
            case TrialFinished(phase="search"):
                self._finish_search_trial(event)
            case TrialFinished():
                self._finish_full_training(event)
            case RunFinished():
                self._finish(event)

    def close(self) -> None:
        """Writes what is left. Calling it twice does no harm."""
        self._writer.close()

    def _start(self, event: RunStarted) -> None:
        from nasmeta.reporting.figures.episodes import episode_picture

        settings = f"batch_norm: {event.batch_norm}, trials: {event.trials}"
        self._writer.add_text("run/settings", settings, event.finished)
        picture = None if event.episode is None else episode_picture(event.episode)
        if picture is not None:
            tag = "episode/support_and_query"
            self._writer.add_image(tag, picture, event.finished, dataformats="HWC")
        self._writer.flush()

    def _read(self, event: Trained) -> None:
        if event.phase == "search":
            share = (STEPS_PER_TRIAL - 1) * event.iteration // event.iterations
            step, prefix = STEPS_PER_TRIAL * event.trial + share, "train/"
        else:
            step, prefix = event.iteration, f"{_family(event)}/train_"
        self._scalar(f"{prefix}loss", event.loss, step)
        self._scalar(f"{prefix}accuracy", event.accuracy, step)

    def _finish_search_trial(self, event: TrialFinished) -> None:
        result = event.result
        failed = result.status == "failed"
        self._scalar("search/failed", float(failed), result.trial)
        self._scalar("search/seconds", result.seconds, result.trial)
        graph = self._graphs.pop(result.trial, None)
        if not failed:
            self._scalar("search/params", result.params, result.trial)
            self._scalar("search/flops", result.flops, result.trial)
            self._valid("search/", result, result.trial)
        if self._run_status.best is not None:
            self._valid("search/best_", self._run_status.best, result.trial)
        if event.best:
            self._draw("best/architecture", graph, f"trial {result.trial}: {result.arch}", result.trial)
            self._writer.add_text("best/architecture", f"`{result.arch}`", result.trial)
        if event.front:
            self._show_front(event.front, event.hypervolume, result)
        self._writer.flush()

    def _show_front(self, front: "Front", hypervolume: float | None, result: "TrialResult") -> None:
        from nasmeta.reporting.figures.curves import front_figure

        self._scalar("search/hypervolume", hypervolume, result.trial)
        if result.status == "ok":
            self._results.append(result)
        if result.trial in front.trials:
            dominated = [r for r in self._results if r.trial not in front.trials]
            self._add_figure("pareto/front", front_figure(front, dominated), result.trial)

    def _finish_full_training(self, event: TrialFinished) -> None:
        self._valid(f"{_family(event)}/", event.result, event.result.iterations)
        self._writer.flush()

    def _finish(self, event: RunFinished) -> None:
        best = event.summary["best"]
        names = HPARAM_METRICS if best.get("test_accuracy") is not None else REGRESSION_METRICS
        metrics = {f"hparam/{name}": best[name] for name in names if best.get(name) is not None}
        # Without a run_name this would be written to a separate folder named by the time, as another run.
        settings = {k: printable(v) if isinstance(v, str) else v for k, v in event.hparams.items()}
        self._writer.add_hparams(settings, metrics, run_name=".")
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
            self._writer.add_scalar(tag, value, step)

    def _draw(self, tag: str, graph: Any, title: str, step: int) -> None:
        from nasmeta.reporting.figures.architecture import draw_architecture

        if graph is not None:
            self._add_figure(tag, draw_architecture(graph, title), step)

    def _add_figure(self, tag: str, figure: "Figure", step: int) -> None:
        from nasmeta.reporting.figures.canvas import rgb

        self._writer.add_image(tag, rgb(figure), step, dataformats="HWC")


def _family(event: TrialStarted | Trained | TrialFinished) -> str:
    first = (event.phase, event.trial) == ("reference", 0)
    return "reference" if first else f"{event.phase}/{event.trial}"
