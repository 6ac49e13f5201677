"""The heading of a page: what was searched, and when."""

import time

from nasmeta.reporting.numbers import shorten
from nasmeta.reporting.read.differences import OPTION, shown
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.ranking import measure_of

WIDTH = 120


def heading(run: Run) -> str:
    """The title of a run's page, for example "Evolution in ConvSpace: MAML on Omniglot, 5-way 1-shot".

    It is the directory's name if the strategy or the search space is not known.
    """
    option = {group: _option(run, group) for group in ("strategy", "search_space", "meta_learner", "dataset")}
    if not option["strategy"] or not option["search_space"]:
        return run.path.resolve().name
    search = f"{option['strategy']} in {option['search_space']}"
    table = run.settings.get("evaluator.table")
    if table not in (None, "None"):
        return shorten(f"{search}: the table {table}", WIDTH)
    return shorten(f"{search}: {option['meta_learner']} on {option['dataset']}{_task(run)}", WIDTH)


def _task(run: Run) -> str:
    way, shot = (run.settings.get(f"task.{key}") for key in ("way", "shot"))
    if shot is None:
        return ""
    regression = run.summary["kind"] == "regression" if run.summary else measure_of(run.results) == "loss"
    return f", {shot}-shot regression" if regression else f", {way}-way {shot}-shot"


def _option(run: Run, group: str) -> str:
    key = group + OPTION
    return shown(key, run.settings)[1] if key in run.settings else ""


def when(began: float | None) -> str:
    """A time in seconds since 1970 as local time, like 2026-11-26 15:22; "" if it is not known."""
    return "" if began is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(began))
