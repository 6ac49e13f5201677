"""Every option of conf/meta_learner goes through the contract; a new one is tested unlisted."""

import inspect
from collections.abc import Callable
from functools import partial

import pytest

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.testing.meta_learners import LearningContract, MetaLearnerContract, learning
from nasmeta.training.optimizers import OuterOptimizer
from tests.meta_learners.options import CONF, LEARNERS, OPTIMIZERS, configured, learner, short

FASTER = {"reptile": {"inner_lr": 0.004, "test_steps": 12}}
"""Fewer and longer steps than an option's own."""


@pytest.fixture(params=LEARNERS)
def make(request: pytest.FixtureRequest) -> Callable[[BatchNormPolicy], MetaLearner]:
    return partial(learner, request.param, **FASTER.get(request.param, {}))


class TestEveryLearner(MetaLearnerContract):
    @pytest.fixture(params=LEARNERS)
    def make(self, request: pytest.FixtureRequest) -> Callable[[BatchNormPolicy], MetaLearner]:
        return partial(short, request.param)


class TestEveryLearnerLearns(LearningContract):
    pass


@pytest.mark.parametrize("policy", ["transductive", "running"])
@pytest.mark.parametrize("name", ["maml", "reptile", "finetune", "ridge"])
def test_learns_under_the_other_policies(name: str, policy: str, optimizer: OuterOptimizer) -> None:
    """One of each kind of learner: the others normalize as these do."""
    untrained, trained = learning(learner(name, policy, **FASTER.get(name, {})), optimizer)
    assert trained > 0.7, f"{untrained:.3f} -> {trained:.3f}"
    assert trained > untrained + 0.1, f"{untrained:.3f} -> {trained:.3f}"


def test_the_promised_learners_are_there() -> None:
    promised = {"maml", "fomaml", "anil", "boil", "meta_sgd", "reptile", "protonet", "ridge", "finetune"}
    assert promised <= set(LEARNERS)
    assert {"adam", "adamw", "rmsprop", "sgd"} <= set(OPTIMIZERS)


@pytest.mark.parametrize(
    "group, name",
    [("meta_learner", name) for name in LEARNERS] + [("optimizer", name) for name in OPTIMIZERS],
)
def test_keys_are_the_arguments(group: str, name: str) -> None:
    make, options = configured(group, name)
    assert set(options) == set(inspect.signature(make).parameters) - {"batch_norm"}
    first_line = (CONF / group / f"{name}.yaml").read_text().splitlines()[0]
    assert first_line.startswith("# ")
