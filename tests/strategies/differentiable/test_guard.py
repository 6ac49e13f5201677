"""Early warnings: the eigenvalue of a known matrix, the rule of DARTS-ES, and what is counted."""

import pytest
import torch
from torch import Tensor

from nasmeta.search_spaces.cell_ops import Table
from nasmeta.search_spaces.darts import network as darts
from nasmeta.search_spaces.nasbench201 import Nasbench201Space
from nasmeta.search_spaces.nasbench201 import network as nasbench201
from nasmeta.seeding import stream
from nasmeta.strategies.differentiable.guard import (
    SKIPS,
    WEIGHTLESS,
    count,
    dominant_eigenvalue,
    has_sharpened,
)


@pytest.mark.parametrize("values", [(5.0, 1.0, -2.0), (-7.0, 3.0, 0.5)])
def test_the_eigenvalue_of_largest_magnitude(values: tuple[float, ...]) -> None:
    rotation, _ = torch.linalg.qr(torch.from_numpy(stream(0, "rotation").standard_normal((3, 3))))
    matrix = rotation @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ rotation.T

    def at(point: dict[str, Tensor]) -> dict[str, Tensor]:
        both = matrix @ torch.cat([point["a"], point["b"]]) + 1.0
        return {"a": both[:2], "b": both[2:]}

    point = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.ones(1, dtype=torch.float64)}
    assert dominant_eigenvalue(at, point, stream(0, "power")) == pytest.approx(values[0], rel=1e-3)


def test_a_flat_loss_has_none() -> None:
    point = {"a": torch.zeros(2)}
    assert dominant_eigenvalue(lambda p: {"a": torch.zeros(2)}, point, stream(0, "power")) == 0.0


def test_the_rule_of_darts_es() -> None:
    """Stops when the mean of 3 five epochs ago is below 0.75 of the present one."""
    assert not has_sharpened([1.0] * 20)
    assert not has_sharpened([1.0, 9.0])
    flat = [1.0] * 5
    assert has_sharpened([*flat, 1.4, 1.4, 1.4])  # 1 / 1.4 < 0.75
    assert not has_sharpened([*flat, 1.3, 1.3, 1.3])  # 1 / 1.3 > 0.75
    assert not has_sharpened([-1.0] * 5 + [-2.0] * 3)


def test_operations_that_carry_something_are_counted() -> None:
    space = Nasbench201Space(width=4, stages=1, repeats=1)

    def counted(ops: str, operations: tuple[str, ...]) -> int:
        a, b, c, d, e, f = ops.split()
        graph = space.graph(space.parse(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"))
        return count(graph, operations)

    assert counted("skip_connect " * 6, SKIPS) == 6
    assert counted("skip_connect none none skip_connect none none", SKIPS) == 1, "the first leads nowhere"
    mixed = "avg_pool_3x3 skip_connect nor_conv_3x3 nor_conv_1x1 avg_pool_3x3 skip_connect"
    assert (counted(mixed, SKIPS), counted(mixed, WEIGHTLESS)) == (2, 4)


@pytest.mark.parametrize("table", [nasbench201.OPS, darts.OPS], ids=["nasbench201", "darts"])
def test_weightless_is_what_has_no_convolution(table: Table) -> None:
    without = {n for n, make in table.items() if all(p.dim() == 1 for p in make(4, 4, 1).parameters())}
    assert without - {"none"} == set(WEIGHTLESS) & set(table)
