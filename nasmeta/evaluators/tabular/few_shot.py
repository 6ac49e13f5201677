"""This project's own table: architectures of a small space, meta-trained by several learners and budgets.

A CSV with one row per architecture, learner, dataset and number of meta-iterations. Accuracies and
half-widths of their 95% intervals are fractions; a half-width may be empty. `evaluator.learner`,
`evaluator.dataset` and the budget of a trial select the rows.
"""

from typing import Any

from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.tabular.columns import Sheet, count, fraction, or_unknown, seconds, text
from nasmeta.evaluators.tabular.table import InMemory, Validated
from nasmeta.trial import Cost, MetaTested

COLUMNS = {
    "arch": text,
    "learner": text,
    "dataset": text,
    "iterations": count,
    "valid_accuracy": fraction,
    "valid_ci95": or_unknown(fraction),
    "test_accuracy": fraction,
    "test_ci95": or_unknown(fraction),
    "params": count,
    "flops": count,
    "seconds": seconds,
}


def read_few_shot(sheet: Sheet, learner: str | None, dataset: str | None) -> InMemory:
    """The rows of one learner on one dataset. Raises ConfigError that names the key, column or line."""
    sheet.check(set(COLUMNS), set())
    rows = [(line, dict(zip(COLUMNS, values, strict=True))) for line, values in sheet.rows(COLUMNS)]
    rows = _only(rows, "learner", learner, sheet)
    rows = _only(rows, "dataset", dataset, sheet)
    budgets = tuple(sorted({row["iterations"] for _, row in rows}))
    table = InMemory(budgets, has_costs=True)
    lines: dict[tuple[str, int], int] = {}
    for line, row in rows:
        key = row["arch"], row["iterations"]
        if lines.setdefault(key, line) != line:
            raise sheet.error(f"lines {lines[key]} and {line} are both of {key[0]} after {key[1]} iterations")
        table.validated[key] = Validated(row["valid_accuracy"], row["valid_ci95"], row["seconds"])
        table.tested[key] = MetaTested(row["test_accuracy"], row["test_ci95"])
        table.costs[row["arch"]] = Cost(row["params"], row["flops"])
    return table


def _only(
    rows: list[tuple[int, dict[str, Any]]], column: str, wanted: str | None, sheet: Sheet
) -> list[tuple[int, dict[str, Any]]]:
    """The rows whose `column` is `wanted`; all rows if `wanted` is None and the column has one value."""
    values = sorted({row[column] for _, row in rows})
    key = f"evaluator.{column}"
    if wanted is None and len(values) > 1:
        raise ConfigError(f"{key}: {sheet.path} has rows of {', '.join(values)}; choose: {key}={values[0]}")
    if wanted is not None and wanted not in values:
        raise ConfigError(f"{key}: {sheet.path} has no rows of {wanted!r}; {suggest(wanted, values)}")
    return [(line, row) for line, row in rows if wanted in (None, row[column])]
