"""NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326) as one CSV: `arch,valid_acc_12,test_acc_200`.

The validation accuracy is after 12 epochs, the test accuracy after 200. Both are percentages, as the columns'
names say. They stand for any budget: a search and its final look up the same row. The columns `seconds`, and
`params` with `flops`, are optional.
"""

from nasmeta.evaluators.tabular.columns import Sheet, count, percentage, seconds, text
from nasmeta.evaluators.tabular.table import InMemory, Validated
from nasmeta.trial import Cost, MetaTested

REQUIRED = {"arch": text, "valid_acc_12": percentage, "test_acc_200": percentage}
OPTIONAL = {"seconds": seconds, "params": count, "flops": count}


def read_benchmark(sheet: Sheet) -> InMemory:
    """Reads the table. Raises ConfigError that names the column or the line.

    An accuracy of 1 % is far below chance, so a column without a higher one must hold fractions and is
    refused.
    """
    names = sheet.names
    sheet.check(set(REQUIRED), set(OPTIONAL))
    if ("params" in names) != ("flops" in names):
        raise sheet.error("params and flops come together, or neither")
    columns = {name: parse for name, parse in (REQUIRED | OPTIONAL).items() if name in names}
    table = InMemory(budgets=None, has_costs="params" in names)
    lines: dict[str, int] = {}
    for line, (arch, valid, test, *rest) in sheet.rows(columns):
        if lines.setdefault(arch, line) != line:
            raise sheet.error(f"lines {lines[arch]} and {line} are both of {arch}")
        took = rest.pop(0) if "seconds" in names else None
        table.validated[arch, 0] = Validated(valid, seconds=took)
        table.tested[arch, 0] = MetaTested(test, None)
        if rest:
            table.costs[arch] = Cost(*rest)
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
