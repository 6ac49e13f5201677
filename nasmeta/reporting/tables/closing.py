"""What `nasmeta search` and `nasmeta train` print on stdout when they are done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from nasmeta.reporting.numbers import counted, duration, human, interval, kib, measured, milliseconds, shorten
from nasmeta.reporting.read.summary_facts import is_reference, is_regression, name_of_best
from nasmeta.reporting.tables.evaluation import calibration_line
from nasmeta.reporting.tables.scores import difference_text
from nasmeta.reporting.tables.verdict import verdict
from nasmeta.runtime.command_lines import command_line, typed
from nasmeta.runtime.text import printable

ARCH_WIDTH = 1000
"""The most characters of an architecture that are printed."""


def closing_table(
    summary: dict[str, Any],
    directory: str | Path,
    *,
    trusted: bool = False,
    more: str | None = None,
) -> str:
    """The result of a run as text. `summary` is what summary.json holds, `directory` is the run's.

    It ends with commands to run next. A command that reads a file is offered if the file exists, resume if
    there is an override that asks for `more`. They include --trust-code if the run's configuration has to be
    `trusted`.
    """
    parts = [_table(summary), _comparison(summary), _architectures(summary), _run(summary, Path(directory))]
    parts.append(_commands(summary, Path(directory), trusted, more))
    return "\n\n".join(part for part in parts if part)


def _rows(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    rows = [(name_of_best(summary), summary["best"])]
    if not is_reference(summary) and summary.get("reference"):
        rows.append(("reference", summary["reference"]))
    return rows


def result_rows(summary: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The headers and cells of the closing table: a row for the chosen network and for the reference.

    There are columns for memory, flash and latency if they are known, and for the meta-iteration that was
    kept, and of how many, if it was chosen (budget.keep=best).
    """
    what = "test MSE" if is_regression(summary) else "test accuracy"
    bits = {8: " (int8)", 32: " (float)"}.get(summary.get("bits") or 0, "")
    optional = f"memory{bits}", f"flash{bits}", "latency", "kept iteration"
    columns: dict[str, Callable[[dict[str, Any]], Any]] = {
        what: lambda row: measured(
            row.get("test_accuracy"),
            row.get("test_loss"),
            interval(row.get("test_ci95"), row.get("test_tasks")),
        ),
        "tasks": lambda row: _or_dash(row.get("test_tasks")),
        "batch_norm": lambda row: row["batch_norm"] or "-",
        "parameters": lambda row: human(row["params"]),
        "FLOPs": lambda row: human(row["flops"]),
        f"memory{bits}": lambda row: kib(row.get("memory")),
        f"flash{bits}": lambda row: kib(row.get("flash")),
        "latency": lambda row: milliseconds(row.get("latency_ms")),
        "meta-training": lambda row: duration(row["train_seconds"]),
        "kept iteration": _kept_iteration,
    }
    rows = _rows(summary)
    cells = {header: [cell(row) for _, row in rows] for header, cell in columns.items()}
    shown = [header for header in columns if header not in optional or set(cells[header]) != {"-"}]
    body = zip(*(cells[header] for header in shown), strict=True)
    return ["", *shown], [[name, *values] for (name, _), values in zip(rows, body, strict=True)]


def _kept_iteration(row: dict[str, Any]) -> str:
    kept, ended = row.get("kept_iteration"), row.get("ended_iteration")
    return "-" if kept is None else str(kept) if ended is None else f"{kept} of {ended}"


def _or_dash(value: Any) -> Any:
    return "-" if value is None else value


def _table(summary: dict[str, Any]) -> str:
    headers, rows = result_rows(summary)
    align = ("left", "right", "right", "left", *["right"] * (len(headers) - 4))
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def _comparison(summary: dict[str, Any]) -> str:
    if not summary.get("reference"):
        return ""
    lines = [difference_line(summary), verdict(summary)]
    if summary.get("calibration"):
        lines.append(calibration_line(summary["calibration"]))
    return "\n".join(line for line in lines if line)


def difference_line(summary: dict[str, Any]) -> str:
    """The paired difference of the chosen network from the reference; "" if there is none."""
    difference = summary.get("difference")
    if not difference:
        return ""
    accuracy = not is_regression(summary)
    tasks = summary["best"].get("test_tasks")
    half_width = interval(difference["ci95"], tasks)
    text = difference_text(difference["mean"], half_width, accuracy) + " points" * accuracy
    over = "one task" if tasks == 1 else "the same tasks"
    return f"{name_of_best(summary)} - reference, on {over}: {text}" + (
        " (95% interval)" if half_width is not None else ""
    )


def _architectures(summary: dict[str, Any]) -> str:
    return "\n".join(f"{name + ':':<11}{shorten(row['arch'], ARCH_WIDTH)}" for name, row in _rows(summary))


def _run(summary: dict[str, Any], directory: Path) -> str:
    simulated = summary.get("simulated_seconds")
    stands = "" if simulated is None else f" (a simulated {duration(simulated)})"
    failed = summary.get("failed_trials", 0)
    trials = counted(summary["trials"], "trial") + (f" ({failed} of them failed)" if failed else "")
    trials = trials if summary["trials"] else "trained"
    lines = [f"{trials} in {duration(summary['wall_seconds'])}{stands}: {printable(str(directory))}"]
    if summary.get("settings_changed"):
        lines.append(settings_line(summary))
    if not summary.get("trained", True):
        lines.append("No network was trained: accuracies are those of the table, and there is no best.pt.")
    return "\n".join(lines)


def settings_line(summary: dict[str, Any]) -> str:
    """A sentence that says which settings `resume --force` changed during the run."""
    changed = "; ".join(summary["settings_changed"])
    return f"The results mix two settings, since the run was resumed with {changed}."


def _commands(summary: dict[str, Any], directory: Path, trusted: bool, more: str | None) -> str:
    best, trained = directory / "best.pt", (directory / "best.pt").is_file()
    classifies = not is_regression(summary)
    examples = ("--support", "EXAMPLES", "--query", "IMAGES")
    offers = (
        (command_line("report", directory, trusted=trusted), (directory / "journal.jsonl").is_file()),
        (typed(["tensorboard", "--logdir", str(directory)]), (directory / "tensorboard").is_dir()),
        (command_line("evaluate", best, trusted=trusted), trained),
        (command_line("predict", best, *examples, trusted=trusted), trained and classifies),
        (command_line("resume", directory, *filter(None, [more]), trusted=trusted), more is not None),
    )
    return "\n".join(f"  {command}" for command, works in offers if works)
