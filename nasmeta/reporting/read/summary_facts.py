"""What kind of run a summary is of."""

from typing import Any


def is_reference(summary: dict[str, Any]) -> bool:
    """Whether the chosen network is the reference itself."""
    return bool(summary.get("chosen") == "reference")


def name_of_best(summary: dict[str, Any]) -> str:
    """What the chosen network is called: "searched", "trained" if it was given, or "reference"."""
    names = {"given": "trained", "reference": "reference"}
    return names.get(summary.get("chosen", ""), "searched")


def is_regression(summary: dict[str, Any]) -> bool:
    """Whether losses are compared instead of accuracies."""
    return bool(summary.get("kind") == "regression" or summary["best"].get("test_accuracy") is None)
