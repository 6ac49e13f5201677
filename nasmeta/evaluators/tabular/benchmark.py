"""NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326) as one CSV: `arch,valid_acc_12,test_acc_200`.

The validation accuracy is after 12 epochs, the test accuracy after 200. They stand for any budget: a search
and its final look up the same row. The columns `seconds`, and `params` with `flops`, are optional.
"""

from nasmeta.evaluators.tabular.sheet import Count, Percentage, Row, Seconds, Sheet
from nasmeta.evaluators.tabular.table import InMemory, Validated
from nasmeta.trial import Cost, MetaTested


class BenchmarkRow(Row):
    """The accuracies are percentages in the file."""

    valid_acc_12: Percentage
    test_acc_200: Percentage
    seconds: Seconds | None = None
    params: Count | None = None
    flops: Count | None = None

    def subject(self) -> str:
        return self.arch


def read_benchmark(sheet: Sheet) -> InMemory:
    """Reads the table. Raises ConfigError that names the column or the line.

    An accuracy of 1 % is far below chance, so a column without a higher one must hold fractions and is
    refused.
    """
    if ("params" in sheet.names) != ("flops" in sheet.names):
        raise sheet.error("params and flops come together, or neither")
    table = InMemory(budgets=None, has_costs="params" in sheet.names)
    for row in sheet.rows(BenchmarkRow):
        table.validated[row.arch, 0] = Validated(row.valid_acc_12, seconds=row.seconds)
        table.tested[row.arch, 0] = MetaTested(row.test_acc_200, None)
        if row.params is not None and row.flops is not None:
            table.costs[row.arch] = Cost(row.params, row.flops)
    best = {
        "valid_acc_12": max(row.accuracy for row in table.validated.values()),
        "test_acc_200": max(row.accuracy for row in table.tested.values()),
    }
    for column, accuracy in best.items():
        if accuracy <= 0.01:
            raise sheet.error(
                f"{column}: no accuracy is above {100 * accuracy:g}, and the column is of percentages: "
                "multiply fractions by 100"
            )
    return table
