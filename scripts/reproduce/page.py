"""The page of an experiment: its tables, and what somebody needs who runs it again."""

import math
import shlex
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from textwrap import fill

import numpy as np
from common import ROOT, Options
from runs import Run
from tabulate import tabulate

from nasmeta import seeding
from nasmeta.reporting.numbers import duration, probability
from nasmeta.reporting.read.statistics import Difference, Tasks
from nasmeta.runtime import files

RESAMPLES = 2000

ACCURACY = ["test accuracy, %", "of each seed"]
DIFFERENCE = ["points, over seeds", "p", "points, over tasks", "p"]
COMPARED = [*DIFFERENCE, "ratio of errors"]
HOW_DIFFERENCE = (
    "Intervals of 95% and two-sided p are of the mean difference: over the seeds by Student's t, and over all"
    " tasks."
)
HOW_COMPARED = (
    f"{HOW_DIFFERENCE} *Ratio of errors*: the first network's mean error divided by the second's, with its "
    "95% interval over tasks by the bootstrap."
)


def write(options: Options, title: str, text: str, tables: Sequence[str], runs: Sequence[Run]) -> None:
    """Writes the page. tables: with notes between them. runs: what they show.

    text: what was compared; `{task}` in it is the task that all runs have.
    """
    task = runs[0].config["task"]
    facts = [run.circumstances for run in runs]
    machines = {f"{fact['cpu']}, {fact['cores']} cores{_with(fact['gpu'])}" for fact in facts}
    versions = {", ".join(f"{name} {v}" for name, v in run.summary["versions"].items()) for run in runs}
    days = sorted({fact["day"] for fact in facts})
    longest = max(run.summary["wall_seconds"] for run in runs)
    commands = dict.fromkeys(_typed(options, run) for run in runs if _first(run, runs))
    parts = [
        f"# {title}",
        text.strip().format(task=f"{task['way']}-way {task['shot']}-shot"),
        *(part if part.startswith("|") else fill(part, 118) for part in tables),
        "\n".join(
            [
                f"- Made: {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else ""),
                f"- Hardware: {'; '.join(sorted(machines))}",
                f"- Versions: {'; '.join(sorted(versions))}",
                f"- Seeds: {', '.join(map(str, sorted({run.summary['seed'] for run in runs})))}",
                f"- Runs: {len(runs)}, the longest of {duration(longest)}",
            ]
        ),
        "To reproduce:",
        f"```bash\n{_script(options.typed)}\n```",
        "The runs of the first seed:",
        "\n".join(["```text", *commands, "```"]),
    ]
    options.page.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(options.page, ("\n\n".join(parts) + "\n").encode())


def _with(gpu: str | None) -> str:
    return f", {gpu}" if gpu else ""


def _first(run: Run, runs: Sequence[Run]) -> bool:
    return bool(run.summary["seed"] == min(each.summary["seed"] for each in runs))


def _script(typed: Sequence[str]) -> str:
    """The command that was typed, without the folders of this machine."""
    words: list[str] = []
    named = False
    parts = (each.split("=", 1) if each.startswith("--") else [each] for each in typed)
    for word in chain.from_iterable(parts):
        if word in ("--out", "--page", "--jobs"):
            named = True
        elif named:
            named = False
        elif words and words[-1] == "--data":
            words.append("FOLDER")
        else:
            words.append(f"FOLDER/{Path(word).name}" if "/" in word and "=" not in word else word)
    return f"scripts/reproduce/{shlex.join(words)}"


def _typed(options: Options, run: Run) -> str:
    text = shlex.join(["nasmeta", *run.command])
    folder = options.data.expanduser().resolve() if options.data else ROOT
    return text.replace(str(folder), "FOLDER")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def accuracy(tasks: Tasks) -> list[str]:
    """Cells for the mean accuracy over seeds, and for that of each seed."""
    means = [100 * float(each.mean()) for each in tasks]
    return [f"{sum(means) / len(means):.2f}", ", ".join(f"{mean:.1f}" for mean in means)]


def compared(one: Tasks, other: Tasks) -> list[str]:
    """Cells for the columns COMPARED: of one network minus another, over the same tasks."""
    ratio, low, high = error_ratio(one, other)
    return [*difference(Difference.of(one, other)), f"{ratio:.2f} ({low:.2f} to {high:.2f})"]


def difference(found: Difference) -> list[str]:
    """Cells for the columns DIFFERENCE."""
    return [
        _interval(100 * found.mean, 100 * found.over_seeds),
        probability(found.p_seeds),
        _interval(100 * found.mean, 100 * found.over_tasks),
        probability(found.p_tasks),
    ]


def _interval(mean: float, half: float) -> str:
    return f"{mean:+.2f}" + ("" if math.isnan(half) else f" ± {half:.2f}")


def error_ratio(one: Tasks, other: Tasks) -> tuple[float, float, float]:
    """One network's mean error divided by the other's, with its 95% bootstrap interval over tasks."""
    rng = seeding.stream(0, "bootstrap")

    def ratio(draw: bool) -> float:
        errors = [0.0, 0.0]
        for pair in zip(one, other, strict=True):
            count = len(pair[0])
            chosen = rng.integers(count, size=count) if draw else slice(None)
            for side in (0, 1):
                errors[side] += 1 - float(pair[side][chosen].mean())
        return errors[0] / errors[1] if errors[1] > 0 else math.inf if errors[0] > 0 else 1.0

    ratios = [ratio(draw=True) for _ in range(RESAMPLES)]
    low, high = np.quantile(ratios, (0.025, 0.975), method="inverted_cdf")  # some may be infinite
    return ratio(draw=False), float(low), float(high)
