"""The controller against enumeration and closed forms; the strategy against random search."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from nasmeta.errors import ConfigError
from nasmeta.seeding import stream
from nasmeta.strategies.controller import Controller
from nasmeta.strategies.random import RandomSearch
from nasmeta.strategies.reinforce import Reinforce
from nasmeta.testing.strategies import asked, context, made, play, told
from nasmeta.testing.toy_space import Digits, ToySpace, distance_score
from tests.search_spaces.test_decisions import sequences
from tests.search_spaces.tiny import tiny_conv, tiny_mlp

SPACE = ToySpace(length=3, base=3)


def controller(space: Any = SPACE, learning_rate: float = 0.05) -> Controller:
    return Controller(space, 8, learning_rate, 0)


def reinforce(**changed: Any) -> Reinforce:
    values = {"units": 8, "learning_rate": 0.02, "baseline_decay": 0.9, "entropy_weight": 0.05}
    for name in [name for name in changed if name in values]:
        values[name] = changed.pop(name)
    return Reinforce(**values, context=context(**changed))  # type: ignore[arg-type]


def probability(policy: Controller, answers: tuple[int, ...]) -> float:
    return math.exp(policy.score(answers)[0].item())


@pytest.mark.parametrize("space", [SPACE, tiny_mlp()], ids=["toy", "mlp"])
def test_it_is_a_distribution_over_the_space(space: Any) -> None:
    policy = controller(space)
    first = policy.sample(stream(0, "policy"), 1.0)[1]
    for _ in range(5):
        policy.step(first, 1.0, 0.0)
    every = [tuple(a for a, options in taken if options > 1) for _, taken in sequences(space)]
    assert sum(probability(policy, answers) for answers in every) == pytest.approx(1, abs=1e-4)


def test_long_sequences_with_forced_answers_are_scored_as_they_were_drawn() -> None:
    policy, rng = controller(tiny_conv()), stream(0, "policy")
    found = {policy.sample(rng, math.inf) for _ in range(200)}
    assert len({arch for arch, _ in found}) == len({answers for _, answers in found}) == len(found) > 90
    assert all(0 < probability(policy, answers) < 0.1 for _, answers in list(found)[:20])


def test_draws_are_as_frequent_as_it_says() -> None:
    policy = controller()
    for _ in range(20):
        policy.step((1, 2, 0), 1.0, 0.0)
    rng = stream(0, "frequency")
    draws = [policy.sample(rng, 1.0)[1] for _ in range(1500)]
    for answers in [(1, 2, 0), (1, 2, 1), (0, 0, 0)]:
        expected = probability(policy, answers)
        tolerance = 5 * math.sqrt(expected / 1500)
        assert draws.count(answers) / 1500 == pytest.approx(expected, abs=tolerance)


def test_a_repaired_draw_moves_the_controller_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the draws are beyond a limit: their answers are those of the draw that was repaired."""
    strategy = reinforce(space=tiny_conv(), trials=12, feasible=lambda arch: len(arch.blocks) == 1)
    steps: list[Any] = []
    monkeypatch.setattr(strategy.controller, "step", lambda answers, *_: steps.append(answers))
    drawn: list[Any] = []
    sample = strategy.controller.sample

    def noted(*arguments: Any) -> Any:
        found = sample(*arguments)
        drawn.append(found)
        return found

    monkeypatch.setattr(strategy.controller, "sample", noted)
    for _ in range(12):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, 0.5))
    assert len(steps) == 12
    assert set(steps) <= {answers for _, answers in drawn}
    assert any(len(arch.blocks) > 1 for arch, answers in drawn if answers in steps), "some were repaired"


def test_heat_evens_the_policy_out() -> None:
    policy = controller()
    for _ in range(30):
        policy.step((1, 2, 0), 1.0, 0.0)
    rng = stream(0, "heat")
    cold, hot = (len({policy.sample(rng, heat)[1] for _ in range(100)}) for heat in (1.0, 1e9))
    assert cold < 10
    assert hot == pytest.approx(27, abs=3)


def test_a_step_follows_the_gradient_of_the_paper() -> None:
    """Adam's first step is learning_rate * sign(gradient), here of a finite difference."""
    policy = controller(learning_rate=1e-3)
    answers, advantage, entropy_weight = (0, 2, 1), -0.7, 0.3
    bias = policy.head.bias

    def objective() -> float:
        log_probability, entropy = policy.score(answers)
        return (advantage * log_probability + entropy_weight * entropy).item()

    slopes = []
    with torch.no_grad():
        for i in range(len(bias)):
            bias[i] += 1e-2
            above = objective()
            bias[i] -= 2e-2
            slopes.append((above - objective()) / 2e-2)
            bias[i] += 1e-2
    before = bias.detach().clone()
    policy.step(answers, advantage, entropy_weight)
    moved = (bias.detach() - before).numpy() / 1e-3
    assert moved == pytest.approx(np.sign(slopes), abs=0.02)


def test_entropy_alone_evens_the_policy_out() -> None:
    policy = controller()
    with torch.no_grad():
        policy.head.bias[1] += 3
    sharp = policy.score((1, 1, 1))[1].item()
    for _ in range(30):
        policy.step((1, 1, 1), 0.0, 1.0)
    assert policy.score((1, 1, 1))[1].item() > sharp + 0.3


def test_a_reward_is_the_share_of_the_scores_that_are_beaten() -> None:
    advantages: list[float] = []
    strategy = reinforce(baseline_decay=0.0)
    step = strategy.controller.step
    strategy.controller.step = lambda a, advantage, e: (advantages.append(advantage), step(a, advantage, e))  # type: ignore[method-assign,assignment]
    for score in (0.5, 0.9, 0.1, None, 0.5):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, score))
    rewards = [0.5, 1.0, 0.0, 0.0, 0.5]
    baselines = [0.5, 0.5, 1.0, 0.0, 0.0]
    assert advantages == pytest.approx([r - b for r, b in zip(rewards, baselines, strict=True)])


def test_it_finds_better_architectures_than_random_search() -> None:
    def best(strategy: Any) -> float:
        return max(distance_score(arch) for arch in asked(play(strategy)))

    learned = [best(made("reinforce", seed=seed, trials=80)) for seed in range(4)]
    random = [best(RandomSearch(context(seed=seed, trials=80))) for seed in range(12)]
    assert np.mean(learned) > np.mean(random) + 0.5


def test_a_space_without_decisions_is_refused() -> None:
    class Bare:
        """Only what every space has."""

    with pytest.raises(ConfigError, match=r"strategy: reinforce needs .* Bare does not; choose strategy="):
        reinforce(space=Bare())


def test_a_space_of_one_architecture_has_nothing_to_learn() -> None:
    strategy = reinforce(space=ToySpace(length=2, base=1), trials=2)
    assert asked(play(strategy)) == [Digits((0, 0))] * 2
