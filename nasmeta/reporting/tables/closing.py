"""What `search` and `evaluate` print on stdout when they are done."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from nasmeta.reporting.numbers import counted, duration, human, interval, kib, measured, milliseconds, shorten
from nasmeta.reporting.read.outcome import difference_text
from nasmeta.reporting.tables.verdict import is_reference, is_regression, name_of_best, verdict
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


def evaluation_line(
    *,
    accuracy: float | None,
    ci95: float,
    loss: float | None,
    tasks: int,
    way: int,
    shot: int,
    batch_norm: str,
    calibration: dict[str, Any] | None = None,
) -> str:
    """A meta-test as text: accuracy 93.4 ± 0.4 % (95% interval over 600 tasks), 5-way 1-shot, ...

    A second line says how well the probabilities fit, if there is a `calibration`.
    """
    regression = accuracy is None
    what = f"{'MSE' if regression else 'accuracy'} {measured(accuracy, loss, interval(ci95, tasks))}"
    over = "of 1 task" if tasks == 1 else f"95% interval over {tasks} tasks"
    kind = f"{shot}-shot regression" if regression else f"{way}-way {shot}-shot"
    line = f"{what} ({over}), {kind}, batch_norm {batch_norm}"
    return f"{line}\n{calibration_line(calibration)}" if calibration else line


def calibration_line(calibration: dict[str, Any]) -> str:
    """How well probabilities fit, before and after the temperature, and how unknown queries are told."""
    line = (
        f"probabilities: calibration error {100 * calibration['raw_error']:.1f} -> "
        f"{100 * calibration['error']:.1f} points ({calibration['bins']} bins), log-likelihood loss "
        f"{calibration['raw_loss']:.3f} -> {calibration['loss']:.3f}, by temperature "
        f"{calibration['temperature']:.3g}"
    )
    if calibration["false_rejects"] is None:
        return line
    rejects, aim = (100 * calibration[key] for key in ("false_rejects", "rejects_aimed_at"))
    line += f"\nunknown classes: false rejects {rejects:.1f} % (aimed at {aim:.0f} %)"
    accepts = calibration["false_accepts"]
    return line if accepts is None else f"{line}, false accepts {100 * accepts:.1f} %"


def control_table(compared: dict[str, Any]) -> str:
    """The result of `nasmeta evaluate --control` as text.

    Shows the rows of nasmeta.trained.control, and how many architectures the first tasks took.
    """
    regression = compared["rows"][0]["accuracy"] is None
    headers = [
        "",
        "test MSE" if regression else "test accuracy",
        "checkpoint minus it",
        "parameters",
        "architecture",
    ]
    unit = 1 if regression else 100
    cells = [
        [
            row["name"].replace("_", " "),
            measured(row["accuracy"], row["loss"], interval(row["ci95"], compared["tasks"])),
            "" if row["name"] == "checkpoint" else _minus(row, unit, compared["tasks"]),
            human(row["params"]),
            printable(row["arch"]),
        ]
        for row in compared["rows"]
    ]
    table = tabulate(cells, headers, disable_numparse=True)
    note = f"95% intervals over the same {compared['tasks']} tasks; differences are paired"
    if compared["tasks"] == 1:
        note = "all on one task, which says nothing about others: raise budget.test_tasks"
    counts = compared["architectures"]
    if counts:
        first = sum(counts.values())
        of = "the first task" if first == 1 else f"the first {first} tasks"
        note += f"; {of} took {counted(len(counts), 'architecture')}"
    return f"{table}\n{note}"


def _minus(row: dict[str, Any], unit: int, tasks: int) -> str:
    half_width = interval(row["difference_ci95"], tasks)
    return f"{unit * row['difference']:+.2f}" + ("" if half_width is None else f" ± {unit * half_width:.2f}")


def benchmark_table(setting: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What `nasmeta bench` measured, and with which setting, as text."""
    headers = ["", "tasks/s", "slowest - fastest", "repeats", "FLOPs a task", "of matmul rate", "peak memory"]
    cells = [
        [
            row["what"],
            f"{row['tasks_per_second']:.1f}",
            f"{row['slowest']:.1f} - {row['fastest']:.1f}",
            row["repeats"],
            human(row["flops"]),
            f"{100 * row['share']:.0f} %",
            f"{row['peak_mib']:.0f} MiB",
        ]
        for row in rows
    ]
    what = (
        f"{setting['learner']}, {setting['way']}-way {setting['shot']}-shot, {setting['query']} queries, "
        f"{setting['meta_batch']} tasks a meta-batch, batch_norm {setting['batch_norm']}, "
        f"task_parallel {setting['task_parallel']}, kernels {setting['kernels']}, "
        f"precision {setting['precision']}"
    )
    machine = (
        f"{setting['device']}, {setting['threads']} threads, torch {setting['torch']}, "
        f"matrix products {setting['matmul_gflops']:.0f} GFLOP/s"
    )
    return "\n".join([setting["arch"], what, machine, "", tabulate(cells, headers, disable_numparse=True)])


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
