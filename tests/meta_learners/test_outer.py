"""Outer optimizers and their schedules."""

import contextlib
import math
from itertools import pairwise

import pytest
import torch

from nasmeta.testing.recording import simulated_graphs
from nasmeta.training import optimizers as outer
from nasmeta.training.optimizers import OuterOptimizer, Schedule


def of(schedule: Schedule, warmup: float = 0.0) -> OuterOptimizer:
    return outer.sgd(lr=0.4, momentum=0.0, nesterov=False, weight_decay=0.0, schedule=schedule, warmup=warmup)


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [0.4, 0.4, 0.4, 0.4]),
        ("linear", [0.4, 0.3, 0.2, 0.1]),
        ("cosine", [0.4, 0.2 + 0.2 * math.cos(math.pi / 4), 0.2, 0.2 - 0.2 * math.cos(math.pi / 4)]),
    ],
)
def test_rates(schedule: Schedule, expected: list[float]) -> None:
    assert [of(schedule).rate(i, 4) for i in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule, end", [("constant", 0.4), ("linear", 0.0), ("cosine", 0.0)])
def test_ends(schedule: Schedule, end: float) -> None:
    optimizer = of(schedule)
    assert optimizer.rate(0, 1000) == pytest.approx(0.4)
    assert optimizer.rate(1000, 1000) == pytest.approx(end, abs=1e-12)
    rates = [optimizer.rate(i, 1000) for i in range(1000)]
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert min(rates) > 0.0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warmup_rises_in_equal_steps_to_the_full_rate(schedule: Schedule) -> None:
    optimizer = of(schedule, warmup=0.3)
    rates = [optimizer.rate(i, 10) for i in range(10)]
    assert rates[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert max(rates) == rates[3]


def test_a_rate_depends_on_nothing_else() -> None:
    optimizer = of("cosine", warmup=0.1)
    once = [optimizer.rate(i, 50) for i in range(50)]
    assert once == [optimizer.rate(i, 50) for i in reversed(range(50))][::-1]
    assert once == [of("cosine", warmup=0.1).rate(i, 50) for i in range(50)]


ONES = {"schedule": "constant", "warmup": 0.0}
FIRST_STEPS = [
    # The first step of a weight of 1 whose gradient is 2.
    (outer.adam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.0}, 0.9),
    (outer.adamw, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.5}, 1 - 0.1 * 0.5 - 0.1),
    (
        outer.rmsprop,
        {"lr": 0.1, "alpha": 0.75, "momentum": 0.0, "weight_decay": 0.0},
        1 - 0.1 * 2 / math.sqrt(0.25 * 4),
    ),
    (outer.sgd, {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.5}, 1 - 0.1 * 2.5),
    (outer.sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.0}, 1 - 0.1 * 2 * 1.9),
]


@pytest.mark.parametrize("make, options, expected", FIRST_STEPS)
def test_first_step(make: object, options: dict[str, float], expected: float) -> None:
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = make(**options, **ONES).make([weight])  # type: ignore[operator]
    weight.grad = torch.full_like(weight, 2.0)
    optimizer.step()
    assert float(weight.detach()) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("restored", [False, True])
def test_one_kernel_takes_gradients_that_begin_late(nesterov: bool, restored: bool) -> None:
    """As those of a supernet do. Without one kernel, torch allows for it."""
    made = outer.sgd(
        lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01, schedule="constant", warmup=0.0
    )
    found = []
    for kernels in (contextlib.nullcontext(), simulated_graphs()):
        with kernels:
            parameters = {name: torch.linspace(-1, 1, 5).requires_grad_() for name in "ab"}
            optimizer = made.make(list(parameters.values()))
            outer.descend(parameters, {"a": torch.linspace(1, 2, 5)}, optimizer)
            if restored:  # from a checkpoint of a CPU, which has only the moments that were needed
                saved = optimizer.state_dict()
                saved["state"].pop(1, None)
                optimizer = made.make(list(parameters.values()))
                outer.restore(optimizer, saved)
            for _ in range(2):
                outer.descend(parameters, {name: torch.linspace(1, 2, 5) for name in "ab"}, optimizer)
            found.append(torch.stack([value.detach() for value in parameters.values()]))
    torch.testing.assert_close(*found)
