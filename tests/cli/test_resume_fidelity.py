"""Strategies that keep more than one trial's files: killed and resumed, they end as if never interrupted."""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.evaluators.scratch import Scratch
from nasmeta.run.composition import Composition
from nasmeta.run.directory import RunDirectory
from nasmeta.run.journal import Journal
from nasmeta.strategies.pareto import dominates
from nasmeta.testing.evaluators import judged
from tests.cli.kills import kill_again_and_again, outcome
from tests.cli.runs import SAVED

# SAVED without the options of evolution, which the others do not have.
BASE = [override for override in SAVED if not override.startswith("strategy.")]
RUNS = {
    "hyperband": [
        "strategy=hyperband",
        "strategy.eta=2",
        "strategy.min_share=0.3",
        "budget.trials=6",
        "budget.search_iterations=4",
    ],
    "model_hyperband": [
        "strategy=model_hyperband",
        "strategy.eta=2",
        "strategy.min_share=0.3",
        "strategy.model_trials=2",
        "strategy.random_share=0",
        "budget.trials=6",
        "budget.search_iterations=4",
    ],
    "nsga2": ["strategy=nsga2", "strategy.population_size=3", "budget.trials=7"],
    "recursive": [
        "strategy=recursive",
        "strategy.rounds=2",
        "strategy.inner.population_size=2",
        "strategy.inner.sample_size=2",
        "budget.trials=6",
    ],
}


def arguments(name: str, directory: Path) -> list[str]:
    return ["search", *BASE, *RUNS[name], f"hydra.run.dir={directory}"]


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def front_of(directory: Path) -> dict[str, dict[str, bytes]]:
    """The tensors of each checkpoint of the Pareto front, by file."""
    files = {path.name: torch.load(path, weights_only=True) for path in directory.glob("pareto/*")}
    return {
        name: {key: value.numpy().tobytes() for key, value in saved["parameters"].items()}
        for name, saved in files.items()
    }


