"""What `nasmeta evaluate` prints."""

from typing import Any

from tabulate import tabulate

from nasmeta.reporting.numbers import counted, human, interval, measured
from nasmeta.runtime.text import printable


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
