"""Fixtures that the tests of meta-learners share."""

import pytest

from nasmeta.networks.batch_norm import POLICIES, Policy
from nasmeta.training.optimizers import OuterOptimizer, adam


@pytest.fixture(params=POLICIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    """Each batch-norm policy in turn."""
    return request.param


@pytest.fixture
def optimizer() -> OuterOptimizer:
    return adam(lr=0.005, beta1=0.9, beta2=0.999, weight_decay=0.0, schedule="cosine", warmup=0.0)
