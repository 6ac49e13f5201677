"""The outcome of a run as flat numbers: a row of a comparison or of a sweep's report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasmeta.reporting.read.differences import option_name
from nasmeta.reporting.read.summary_facts import is_reference
from nasmeta.trial import COUNTED

if TYPE_CHECKING:
    from nasmeta.reporting.read.load import Run

SIDE = ("arch", "valid_accuracy", "valid_ci95", "valid_loss", *COUNTED, "latency_ms")
TESTED = ("test_accuracy", "test_ci95", "test_loss", "test_tasks")


def outcome(run: "Run") -> dict[str, Any]:
    """The numbers of the chosen network, or of the best trial so far, whose `test_` numbers are None.

    Names are those of summary.json and accuracies are fractions. `reference_` marks numbers of the reference.
    `difference` is chosen minus reference, over the same tasks if it has a `difference_ci95`. None means not
    known, or that the reference is chosen.
    """
    summary = run.summary
    best = summary["best"] if summary else {name: getattr(run.best, name, None) for name in SIDE}
    reference = summary["reference"] if summary else {}
    trains = summary is None or summary["trained"]
    return {
        "status": run.status,
        "reason": run.reason,
        "seed": run.settings.get("seed"),
        "dataset": option_name("dataset", run.settings) if trains else None,
        "test_data": _test_data(run) if trains else None,
        "way": run.settings.get("task.way") if trains else None,
        "shot": run.settings.get("task.shot") if trains else None,
        "batch_norm": best["batch_norm"] if summary else run.settings.get("batch_norm"),
        **{name: best[name] for name in SIDE},
        "is_reference": bool(summary and is_reference(summary)),
        "proxy": run.best.proxy if run.best and summary is None else None,
        **{name: best.get(name) for name in TESTED},
        **{f"reference_{name}": reference.get(name) for name in (*TESTED, *COUNTED)},
        **_difference(summary),
        "trials": len(run.trials),
        "failed_trials": len(run.failed),
        "wall_seconds": summary["wall_seconds"] if summary else run.elapsed,
    }


def _test_data(run: "Run") -> str | None:
    """The fingerprint of the images that the run is tested on; None if it recorded none."""
    data = (run.environment or {}).get("data") or {}
    return data["test"]["fingerprint"] if "test" in data else None


def _difference(summary: dict[str, Any] | None) -> dict[str, float | None]:
    paired = (summary or {}).get("difference")
    if paired:
        return {"difference": paired["mean"], "difference_ci95": paired["ci95"]}
    unknown: dict[str, float | None] = {"difference": None, "difference_ci95": None}
    if summary is None or is_reference(summary):
        return unknown
    best, reference = (final_score(summary[name]) for name in ("best", "reference"))
    return unknown if best is None or reference is None else unknown | {"difference": best - reference}


def final_score(numbers: dict[str, Any], prefix: str = "") -> float | None:
    """The test accuracy, or for regression the loss; None if neither is known."""
    accuracy: float | None = numbers[f"{prefix}test_accuracy"]
    loss: float | None = numbers[f"{prefix}test_loss"]
    return loss if accuracy is None else accuracy


def is_accuracy(numbers: dict[str, Any]) -> bool:
    return numbers["test_accuracy"] is not None


INCOMPARABLE = ("dataset", "test_data", "way", "shot", "batch_norm")
"""Scores compare only if these are equal: what the test tasks depend on, and how queries are normalized."""


def incomparable(numbers: Sequence[dict[str, Any]]) -> list[str]:
    """What differs between the tests of the runs, each with its values, like "way (5, 20)"."""
    told = []
    for name in INCOMPARABLE:
        values = dict.fromkeys(str(each[name]) for each in numbers if each[name] is not None)
        if len(values) > 1:
            told.append(f"{name} ({', '.join(values)})")
    return told