def test_killed_again_and_again(name: str, unbroken: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert kill_again_and_again(arguments(name, directory), directory, 17) >= 2
    assert outcome(directory) == outcome(unbroken)
    assert front_of(directory) == front_of(unbroken)


def test_nothing_is_left_behind(unbroken: Path) -> None:
    assert not list((unbroken / "checkpoints").glob("search-*"))


def test_hyperband_continues_the_meta_training_it_promotes(tmp_path: Path) -> None:
    """A promoted trial's score is that of its architecture trained in one go, to the last bit."""
    directory = tmp_path / "run"
    assert main([*arguments("hyperband", directory), "optimizer.schedule=linear"]) == 0
    with Journal(directory / "journal.jsonl") as journal:
        asked = {r["trial"]: r for r in journal.records if r["event"] == "asked"}
        finished = [r for r in journal.records if r["event"] == "finished"]
    searched = {r["trial"]: r for r in finished if r["phase"] == "search"}
    promoted = [r for r in asked.values() if r["continues"] is not None]
    assert promoted
    composition = Composition.of(parse(RunDirectory(directory).load_config(), trusted=True))
    scratch = Scratch(max_seconds=None, criterion="accuracy", problem=composition.problem, keep=None)
    for record in promoted:
        before = asked[record["continues"]]
        assert (record["arch"], record["iterations"]) == (before["arch"], 2 * before["iterations"])
        whole = judged(scratch, record["arch"], record["iterations"], tmp_path / "w")
        assert whole.valid_loss == searched[record["trial"]]["valid_loss"]
        (tmp_path / "w").unlink()
    longest = sorted(
        (r for r in searched.values() if r["iterations"] == 4), key=lambda r: float(r["valid_loss"])
    )
    finals = [r["arch"] for r in finished if r["phase"] == "final"]
    reference = next(r["arch"] for r in finished if r["phase"] == "reference")
    others = [r["arch"] for r in longest if r["arch"] != reference]
    assert finals == others[:2], "results of shorter trainings do not compare"


def test_nsga2_keeps_the_front_and_its_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    extra = ["strategy.objectives=[params,flops]", "logger=tensorboard"]
    assert main([*arguments("nsga2", directory), *extra]) == 0
    with Journal(directory / "journal.jsonl") as journal:
        searched = [r for r in journal.records if r["event"] == "finished" and r["phase"] == "search"]
    points = {r["trial"]: (r["valid_loss"], r["params"], r["flops"]) for r in searched}
    expected = {t for t, p in points.items() if not any(dominates(q, p) for q in points.values())}
    summary = json.loads((directory / "summary.json").read_text())
    assert {member["trial"] for member in summary["pareto"]} == expected
    assert {path.name for path in (directory / "pareto").iterdir()} == {f"{t}.pt" for t in expected}
    volumes = [r["hypervolume"] for r in searched]
    assert volumes == sorted(volumes), "a front never shrinks"
    assert 0 < volumes[0] < volumes[-1] < 1
    capsys.readouterr()
    for member in summary["pareto"]:
        assert points[member["trial"]] == (member["valid_loss"], member["params"], member["flops"])
        assert main(["evaluate", str(directory / member["checkpoint"]), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["loss"] > 0
    (written,) = (directory / "tensorboard").iterdir()
    events = EventAccumulator(str(written), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    assert [e.value for e in events.Scalars("search/hypervolume")] == pytest.approx(volumes)
    assert events.Images("pareto/front")


def test_latency_as_an_objective_is_measured_once_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmeta.run import constraints

    clock = iter(range(1, 1000))
    monkeypatch.setattr(constraints, "measure_latency", lambda *args: float(next(clock)))
    directory = tmp_path / "run"
    assert main([*arguments("nsga2", directory), "strategy.objectives=[latency]"]) == 0
    with Journal(directory / "journal.jsonl") as journal:
        measured = {r["arch"]: r["ms"] for r in journal.records if r["event"] == "measured"}
        finished = {r["arch"] for r in journal.records if r["event"] == "finished"}
    assert measured.keys() == finished, "every trial, and the reference if it is none of them"
    for member in json.loads((directory / "summary.json").read_text())["pareto"]:
        assert member["latency_ms"] == measured[member["arch"]]
    assert main(["resume", str(directory)]) == 0
    assert next(clock) == len(measured) + 1, "nothing is measured again"


def test_recursive_inherits_the_weights_of_the_best_before_the_round(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    assert main(arguments("recursive", directory)) == 0
    with Journal(directory / "journal.jsonl") as journal:
        asked = [r for r in journal.records if r["event"] == "asked"]
        searched = [r for r in journal.records if r["event"] == "finished" and r["phase"] == "search"]
    best = min(searched[:3], key=lambda r: r["valid_loss"])
    assert [r["inherits"] for r in asked] == [None] * 3 + [best["trial"]] * 3
    assert len({r["arch"] for r in asked}) == 6


def test_an_inherited_training_begins_with_the_morphed_weights(tmp_path: Path) -> None:
    """Nothing trained, nothing forgotten: a wider network after 0 more iterations scores like the old one."""
    composition = Composition.of(parse(composed([*BASE, "search_space.min_layers=1"]), trusted=True))
    scratch = Scratch(max_seconds=None, criterion="accuracy", problem=composition.problem, keep=None)
    files = [tmp_path / name for name in ("old", "new", "fresh")]

    def loss(arch: str, iterations: int, weights: Path, start: Path | None) -> float:
        result = judged(scratch, arch, iterations, weights, start=start)
        assert result.valid_loss is not None, result.reason
        return result.valid_loss

    old = loss("fc16.relu.none", 40, files[0], None)
    problem = scratch.problem
    wider = problem.space.parse("fc32.relu.none")
    saved = torch.load(files[0], weights_only=True)
    state = problem.initial_state(wider)
    state.load(problem.morphed(saved["arch"], wider, saved["training"]["parameters"], state), {})
    x = torch.linspace(-5, 5, 20)[:, None]
    source = problem.initial_state(problem.space.parse("fc16.relu.none"))
    source.load(saved["training"]["parameters"], {})
    torch.testing.assert_close(state.network(state.parameters, x), source.network(source.parameters, x))
    inherited, fresh = loss(str(wider), 1, files[1], files[0]), loss(str(wider), 1, files[2], None)
    assert abs(inherited - old) < abs(fresh - old)
    assert torch.load(files[1], weights_only=True)["training"]["iteration"] == 1
