"""The options of conf/meta_learner and conf/optimizer, found by their files, and some variants of them."""

import importlib
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from nasmeta.meta_learners.base import MetaLearner
from nasmeta.networks.policy import BatchNormPolicy
from tests.option_names import names

CONF = Path(__file__).parents[2] / "conf"
LEARNERS = names("meta_learner")
OPTIMIZERS = names("optimizer")

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in LEARNERS},
    "maml multi-step": ("maml", {"train_steps": 2, "multi_step_iterations": 10}),
    "maml fixed rates": ("maml", {"inner_lr": 0.4, "learn_inner_lr": False}),
    "reptile sgd": ("reptile", {"inner_optimizer": "sgd", "inner_lr": 0.1, "test_steps": 5}),
    "protonet cosine": ("protonet", {"distance": "cosine", "learn_temperature": True}),
    "finetune all": ("finetune", {"adapted_part": "all", "test_steps": 5}),
}
"""Every option, and those values that lead through other code: (option, overrides)."""


def configured(group: str, name: str) -> tuple[Any, dict[str, Any]]:
    """The class or function that an option names, and its arguments."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        options = dict(compose(overrides=[f"+{group}={name}"])[group])
    module, attribute = options.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), attribute), options


def learner(name: str, policy: BatchNormPolicy | str, **overrides: Any) -> MetaLearner:
    """The learner of an option or of VARIANTS."""
    option, values = VARIANTS[name]
    make, options = configured("meta_learner", option)
    return make(**{**options, **values, **overrides}, batch_norm=BatchNormPolicy(policy))


def short(name: str, policy: BatchNormPolicy | str) -> MetaLearner:
    """The same with at most three test steps, for tests that do not ask how well it learns."""
    chosen = learner(name, policy)
    if hasattr(chosen, "test_steps"):
        chosen.test_steps = min(chosen.test_steps, 3)
    return chosen
