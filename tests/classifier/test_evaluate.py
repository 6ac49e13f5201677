"""`nasmeta evaluate` on images: the checkpoint's own data, division, normalization and statistics."""

import json
import logging
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed
from nasmeta.config.schema import parse
from nasmeta.datasets import download
from nasmeta.evaluators.scratch import Scratch
from nasmeta.meta_learners.protonet import ProtoNet
from nasmeta.networks.batch_norm import EpisodicBatchNorm, NormOfOneValue
from nasmeta.networks.cost import measure_cost
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.seeding import integer
from nasmeta.task import TaskSpec
from nasmeta.trained import meta_test
from nasmeta.trained.control import Rival, equal_four_conv, four_conv, rivals_of
from nasmeta.trained.meta_test import MetaTest
from nasmeta.training import checkpoint
from nasmeta.training.score import Score, score
from nasmeta.training.trained_network import TrainedNetwork
from nasmeta.training.weights import Weights
from nasmeta.trial import Job, Limits
from tests.classifier.pictures import picture
from tests.cli.runs import TINY

CAPTURE = pytest.CaptureFixture[str]


def evaluated(capfd: CAPTURE, *arguments: str | Path) -> dict[str, Any]:
    """The result, with what was said beside it as `warnings`, but for the few classes of these images."""
    capfd.readouterr()
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        assert main(["evaluate", *map(str, arguments), "--json"]) == 0, capfd.readouterr().err
    finally:
        logging.getLogger().removeHandler(handler)
    result: dict[str, Any] = json.loads(capfd.readouterr().out)
    return result | {
        "warnings": "\n".join(line for line in said if not line.startswith("the test split has"))
    }


