"""Early warnings: the eigenvalue of a known matrix, the rule of DARTS-ES, and skips that are counted."""

import pytest
import torch
from torch import Tensor

from nasmeta.search_spaces.nasbench201 import Nasbench201Space
from nasmeta.seeding import stream
from nasmeta.strategies.differentiable.guard import dominant_eigenvalue, has_sharpened, skips


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


def test_skips_that_carry_something_are_counted() -> None:
    space = Nasbench201Space(width=4, stages=1, repeats=1)

    def count(ops: str) -> int:
        a, b, c, d, e, f = ops.split()
        return skips(space.graph(space.parse(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")))

    assert count("skip_connect " * 6) == 6
    assert count("skip_connect none none skip_connect none none") == 1, "the first leads nowhere"
