"""How numbers read in text: percent, errors, counts, durations, shortened strings."""

import math
import time
from collections.abc import Mapping
from typing import Any

from nasmeta.runtime.text import printable
from nasmeta.trial import TrialResult

UNITS = ("", " K", " M", " G", " T", " P")


def human(count: float | None) -> str:
    """A count in units of a thousand: 950, 111.9 K, 21.3 M; a dash if it is not known."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while abs(round(value, 1)) >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f}" if unit == 0 else f"{value:.1f}{UNITS[unit]}"


def kib(size: int | None) -> str:
    """Bytes as kibibytes: 61.2 KiB; a dash if they are not known."""
    return "-" if size is None else f"{size / 1024:.1f} KiB"


def milliseconds(latency: float | None) -> str:
    """A latency like 1.23 ms; a dash if it is not known."""
    return "-" if latency is None else f"{latency:.3g} ms"


def percent(accuracy: float, ci95: float | None = None) -> str:
    """A fraction with the half-width of its interval: 93.4 ± 0.4 %."""
    interval = "" if ci95 is None else f" ± {100 * ci95:.1f}"
    return f"{100 * accuracy:.1f}{interval} %"


def error(loss: float, ci95: float | None = None) -> str:
    """A loss with the half-width of its interval: 0.123 ± 0.010.

    It has at least three decimals and two significant digits. A loss of 1e9 and more, or of 1e-9 and less,
    is written with an exponent: 3.00e+34.
    """
    if loss != 0 and not 1e-9 < abs(loss) < 1e9:
        return f"{loss:.2e}" + ("" if ci95 is None else f" ± {ci95:.2e}")
    tiny = math.isfinite(loss) and loss != 0
    decimals = max(3, 1 - math.floor(math.log10(abs(loss)))) if tiny else 3
    interval = "" if ci95 is None else f" ± {ci95:.{decimals}f}"
    return f"{loss:.{decimals}f}{interval}"


def measured(
    accuracy: float | None, loss: float | None, ci95: float | None = None, proxy: float | None = None
) -> str:
    """The bare number of a proxy, or else the accuracy, or for regression the loss, with its interval.

    A dash if none is known.
    """
    if proxy is not None:
        return f"{proxy:.4g}"
    if accuracy is not None:
        return percent(accuracy, ci95)
    return "-" if loss is None else error(loss, ci95)


def validation_score(numbers: Mapping[str, Any]) -> float:
    """The validation accuracy of a network, or minus the loss for regression: more is better.

    numbers: its `valid_accuracy` and `valid_loss`, as summary.json has them.
    """
    accuracy, loss = numbers["valid_accuracy"], numbers["valid_loss"]
    return float(-loss if accuracy is None else accuracy)


def score(result: TrialResult) -> str:
    """A trial's validation accuracy (93.4 %), its loss for regression (0.123), or its proxy.

    A search with another evaluator.criterion compares something else.
    """
    return measured(result.valid_accuracy, result.valid_loss, proxy=result.proxy)


def scored(result: TrialResult) -> str:
    """`score` with its 95% interval, if it has one: 93.4 ± 0.8 %."""
    return measured(result.valid_accuracy, result.valid_loss, result.valid_ci95, result.proxy)


def judged(result: TrialResult) -> str:
    """A trial's score with its name: valid 93.4 ± 0.8 %, valid loss 0.123 ± 0.010, or proxy 12.3."""
    if result.proxy is not None:
        return f"proxy {scored(result)}"
    return f"{'valid loss' if result.valid_accuracy is None else 'valid'} {scored(result)}"


def costs(result: TrialResult) -> str:
    """What is known of a network's costs: "111.9 K parameters, 1.23 ms"."""
    known = [f"{human(result.params)} parameters"] if result.params is not None else []
    return ", ".join([*known, *([milliseconds(result.latency_ms)] if result.latency_ms is not None else [])])


def probability(p: float) -> str:
    """A p-value: 0.031, or < 0.001; a dash if it cannot be estimated (nan)."""
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """A time span in its two largest units: 0.4 s, 41 s, 12 min 3 s, 2 h 5 min, 3 d 1 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (size, unit), (below, smaller) in (
        ((86400, "d"), (3600, "h")),
        ((3600, "h"), (60, "min")),
        ((60, "min"), (1, "s")),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def when(began: float | None) -> str:
    """A time in seconds since 1970 as local time, like 2026-11-26 15:22; "" if it is not known."""
    return "" if began is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(began))


def counted(count: int, thing: str) -> str:
    """A number of things, like "1 task" and "600 tasks"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def interval(ci95: float | None, tasks: int | None) -> float | None:
    """The half-width of an interval over tasks; None for one task, from which it cannot be estimated."""
    return None if tasks == 1 else ci95


def shorten(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters. The start and the end are kept."""
    if len(text) > 20 * width:  # spares the work for megabytes
        text = f"{text[: 10 * width]}{text[-10 * width :]}"
    line = printable(" ".join(text.split()))
    if len(line) <= width:
        return line
    tail = width // 3
    return f"{line[: width - tail - 1]}…{line[len(line) - tail :]}"
