"""This project's own table: architectures of a small space, meta-trained by several learners and budgets."""

from typing import Annotated

from pydantic import BeforeValidator

from nasmeta.errors import ConfigError, suggest
from nasmeta.evaluators.tabular.sheet import Count, Fraction, Row, Seconds, Sheet, Text
from nasmeta.evaluators.tabular.table import InMemory, Validated
from nasmeta.trial import Cost, MetaTested

HalfWidth = Annotated[Fraction | None, BeforeValidator(lambda cell: cell or None)]
"""Half the width of a 95% interval; None for an empty cell."""


class FewShotRow(Row):
    """One architecture, meta-trained by one learner on one dataset for so many meta-iterations."""

    learner: Text
    dataset: Text
    iterations: Count
    valid_accuracy: Fraction
    valid_ci95: HalfWidth
    test_accuracy: Fraction
    test_ci95: HalfWidth
    params: Count
    flops: Count
    seconds: Seconds

    def subject(self) -> str:
        return f"{self.arch} after {self.iterations} iterations of {self.learner} on {self.dataset}"


def read_few_shot(sheet: Sheet, learner: str | None, dataset: str | None) -> InMemory:
    """The rows of one learner on one dataset. Raises ConfigError that names the key, column or line."""
    rows = list(sheet.rows(FewShotRow))
    rows = _only(rows, "learner", learner, sheet)
    rows = _only(rows, "dataset", dataset, sheet)
    table = InMemory(budgets=tuple(sorted({row.iterations for row in rows})), has_costs=True)
    for row in rows:
        key = row.arch, row.iterations
        table.validated[key] = Validated(row.valid_accuracy, row.valid_ci95, row.seconds)
        table.tested[key] = MetaTested(row.test_accuracy, row.test_ci95)
        table.costs[row.arch] = Cost(row.params, row.flops)
    return table


def _only(rows: list[FewShotRow], column: str, wanted: str | None, sheet: Sheet) -> list[FewShotRow]:
    """The rows whose `column` is `wanted`; all rows if `wanted` is None and the column has one value."""
    values = sorted({getattr(row, column) for row in rows})
    key = f"evaluator.{column}"
    if wanted is None and len(values) > 1:
        raise ConfigError(f"{key}: {sheet.path} has rows of {', '.join(values)}; choose: {key}={values[0]}")
    if wanted is not None and wanted not in values:
        raise ConfigError(f"{key}: {sheet.path} has no rows of {wanted!r}; {suggest(wanted, values)}")
    return [row for row in rows if wanted in (None, getattr(row, column))]
