"""Every option of conf/meta_learner goes through the contract; a new one is tested unlisted."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.normalization import Policy
from nasmeta.meta_learners.outer import OuterOptimizer
from nasmeta.testing.meta_learners import MetaLearnerContract, learning

CONF = Path(__file__).parents[2] / "conf"
LEARNERS = sorted(path.stem for path in (CONF / "meta_learner").glob("*.yaml"))
OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))


def configured(group: str, name: str) -> tuple[Callable[..., object], dict[str, object]]:
    """The class or function that an option names, and its arguments."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = dict(compose(overrides=[f"+{group}={name}"])[group])
    module, attribute = options.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), attribute), options


@pytest.fixture(params=LEARNERS)
def make(request: pytest.FixtureRequest) -> Callable[[Policy], MetaLearner]:
    make, options = configured("meta_learner", request.param)
    return lambda policy: make(**options, batch_norm=policy)


class TestEveryLearner(MetaLearnerContract):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["transductive", "running"])
def test_learns_under_the_other_policies(
    make: Callable[[Policy], MetaLearner], policy: Policy, optimizer: OuterOptimizer
) -> None:
    untrained, trained = learning(make(policy), optimizer)
    assert trained > 0.65, f"{untrained:.3f} -> {trained:.3f}"
    assert trained > untrained + 0.1, f"{untrained:.3f} -> {trained:.3f}"


def test_the_promised_learners_are_there() -> None:
    assert {"maml", "fomaml", "anil", "boil", "reptile", "protonet", "finetune"} <= set(LEARNERS)
    assert {"adam", "adamw", "rmsprop", "sgd"} <= set(OPTIMIZERS)


@pytest.mark.parametrize(
    "group, name",
    [("meta_learner", name) for name in LEARNERS] + [("optimizer", name) for name in OPTIMIZERS],
)
def test_keys_are_the_arguments(group: str, name: str) -> None:
    make, options = configured(group, name)
    arguments = set(inspect.signature(make).parameters) - {"batch_norm"}
    assert set(options) == arguments
    first_line = (CONF / group / f"{name}.yaml").read_text().splitlines()[0]
    assert first_line.startswith("# ")
