import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from nasmeta.config.conf_dir import config_directory
from nasmeta.strategies.evolution import RegularizedEvolution
from nasmeta.strategies.predictor import Predictor
from nasmeta.testing.strategies import asked, context, play, told
from nasmeta.testing.toy_space import ToySpace, distance_score
from nasmeta.trial import Proposal


def predictor(options: dict[str, Any] | None = None, **arguments: Any) -> Predictor:
    values: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "strategy" / "predictor.yaml"))
    del values["_target_"]
    return Predictor(**{**values, **(options or {})}, context=context(**arguments))


def best(strategy: Any) -> float:
    return max(distance_score(arch) for arch in asked(play(strategy)))


@pytest.mark.parametrize("acquisition", ["ei", "thompson"])
def test_it_needs_fewer_trials_than_evolution(acquisition: str) -> None:
    evolution = {"population_size": 10, "sample_size": 3, "start": "random"}
    evolved = [best(RegularizedEvolution(**evolution, context=context(seed=s, trials=25))) for s in range(3)]
    options = {"acquisition": acquisition, "start": "random"}
    found = [best(predictor(options, seed=s, trials=25)) for s in range(3)]
    assert np.mean(found) >= np.mean(evolved) + 0.5


def test_only_the_order_of_scores_matters() -> None:
    """Accuracies, minus losses, anything that orders as they do."""

    def proposals(score: Any) -> list[Any]:
        strategy = predictor(trials=18)
        archs = []
        while (proposal := strategy.ask()) is not None:
            archs.append(proposal.arch)
            strategy.tell(told(proposal, score(distance_score(proposal.arch))))
        return archs

    assert proposals(lambda x: x) == proposals(lambda x: math.exp(x / 3)) == proposals(lambda x: x**3 - 1e6)


def test_pending_trials_are_not_proposed_again() -> None:
    def with_pending(pending: int) -> list[Proposal]:
        strategy = predictor(trials=40)
        for _ in range(20):
            proposal = strategy.ask()
            assert proposal is not None
            strategy.tell(told(proposal, distance_score(proposal.arch)))
        made = [strategy.ask() for _ in range(pending + 1)]
        assert all(made)
        return made  # type: ignore[return-value]

    proposals = with_pending(8)
    assert len({proposal.arch for proposal in proposals}) == 9
    assert with_pending(2) == proposals[:3]


def learnt_by_the_next_ask(strategy: Predictor, monkeypatch: pytest.MonkeyPatch) -> dict[Any, float]:
    """What the ensemble is trained on, by architecture."""
    targets_of: dict[Any, float] = {}

    def fit(graphs: Any, targets: Any, *_: Any) -> None:
        archs = {id(graph): arch for arch, graph in strategy._sampler._encoded.items()}
        targets_of.update({archs[id(graph)]: float(y) for graph, y in zip(graphs, targets, strict=True)})

    monkeypatch.setattr(strategy._sampler._ensemble, "fit", fit)
    assert strategy.ask() is not None
    return targets_of


def after(trials: int, failing: int = -1) -> tuple[Predictor, list[Any]]:
    """A strategy that was asked and told so many times, and what it proposed."""
    strategy = predictor({"initial": 4}, trials=40)
    archs = []
    for trial in range(trials):
        proposal = strategy.ask()
        assert proposal is not None
        strategy.tell(told(proposal, None if trial == failing else distance_score(proposal.arch)))
        archs.append(proposal.arch)
    return strategy, archs


def test_a_pending_trial_is_learnt_as_it_was_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, archs = after(6)
    waiting = strategy.ask()
    assert waiting is not None
    assert strategy._sampler._ensemble is not None
    mean, _ = strategy._sampler._ensemble.predict(strategy._sampler._encode([waiting.arch]))
    learnt = learnt_by_the_next_ask(strategy, monkeypatch)
    assert set(learnt) == {*archs, waiting.arch}
    assert learnt[waiting.arch] == pytest.approx(float(mean))


def test_a_failed_trial_is_learnt_as_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy, archs = after(8, failing=5)
    learnt = learnt_by_the_next_ask(strategy, monkeypatch)
    worst = min((arch for i, arch in enumerate(archs) if i != 5), key=distance_score)
    assert learnt[archs[5]] == learnt[worst] == min(learnt.values())
    order = sorted((arch for i, arch in enumerate(archs) if i != 5), key=distance_score)
    assert sorted(order, key=lambda arch: learnt[arch]) == order


def test_another_space_needs_no_other_option() -> None:
    space = ToySpace(length=9, base=3)
    values: Any = OmegaConf.to_container(OmegaConf.load(config_directory() / "strategy" / "predictor.yaml"))
    del values["_target_"]
    archs = asked(play(Predictor(context(trials=15, space=space), **values)))
    assert len(set(archs)) == 15


def test_the_strategy_loads_no_torch_before_its_first_prediction() -> None:
    script = (
        "import sys\nfrom nasmeta.strategies.surrogate import graphs, targets\n"
        "import nasmeta.strategies.predictor, nasmeta.strategies.hyperband\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
