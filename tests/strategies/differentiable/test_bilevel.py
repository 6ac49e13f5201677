"""The two derivatives of DARTS on quadratics, where both are known."""

import pytest
import torch
from torch import Tensor

from nasmeta.strategies.differentiable.bilevel import first_order, second_order

A = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
B = torch.tensor([[1.0, -0.3], [0.2, 0.8], [0.7, 0.1]], dtype=torch.float64)
POINT = {
    "w": torch.tensor([0.7, -1.1], dtype=torch.float64),
    "alpha": torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64),
}
XI = 0.1


def loss(point: dict[str, Tensor], which: str) -> Tensor:
    """train: w'Aw/2 + alpha'Bw; valid: |w - alpha_1|^2/2 + |alpha|^2/2 + alpha'Bw, all coupled."""
    w, alpha = point["w"], point["alpha"]
    coupling = alpha @ B @ w
    if which == "train":
        return w @ A @ w / 2 + coupling
    return (w - alpha[0]).square().sum() / 2 + alpha.square().sum() / 2 + coupling


def at(point: dict[str, Tensor], which: str) -> dict[str, Tensor]:
    leaves = {name: value.detach().requires_grad_() for name, value in point.items()}
    gradients = torch.autograd.grad(loss(leaves, which), list(leaves.values()))
    return dict(zip(leaves, gradients, strict=True))


def unrolled(xi: float) -> Tensor:
    """d/dalpha of L_valid(w - xi dL_train/dw, alpha), through the step, by autograd."""
    w, alpha = (POINT[name].clone().requires_grad_() for name in ("w", "alpha"))
    (step,) = torch.autograd.grad(loss({"w": w, "alpha": alpha}, "train"), w, create_graph=True)
    final = loss({"w": w - xi * step, "alpha": alpha}, "valid")
    return torch.autograd.grad(final, alpha)[0]


def test_second_order_is_exact_where_the_loss_is_quadratic() -> None:
    """The finite difference of a linear function has no error."""
    actual = second_order(at, POINT, ["alpha"], "train", "valid", XI)
    assert set(actual) == {"alpha"}
    torch.testing.assert_close(actual["alpha"], unrolled(XI), rtol=1e-9, atol=1e-12)
    by_hand = at({**POINT, "w": POINT["w"] - XI * (A @ POINT["w"] + POINT["alpha"] @ B)}, "valid")
    torch.testing.assert_close(actual["alpha"], by_hand["alpha"] - XI * B @ by_hand["w"])


def test_first_order_is_second_order_without_a_step() -> None:
    first = first_order(at, POINT, ["alpha"], "valid")
    torch.testing.assert_close(first["alpha"], unrolled(0.0))
    assert not torch.allclose(first["alpha"], unrolled(XI))


def test_a_point_is_left_as_it_was() -> None:
    before = {name: value.clone() for name, value in POINT.items()}
    second_order(at, POINT, ["alpha"], "train", "valid", XI)
    assert all(torch.equal(POINT[name], value) for name, value in before.items())


def test_nothing_left_to_learn_is_no_nan() -> None:
    flat = {name: torch.zeros_like(value) for name, value in POINT.items()}
    actual = second_order(lambda point, which: flat, POINT, ["alpha"], "train", "valid", XI)
    assert actual["alpha"].tolist() == pytest.approx([0.0, 0.0, 0.0])
