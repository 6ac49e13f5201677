import pytest
import torch

from nasmeta.datasets.sinusoid import Sinusoid
from nasmeta.errors import ConfigError
from nasmeta.task import TaskSpec

PAPER = {
    "amplitude_min": 0.1,
    "amplitude_max": 5.0,
    "phase_max": 3.141592653589793,
    "x_min": -5.0,
    "x_max": 5.0,
}


def batch(options=PAPER, seed=0, split="train", iteration=0, tasks=4, shot=6, query=8, device="cpu"):
    sampler = Sinusoid(**options).sampler(
        split, way=5, shot=shot, query=query, seed=seed, device=torch.device(device)
    )
    return sampler.batch(iteration, tasks)


def test_points_lie_on_one_sine_a_task():
    """y = a sin(x) + b cos(x) with a = A cos(phase), b = -A sin(phase): two unknowns fit every point."""
    drawn = batch(tasks=200)
    x, y = torch.cat([drawn.support_x, drawn.query_x], 1), torch.cat([drawn.support_y, drawn.query_y], 1)
    basis = torch.cat([x.sin(), x.cos()], 2).double()
    fit = torch.linalg.lstsq(basis, y.double()).solution
    assert (basis @ fit - y).abs().max() < 1e-4
    amplitude = fit.norm(dim=1)[:, 0]
    phase = torch.atan2(-fit[:, 1], fit[:, 0])[:, 0]
    assert amplitude.min() > 0.0999
    assert amplitude.max() < 5.0001
    assert phase.min() > -1e-3
    assert phase.max() < 3.1417
    assert amplitude.mean() == pytest.approx(2.55, abs=0.35)  # 3.5 standard errors of 200 draws
    assert phase.mean() == pytest.approx(1.571, abs=0.23)
    assert x.min() >= -5
    assert x.max() <= 5
    assert x.std() == pytest.approx(10 / 12**0.5, abs=0.15)


def test_fixed_amplitude_and_phase_have_a_closed_form():
    options = {"amplitude_min": 2.0, "amplitude_max": 2.0, "phase_max": 0.0, "x_min": 0.0, "x_max": 1.0}
    drawn = batch(options)
    assert torch.allclose(drawn.query_y, 2 * torch.sin(drawn.query_x), atol=1e-6)


def test_shapes_do_not_depend_on_way():
    drawn = batch()
    assert [tuple(tensor.shape) for tensor in drawn] == [(4, 6, 1), (4, 6, 1), (4, 8, 1), (4, 8, 1), (4, 0)]
    assert [tensor.dtype for tensor in drawn] == [torch.float32] * 4 + [torch.int64]
    dataset = Sinusoid(**PAPER)
    assert dataset.task_spec(5) == TaskSpec("regression", (1,), outputs=1, train_classes=0)
    assert dataset.num_classes("train") is None
    assert dataset.examples_per_class("train") is None


def test_a_batch_depends_on_seed_split_and_iteration_alone():
    first = batch(iteration=3)
    assert all(torch.equal(a, b) for a, b in zip(first, batch(iteration=3), strict=True))
    for other in (batch(iteration=4), batch(iteration=3, seed=1), batch(iteration=3, split="valid")):
        assert not torch.equal(first.support_x, other.support_x)


def test_sampler_runs_on_the_meta_device():
    assert all(tensor.is_meta for tensor in batch(device="meta"))


@pytest.mark.parametrize("name, low", [("amplitude", 6.0), ("x", 7.5)])
def test_swapped_range_is_refused(name, low):
    with pytest.raises(ConfigError, match=rf"dataset\.{name}_min: {low} .*dataset\.{name}_max 5\.0"):
        Sinusoid(**{**PAPER, f"{name}_min": low})
