"""What a run was made from besides its settings: budgets that grew, and trials of earlier runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from nasmeta.reporting.numbers import counted, judged, when
from nasmeta.reporting.read.load import Run
from nasmeta.run.ranking import best_of


def growth(run: Run) -> str:
    """How the run's budget grew, when, and where its earlier results are; "" if it did not."""
    steps = [f"{_grown(start.added)} ({when(start.at)})" for start in run.state.starts if start.added]
    if not steps:
        return ""
    ends = run.state.ends - (run.state.tested is not None)
    kept = f"; earlier results: {', '.join(f'earlier/{n}' for n in range(1, ends + 1))}" if ends else ""
    return "; ".join(steps) + kept


def warm_start(run: Run) -> str:
    """What the trials of earlier runs brought: their best, and whose network was chosen; "" without any."""
    earlier = run.state.earlier
    best = best_of(earlier)
    if not earlier:
        return ""
    text = f"{counted(len(earlier), 'trial')} of {', '.join(map(str, run.config.get('history') or ['?']))}"
    text += f", the best: {judged(best)}" if best else ", all failed"
    if run.best:
        text += f"; the best of this run's own: {judged(run.best)}"
    if run.summary is None or run.summary["chosen"] == "reference":
        return text
    own = run.summary["best"]["arch"] in {result.arch for result in run.results}
    return f"{text}; the chosen network is {'of this run' if own else 'of an earlier one'}"


def _grown(added: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(
        f"{key} {' -> '.join('no limit' if value is None else str(value) for value in pair)}"
        for key, pair in added.items()
    )