def refused(capfd: CAPTURE, *arguments: str | Path) -> str:
    """The one line of an evaluation that is refused."""
    capfd.readouterr()
    assert main(["evaluate", *map(str, arguments)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    return err


def numbers(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in ("accuracy", "ci95", "loss", "tasks"))


def classes(run: Path, split: str) -> list[str]:
    names: list[str] = checkpoint.load(run / "best.pt")["data"][split]["classes"]
    return names


def changed(run: Path, folder: Path, **values: Any) -> Path:
    """A copy of the run's checkpoint that holds other values."""
    checkpoint.save(folder / "best.pt", checkpoint.load(run / "best.pt") | values)
    return folder / "best.pt"


@pytest.fixture
def images(root: Path, tmp_path: Path) -> Path:
    """A copy of the images."""
    return Path(shutil.copytree(root, tmp_path / "images"))


@pytest.fixture
def own(maml: Path, capfd: CAPTURE) -> dict[str, Any]:
    """What the checkpoint's own meta-test gives."""
    result = evaluated(capfd, maml)
    best = json.loads((maml / "summary.json").read_text())["best"]
    assert (result["accuracy"], result["ci95"], result["loss"]) == (
        best["test_accuracy"],
        best["test_ci95"],
        best["test_loss"],
    )
    assert 0.3 < result["accuracy"] < 0.99, "so that another normalization shows"
    assert (result["seen_classes"], result["data_changed"], result["warnings"]) == ([], None, "")
    return result


def whiten(folder: Path, names: list[str]) -> None:
    """Replaces the images of these classes by others, nearly white."""
    white = Image.new("RGB", (20, 20), "white")
    white.paste("black", (3, 3, 8, 5))
    for file in (file for name in names for file in (folder / name).iterdir()):
        white.save(file)


def test_other_training_images_change_nothing(
    maml: Path, images: Path, own: dict[str, Any], capfd: CAPTURE
) -> None:
    whiten(images, classes(maml, "train") + classes(maml, "valid"))
    assert numbers(evaluated(capfd, maml, f"dataset.root={images}")) == numbers(own)


def test_the_test_split_alone_is_enough(
    maml: Path, images: Path, tmp_path: Path, own: dict[str, Any], capfd: CAPTURE
) -> None:
    for name in classes(maml, "test"):
        shutil.copytree(images / name, tmp_path / "only" / "test" / name)
    result = evaluated(capfd, maml, f"dataset.root={tmp_path / 'only'}")
    assert numbers(result) == numbers(own)
    assert result["warnings"] == ""
    for name in classes(maml, "train") + classes(maml, "valid"):
        shutil.rmtree(images / name)
    assert numbers(evaluated(capfd, maml, f"dataset.root={images}")) == numbers(own)


def test_classes_that_are_added_move_no_other(
    maml: Path, images: Path, own: dict[str, Any], capfd: CAPTURE
) -> None:
    for number in range(20):
        shutil.copytree(images / "c00", images / f"a new class {number}")
    result = evaluated(capfd, maml, f"dataset.root={images}")
    assert numbers(result) == numbers(own)
    assert result["seen_classes"] == []


def test_another_folder_is_divided_without_the_classes_that_were_trained_on(
    protonet: Path, images: Path, capfd: CAPTURE
) -> None:
    for number in range(20):
        shutil.copytree(images / "c00", images / f"a new class {number}")
    for name in classes(protonet, "test"):
        shutil.rmtree(images / name)
    test = MetaTest.of(protonet, [f"dataset.root={images}"], trusted=False)
    names = test.dataset.contents("test").classes
    assert len(names) == 4, "a fifth of the new ones"
    assert all(name.startswith("a new class") for name in names)
    assert test.seen == ()


def test_a_division_that_is_asked_for_is_made_and_said(protonet: Path, capfd: CAPTURE) -> None:
    result = evaluated(capfd, protonet, "dataset.test_fraction=0.6")
    assert len(result["seen_classes"]) >= 3
    assert set(result["seen_classes"]) <= set(classes(protonet, "train"))
    assert f"{len(result['seen_classes'])} of the test classes" in result["warnings"]
    assert result["seen_classes"][0] in result["warnings"]


def test_a_training_class_in_the_test_folder_is_named(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    train, test = classes(protonet, "train"), classes(protonet, "test")
    for name in [*test, train[2]]:
        shutil.copytree(images / name, tmp_path / "some" / "test" / name)
    result = evaluated(capfd, protonet, f"dataset.root={tmp_path / 'some'}")
    assert result["seen_classes"] == [train[2]]
    assert "1 of the test classes" in result["warnings"]
    assert repr(train[2]) in result["warnings"]


def test_own_test_images_that_have_changed_are_said(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    saved = checkpoint.load(protonet / "best.pt")
    config = saved["config"] | {"dataset": saved["config"]["dataset"] | {"root": str(images)}}
    run = changed(protonet, tmp_path, config=config)
    assert evaluated(capfd, run)["data_changed"] is None
    (images / classes(protonet, "test")[0] / "5.png").unlink()
    result = evaluated(capfd, run)
    assert "images" in result["data_changed"]
    assert f": {result['data_changed']}" in (result["warnings"])


def test_more_shots_leave_classes_out_and_change_no_data(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    saved = checkpoint.load(protonet / "best.pt")
    data = json.loads(json.dumps(saved["data"]))
    small = data["test"]["classes"][0]
    for number in (2, 3, 4, 5):
        (images / small / f"{number}.png").unlink()
    config = saved["config"] | {"dataset": saved["config"]["dataset"] | {"root": str(images)}}
    config["task"] = config["task"] | {"shot": 1, "way": 2}
    fresh = MetaTest.of(changed(protonet, tmp_path, config=config), [], trusted=False)
    data["test"] = asdict(fresh.dataset.contents("test"))  # as if it had been trained on these images
    run = changed(protonet, tmp_path, config=config, data=data)
    assert evaluated(capfd, run)["data_changed"] is None
    assert evaluated(capfd, run, "task.shot=3")["data_changed"] is None, "the small class is left out"


def test_a_loss_that_is_not_finite_is_null_in_json(
    protonet: Path, monkeypatch: pytest.MonkeyPatch, capfd: CAPTURE
) -> None:
    def infinite(*arguments: Any, **options: Any) -> Score:
        return replace(score(*arguments, **options), loss=math.inf)

    monkeypatch.setattr(meta_test, "score", infinite)
    result = evaluated(capfd, protonet)
    assert result["loss"] is None
    assert 0 <= result["accuracy"] <= 1


def test_another_dataset_takes_its_images_as_large_as_the_checkpoint(
    maml: Path, images: Path, own: dict[str, Any], capfd: CAPTURE
) -> None:
    """The option's own size is 84."""
    asked = ["dataset=image_folder", "dataset.min_images=1", "dataset.cache=null", f"dataset.root={images}"]
    assert numbers(evaluated(capfd, maml, *asked)) == numbers(own)
    assert "[3, 16, 16]" in refused(capfd, maml, *asked, "dataset.size=20")


STROKES = {
    "_target_": "nasmeta.datasets.strokes.Strokes",
    "train_classes": 5,
    "valid_classes": 5,
    "test_classes": 5,
    "examples": 9,
    "size": 16,
    "distortion": 0.5,
    "seed": 0,
}
OMNIGLOT = {
    "_target_": "nasmeta.datasets.omniglot.Omniglot",
    "root": None,
    "variant": "full",
    "download": True,
    "size": 16,
    "rotations": True,
    "cache": None,
}


@pytest.mark.parametrize("dataset", [STROKES, OMNIGLOT], ids=lambda dataset: dataset["_target_"][-8:])
def test_a_folder_for_a_checkpoint_of_another_dataset_fetches_nothing(
    dataset: dict[str, Any],
    protonet: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: CAPTURE,
) -> None:
    monkeypatch.setattr(download, "urlopen", lambda *args, **options: pytest.fail("a download"))
    before = sorted(images.rglob("*"))
    config = checkpoint.load(protonet / "best.pt")["config"] | {"dataset": dataset}
    run = changed(protonet, tmp_path, config=config)
    err = refused(capfd, run, f"dataset.root={images}", "--trust-code")
    assert f"dataset=image_folder dataset.root={images}" in err
    assert sorted(images.rglob("*")) == before


@pytest.mark.parametrize(
    "data, key",
    [
        ({}, "data.train"),
        ({"train": 3}, "train"),
        ({"train": {"classes": [[]], "images": 1, "fingerprint": ""}}, "train.classes"),
    ],
)
def test_what_no_run_says_of_its_data_is_refused(
    data: Any, key: str, protonet: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    run = changed(protonet, tmp_path, data=data)
    err = refused(capfd, run)
    assert str(run) in err
    assert key in err


# Whose statistics normalize a query ----------------------------------------------------------------------


def moments(test: MetaTest) -> int:
    """How many batches' moments the network remembers."""
    network = test.state.network
    modules = [*network.module.modules(), *network._copy.module.modules()]
    return sum(len(module.recorded) for module in modules if isinstance(module, EpisodicBatchNorm))


@pytest.mark.parametrize("policy", [policy.value for policy in BatchNormPolicy])
@pytest.mark.parametrize("name", ["protonet", "maml", "transductive", "running"])
def test_the_policy_that_is_printed_is_the_one_that_was_computed(
    name: str, policy: str, request: pytest.FixtureRequest, capfd: CAPTURE
) -> None:
    """Whatever policy the network was trained by: a query's answer depends on others under one of them."""
    run: Path = request.getfixturevalue(name)
    test = MetaTest.of(run, [f"batch_norm={policy}"], trusted=False)
    learner, sampler = test.learner, test.sampler()
    batch = sampler.batch(0, 3)
    support = batch.support_x, batch.support_y
    together = learner.predict(test.state, *support, batch.query_x)
    alone = learner.predict(test.state, *support, batch.query_x[:, 2:3])
    depends = not torch.allclose(together[:, 2:3], alone, atol=1e-4)
    assert depends == (policy == "transductive")
    tested = score(learner, test.state, sampler, 8)
    assert moments(test) == 0, "nothing is kept of a test"
    result = evaluated(capfd, run, f"batch_norm={policy}")
    assert (result["batch_norm"], result["accuracy"]) == (policy, tested.accuracy)


@pytest.mark.parametrize("other", ["meta_learner.distance=cosine", "batch_norm=transductive"])
def test_a_calibration_is_that_of_the_learner_that_was_calibrated(
    other: str, protonet: Path, capfd: CAPTURE
) -> None:
    assert evaluated(capfd, protonet)["calibration"] is not None
    result = evaluated(capfd, protonet, other)
    assert result["calibration"] is None
    assert "are not calibrated" in result["warnings"]


@pytest.mark.parametrize(
    "error, code",
    [(NormOfOneValue("batch norm over one value"), 2), (torch.OutOfMemoryError("CUDA out of memory"), 1)],
)
def test_tasks_that_cannot_be_adapted_to_are_told_in_one_line(
    error: Exception, code: int, protonet: Path, capfd: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ProtoNet, "predict", fails)
    assert main(["evaluate", str(protonet)]) == code
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("nasmeta: ")
    assert str(error) in line


@pytest.mark.parametrize(
    "learner, what", [("maml", "inner_lr."), ("ridge", "log_lambda"), ("finetune", "weight")]
)
def test_a_learner_that_needs_more_than_was_learned_is_refused(
    learner: str, what: str, protonet: Path, capfd: CAPTURE
) -> None:
    assert main(["evaluate", str(protonet), f"meta_learner={learner}"]) == 2
    assert f"meta_learner: {learner} also meta-learns {what}" in capfd.readouterr().err


def test_missing_population_statistics_are_those_of_the_end_of_a_training(
    running: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    """Taken out of a checkpoint, they come back bit by bit."""
    stored = checkpoint.load(running / "best.pt")["statistics"]
    run = changed(running, tmp_path, statistics={})
    found = MetaTest.of(run, [], trusted=False).state.statistics
    assert stored.keys() == found.keys()
    assert all(torch.equal(stored[name], found[name]) for name in stored)
    assert numbers(evaluated(capfd, run)) == numbers(evaluated(capfd, running))


def test_without_the_training_data_there_are_no_population_statistics(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    saved = checkpoint.load(protonet / "best.pt")
    config = saved["config"] | {"dataset": saved["config"]["dataset"] | {"root": str(tmp_path / "gone")}}
    run = changed(protonet, tmp_path, config=config)
    wanted = evaluated(capfd, protonet, "batch_norm=running")
    moved = evaluated(capfd, run, "batch_norm=running", f"dataset.root={images}")
    assert numbers(moved) == numbers(wanted), "they are in the folder that is named"
    Image.fromarray(picture(3, 99)).save(images / classes(protonet, "train")[0] / "0.png")
    err = refused(capfd, run, "batch_norm=running", f"dataset.root={images}")
    assert "batch_norm=support" in err
    assert evaluated(capfd, run, f"dataset.root={images}")["batch_norm"] == "support"


def test_checkpoints_in_one_folder_have_controls_of_their_own(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    """What was trained for another checkpoint is not taken for this one's, whatever the architecture."""
    saved = checkpoint.load(protonet / "best.pt")
    own = saved["config"] | {"dataset": saved["config"]["dataset"] | {"root": str(images)}}
    first = changed(protonet, tmp_path, config=own)
    alone = evaluated(capfd, first, "--control")["control"]
    changed(protonet, tmp_path, config=own | {"optimizer": own["optimizer"] | {"lr": 1e-6}})
    other = evaluated(capfd, first, "--control")["control"]
    rows = [{row["name"]: row["loss"] for row in each["rows"]} for each in (alone, other)]
    assert rows[0]["checkpoint"] == rows[1]["checkpoint"]
    assert rows[0]["four_conv"] != rows[1]["four_conv"]
    assert len(list((tmp_path / "control").glob("four_conv-*.pt"))) == 2


def test_the_control_is_trained_on_the_data_of_the_checkpoint(
    protonet: Path, images: Path, tmp_path: Path, capfd: CAPTURE
) -> None:
    """Also where classes have been added, and the test is another; never on other data."""
    saved = checkpoint.load(protonet / "best.pt")
    config = saved["config"] | {"dataset": saved["config"]["dataset"] | {"root": str(images)}}
    shutil.copytree(images / "c00", images / "a new class")
    run = changed(protonet, tmp_path, config=config)
    result = evaluated(capfd, run, "--control", "batch_norm=running", "seed=7")
    rows = {row["name"]: row for row in result["control"]["rows"]}
    assert rows.keys() == {"checkpoint", "random", "four_conv"}
    assert rows["checkpoint"]["accuracy"] == result["accuracy"]
    (file,) = (tmp_path / "control").glob("random-*.pt")
    kept = Weights.read(file)
    assert kept.statistics == {}, "trained under the checkpoint's own policy"
    assert kept.arch == rows["random"]["arch"]
    again = evaluated(capfd, run, "--control", "batch_norm=running", "seed=7")
    assert again["control"] == result["control"]
    whiten(images, classes(protonet, "valid"))
    assert "valid" in refused(capfd, run, "--control")


@pytest.mark.parametrize(
    "limits",
    [Limits(), Limits(params=3000), Limits(flops=2e5), Limits(params=1), Limits(memory=8000)],
    ids=str,
)
def test_the_4_conv_of_equal_size_meets_the_limits(limits: Limits) -> None:
    """Against all widths: the nearest in parameters of those within the limits, or the narrowest."""
    task = TaskSpec("classification", (1, 16, 16), 5, 20)
    costs = {}
    for width in range(4, 60):
        space = four_conv(width)
        costs[str(space.reference())] = measure_cost(space, space.reference(), task)
    within = {arch: cost for arch, cost in costs.items() if limits.allow(cost)}
    expected = min(within or [next(iter(costs))], key=lambda arch: abs(costs[arch].params - 10_000))
    assert str(equal_four_conv(task, 10_000, limits).arch) == expected


def test_the_control_draws_as_the_search_did(protonet: Path) -> None:
    """A run with limits is compared with a random architecture within them."""
    constraints = parse(composed(["constraints.max_params=2000"]), trusted=True).keys.constraints
    network = TrainedNetwork.load(protonet, trusted=False)
    state = network.state(torch.device("cpu"))
    own = Rival(network.space, network.space.parse(network.arch))
    rivals = rivals_of(own, state, constraints, seed=0)
    assert rivals.keys() == {"random", "four_conv"}
    for rival in rivals.values():
        assert measure_cost(rival.space, rival.arch, state.task).params <= 2000


def test_opponents_are_trained_as_the_checkpoint_was(
    tmp_path: Path, capfd: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In full as often as a finalist, with the same seeds; a member of the front once, and as briefly."""
    run, trained = tmp_path / "run", []
    tiny = [override for override in TINY if not override.startswith("strategy.sample_size")]
    whole = ["budget.final_seeds=2", "budget.search_iterations=5", "strategy=nsga2"]
    assert main(["search", *tiny, *whole, f"hydra.run.dir={run}"]) == 0
    evaluate = Scratch.evaluate

    def spy(self: Scratch, job: Job, *rest: Any) -> Any:
        trained.append((job.arch, self.problem.seed, job.iterations, self.problem.search_iterations))
        return evaluate(self, job, *rest)

    monkeypatch.setattr(Scratch, "evaluate", spy)
    evaluated(capfd, run, "--control")
    archs = {arch for arch, *_ in trained}
    seeds = [0, integer(0, "network", 1)]
    assert sorted(trained) == sorted((arch, seed, 4, 4) for arch in archs for seed in seeds)
    trained.clear()
    evaluated(capfd, next((run / "pareto").glob("*.pt")), "--control")
    assert {tuple(rest) for _, *rest in trained} == {(0, 5, 5)}
    assert len(trained) == len({arch for arch, *_ in trained})
