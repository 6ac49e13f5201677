"""Latencies are measured of any network, whatever normalizes it."""

import math

import pytest
import torch

from nasmeta import seeding
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.networks.latency import measure_latency
from nasmeta.run.composition import Composition


@pytest.mark.parametrize(
    "overrides",
    [
        ["search_space=conv"],
        ["search_space=nasbench201"],
        ["search_space=darts"],
        ["search_space=mlp", "dataset=sinusoid", "search_space.norms=[batch]", "meta_learner=maml"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_one_example_is_enough(overrides: list[str]) -> None:
    composition = Composition.of(parse(composed(["device=cpu", *overrides]), trusted=False))
    arch = composition.space.sample(seeding.stream(0, "latency"))
    ms = measure_latency(composition.space, arch, composition.task, torch.device("cpu"))
    assert 0 < ms < math.inf
