"""Fixtures that the tests of meta-learners share."""

import pytest

from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.training.optimizers import OuterOptimizer, adam


@pytest.fixture(params=BatchNormPolicy)
def policy(request: pytest.FixtureRequest) -> BatchNormPolicy:
    """Each batch-norm policy in turn."""
    return request.param


@pytest.fixture
def optimizer() -> OuterOptimizer:
    return adam(lr=0.01, beta1=0.9, beta2=0.999, weight_decay=0.0, schedule="cosine", warmup=0.0)
