"""scripts/reproduce: what is counted and compared, and that every script goes on where it was killed."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from omegaconf import OmegaConf
from torch import Tensor

from nasmeta.cli.main import main as nasmeta
from nasmeta.errors import ConfigError, DataError, RunDirectoryError, RunFailed
from nasmeta.trained.export.export import FORMATS
from nasmeta.trained.export.format import Session
from nasmeta.trained.export.onnx import Onnx
from nasmeta.trained.export.pixels import OfPixels
from tests.conftest import ROOT
from tests.scripts import load_beside

FOLDER = ROOT / "scripts" / "reproduce"
TINY = [
    *(f"dataset.{split}_classes=6" for split in ("train", "valid", "test")),
    "dataset.size=16",
    "dataset.examples=6",
    "task.query=2",
    "task.meta_batch=1",
    "batch_norm=support",
    "device=cpu",
    "budget.trials=2",
    "budget.search_iterations=2",
    "budget.final_candidates=1",
    "budget.final_rounds=1",
    "budget.final_tasks=2",
    "budget.final_iterations=2",
    "budget.valid_tasks=2",
    "budget.final_tasks=2",
    "budget.test_tasks=4",
]


def script(name: str) -> ModuleType:
    return load_beside(f"reproduce/{name}.py")


@pytest.fixture(scope="module")
def runs() -> ModuleType:
    return script("runs")


@pytest.fixture(scope="module")
def common(runs: ModuleType) -> ModuleType:
    return script("common")


@pytest.fixture(scope="module")
def page(common: ModuleType) -> ModuleType:
    return script("page")


def test_the_ratio_of_errors_has_an_interval_around_it(page: ModuleType) -> None:
    rng = np.random.default_rng(1)
    other = [rng.uniform(0.6, 0.8, size=400) for _ in range(2)]
    one = [1 - (1 - each) * 0.8 + rng.normal(scale=0.02, size=400) for each in other]
    ratio, low, high = page.error_ratio(one, other)
    assert low < 0.8 < high
    assert low < ratio < high
    assert high - low < 0.05
    same = [np.array([0.5, 0.75])] * 2
    assert page.error_ratio(same, same) == (1, 1, 1)
    rare = [np.array([*[1.0] * 9, 0.5])]
    assert page.error_ratio(rare, rare) == (1, 1, 1), "also where a draw of tasks has no error"
    assert page.error_ratio(rare, [rare[0][::-1]]) == (1, 0, math.inf)


def test_data_sets_are_found_by_name_and_by_folder(common: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "icons").mkdir()
    assert common.Data.of("strokes", None).overrides == ("dataset=strokes",)
    icons = common.Data.of("icons", tmp_path)
    assert icons.overrides[-1] == f"dataset.root={tmp_path}/icons"
    assert common.Data.of(str(tmp_path / "icons"), None).name == "icons"
    for word, folder, message in [
        ("glyphs", tmp_path, "scripts/datasets/glyphs.py --out"),
        ("icons", None, "--data"),
        ("nothing", tmp_path, "omniglot-small"),
    ]:
        with pytest.raises(DataError, match=message):
            common.Data.of(word, folder)


LEARNERS = ["protonet", "ridge", "maml", "fomaml", "anil", "boil", "meta_sgd", "reptile", "finetune"]
TOGETHER = [
    ("searched", "all protonet quick protonet-quick searched searched-protonet-quick"),
    ("searched", "all maml full maml-full searched searched-maml-full reference"),
    ("searched", "all maml quick maml-quick random"),
    *(("learners", f"all 5-way-5-shot full full-5-way-5-shot {learner}") for learner in LEARNERS),
    *(("small_devices", f"all {form}") for form in ("quick", "full")),
    *(
        ("small_devices", f"all {f} searched searched-{f} {limit}-KiB")
        for f in ("quick", "full")
        for limit in (64, 32)
    ),
    ("per_task", "tnas-quick tnas-quick-long tnas-rates tnas-pruning"),
    ("per_task", "metanas-quick metanas-quick-long metanas-rates metanas-pruning"),
    ("per_task", "tnas-full tnas-full-long"),
    ("per_task", "metanas-full metanas-full-long"),
]
"""Groups of settings that runs have at the same time."""


@pytest.mark.parametrize("name, groups", TOGETHER)
def test_settings_are_those_of_a_run(common: ModuleType, name: str, groups: str) -> None:
    has = common.settings(str(FOLDER / name))
    common.parse(common.composed([word for group in groups.split() for word in has[group]]), trusted=True)


def test_leaving_a_lever_out_changes_something(common: ModuleType) -> None:
    has = common.settings(str(FOLDER / "searched"))
    whole = [w for group in ["all", "protonet", "quick", "protonet-quick", "searched"] for w in has[group]]
    config = common.composed(whole)
    for lever, overrides in common.settings(str(FOLDER / "levers")).items():
        assert bool(overrides) == (lever != "all levers")
    every = [w for words in common.settings(str(FOLDER / "levers")).values() for w in words]
    changed = common.composed([*whole, *every])
    common.parse(changed, trusted=True)
    for override in every:
        key = override.partition("=")[0]
        before, after = (OmegaConf.select(each, key) for each in (config, changed))
        assert before != after, override


def started(out: Path, *words: str) -> "subprocess.Popen[str]":
    """searched.py, in a process of its own."""
    command = [str(FOLDER / "searched.py"), "--quick", "--datasets", "strokes", "--out", str(out), *words]
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def run(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a script in this process; so do the commands of nasmeta that it starts."""

    def here(self: object, words: list[str], threads: int) -> bytes:
        with redirect_stdout(io.StringIO()) as printed:
            assert nasmeta(words) == 0
        return printed.getvalue().encode()

    def run(name: str, out: Path, *words: str) -> None:
        experiment = script(name)
        monkeypatch.setattr(experiment.Run, "_run", here)
        arguments = [f"{name}.py", "--quick", "--datasets", "strokes", "--out", str(out), *TINY, *words]
        monkeypatch.setattr(sys, "argv", arguments)
        assert experiment.main() == 0

    return run


def table(page: Path, number: int = 0) -> list[list[str]]:
    """The cells of a table of the page, without its header."""
    tables = page.read_text().split("\n\n")
    lines = [part for part in tables if part.startswith("|")][number].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.slow
def test_searched_and_killed_it_goes_on(run: Callable[..., None], tmp_path: Path) -> None:
    """Killed in a process of its own, which leaves one of nasmeta behind."""
    words = ["--learners", "protonet", "--seeds", "0", "meta_learner.train_way=5"]
    killed = started(tmp_path, *TINY, *words)
    first = tmp_path / "strokes" / "protonet" / "searched-0"
    while not (first / "journal.jsonl").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    run("searched", tmp_path, *words)
    page = tmp_path / "searched-quick.md"
    rows = table(page)
    names = ["searched", "random", "reference"]
    assert [row[:3] for row in rows] == [["strokes", "protonet", name] for name in names]
    for row, name in zip(rows, names, strict=True):
        summary = json.loads((first.with_name(f"{name}-0") / "summary.json").read_text())
        assert float(row[3]) == pytest.approx(100 * summary["best"]["test_accuracy"], abs=0.01)
    assert {row[7] for row in rows} == {"4"}, "2 trials of 2 meta-iterations each"
    first_of_pair, *_ = table(page, 1)
    assert first_of_pair[2] == "searched - reference"
    assert float(first_of_pair[3]) == pytest.approx(float(rows[0][3]) - float(rows[2][3]), abs=0.02)


def test_what_is_done_is_not_run_again(
    run: Callable[..., None], common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--learners", "reptile", "--tasks", "5-way-1-shot", "--seeds", "3"]
    run("learners", tmp_path, *words)
    page = tmp_path / "learners-quick.md"
    (row,) = table(page)
    assert row[:7] == ["strokes", "5-way-1-shot", "reptile", "support", "2", "2", "2"]
    before, journal = page.read_text(), tmp_path / "strokes/5-way-1-shot/reptile-3/journal.jsonl"
    lines = journal.read_bytes()
    run("learners", tmp_path, *words)
    assert (page.read_text(), journal.read_bytes()) == (before, lines)


@pytest.mark.parametrize(
    "name, words, said",
    [
        ("searched", ["task.shot"], "task.shot: neither an option's value nor KEY=VALUE"),
        ("searched", ["seed=3"], "seed: the experiment sets it; use --seeds"),
        ("learners", ["task.way=3"], "task.way: the experiment sets it; use --learners and --tasks"),
        ("searched", ["meta_learner=ridge"], "meta_learner: the experiment sets it; use --learners"),
        ("levers", ["dataset=strokes"], "dataset: the experiment sets it; use --datasets"),
    ],
)
def test_words_that_would_do_nothing_are_refused(
    name: str,
    words: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--quick", *words])
    with pytest.raises(SystemExit) as exited:
        script(name).main()
    assert exited.value.code == 2
    assert said in capsys.readouterr().err


def test_two_folders_of_one_name_are_refused(common: ModuleType, tmp_path: Path) -> None:
    folders = [tmp_path / place / "pictures" for place in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    options = common.Options("levers", True, None, list(map(str, folders)), [], Path(), Path(), 1, [], [])
    with pytest.raises(DataError, match="another one is called pictures"):
        options.data_sets()


def test_a_contender_is_what_its_row_says_whatever_was_typed(common: ModuleType) -> None:
    typed = ["strategy=reinforce", "task.way=3"]
    options = common.Options("searched", True, None, [], [], Path(), Path(), 1, typed, [])
    assert options.without("strategy").overrides == ["task.way=3"]
    made = options.search("random", ["strategy=evolution"], seed=0, fixed=["strategy=random"])
    assert common.composed(list(made.command[1:])).strategy._target_.endswith("RandomSearch")


def test_a_run_that_another_process_has_begun_meanwhile_is_waited_for(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a killed script, which was still loading when the script started again."""
    made, asked = runs.Run(("search", "seed=0"), tmp_path / "run"), []

    def child(self: object, words: list[str], threads: int) -> bytes:
        asked.append(words[0])
        made.directory.mkdir(exist_ok=True)
        for name in ("run.lock", "journal.jsonl"):
            (made.directory / name).touch()
        if len(asked) == 1:
            raise ConfigError("already holds a run")
        return b""

    monkeypatch.setattr(runs.Run, "_run", child)
    made.make(1)
    assert asked == ["search", "resume"]


def test_levers(run: Callable[..., None], tmp_path: Path) -> None:
    typed = ["meta_learner.train_way=5", "augment=photo"]
    run("levers", tmp_path, "--levers", "no augmentation", "--seeds", "0", "0", *typed)
    whole, without = table(tmp_path / "levers-quick.md")
    assert (whole[1], without[1]) == ("all levers", "no augmentation")
    assert whole[4] == ""
    assert float(without[6].split()[0]) == pytest.approx(float(without[2]) - float(whole[2]), abs=0.02)
    places = [tmp_path / "strokes" / name / "config.json" for name in ("all-levers-0", "no-augmentation-0")]
    configs = [json.loads(place.read_text()) for place in places]
    assert [each["augment"]["_target_"].rsplit(".")[-1] for each in configs] == ["Photo", "NoAugmentation"]


def test_per_task(run: Callable[..., None], tmp_path: Path) -> None:
    small = ["search_space.width=4", "meta_learner.test_steps=1"]
    run("per_task", tmp_path, "--recipes", "tnas", "--variants", "as it is", "--seeds", "0", *small)
    (row,) = table(tmp_path / "per_task-quick.md")
    assert row[:3] == ["strokes", "tnas", "as it is"]
    assert float(row[9].split()[0]) == pytest.approx(float(row[3]) - float(row[4]), abs=0.11)


class Unchanged(Onnx):
    """A format whose files in int8 compute what the network computes."""

    needs = ()

    def converted(self, module: OfPixels, pixels: Tensor, metadata: dict[str, str]) -> bytes:
        self.module = module
        return b""

    def quantized(self, data: bytes, pixels: Tensor) -> bytes:
        return b""

    def session(self, data: bytes) -> Session:
        return lambda pixels: [output.numpy() for output in self.module(pixels)]


def test_small_devices(run: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", Unchanged())
    words = ["--networks", "4-conv-64", "32-KiB", "--seeds", "0", "--formats", "onnx"]
    run("small_devices", tmp_path, *words, "batch_norm=running", "meta_learner.train_way=5")
    page = tmp_path / "small_devices-quick.md"
    reference, found, scaled = table(page)
    names = ["4-conv-64", "32-KiB", "32-KiB, scaled"]
    assert [row[1] for row in (reference, found, scaled)] == names
    assert reference[6].count("conv3-64") == 4
    assert float(found[4]) <= 32
    against_scaled, against_reference = table(page, 1)
    assert against_scaled[1:3] == ["32-KiB - scaled", f"{float(found[2]) - float(scaled[2]):+.2f}"]
    assert against_reference[1:3] == ["32-KiB - 4-conv-64", f"{float(found[2]) - float(reference[2]):+.2f}"]
    for row, name in zip(table(page, 2), names, strict=False):
        assert row[1:3] == [name, "onnx"]
        assert (row[3], row[6]) == (row[4], "+0.0")
        stored = json.loads((tmp_path / "strokes" / f"{name}-0" / "summary.json").read_text())
        assert float(row[3]) == pytest.approx(100 * stored["best"]["test_accuracy"], abs=0.01)


def test_a_failed_run_is_named_and_the_others_go_on(
    runs: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> int:
        raise RunFailed("one: failed")

    told: list[list[int]] = []
    assert runs.in_parallel([lambda: 1, fails, lambda: 2, fails], 1, told.append) == 1
    assert told == [[1], [1, 2]]
    assert capsys.readouterr().err == "one: failed\n"


def test_units_at_the_same_time_compose_one_after_the_other(common: ModuleType, runs: ModuleType) -> None:
    units = [
        lambda width=width: common.reference_of([f"search_space.widths=[{width}]"]) for width in (8, 16, 24)
    ]
    found: list[list[tuple[str, object]]] = []
    assert runs.in_parallel(units, 3, found.append) == 0
    assert [arch.partition(".")[0] for arch, _ in found[-1]] == ["conv3-8", "conv3-16", "conv3-24"]


def test_nothing_is_begun_once_it_stops(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "runs", runs)  # which is restored
    fresh = script("runs")
    with pytest.raises(KeyboardInterrupt):
        fresh.in_parallel([interrupted], 1, print)
    with pytest.raises(RunFailed, match="not begun"):
        fresh.Run(("search",), tmp_path / "run").make(1)
    assert not (tmp_path / "run").exists()


def test_other_settings_are_refused(runs: ModuleType, tmp_path: Path) -> None:
    made = runs.Run(("search", "seed=0"), tmp_path / "run")
    (tmp_path / "run.json").write_text(json.dumps({"command": ["search", "seed=1"]}))
    (tmp_path / "run").mkdir()
    with pytest.raises(RunDirectoryError, match="other settings"):
        made.make(1)


def test_what_other_settings_left_beside_a_run_that_is_gone_goes_too(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs.Run, "_run", lambda self, words, threads: b'{"seed": 1}')
    for name, command in (("run.json", ["search", "seed=0"]), ("run.evaluated.json", {}), ("other.json", {})):
        (tmp_path / name).write_text(json.dumps({"command": command}))
    made = runs.Run(("search", "seed=1"), tmp_path / "run").make(1)
    assert made.evaluated(threads=1) == {"seed": 1}
    assert (tmp_path / "other.json").exists()


def test_a_run_that_was_killed_before_its_journal_is_resumed(
    runs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runs.Run, "_run", lambda self, words, threads: asked.append(words[0]))
    (tmp_path / "run.json").write_text(json.dumps({"command": ["search"]}))
    (tmp_path / "run").mkdir()
    for name in ("config.json", "run.lock"):
        (tmp_path / "run" / name).touch()
    runs.Run(("search",), tmp_path / "run").make(1)
    assert asked == ["resume"]


def test_settings_that_made_nothing_may_be_corrected(runs: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.way"):
        runs.Run(("search", "task.way=0"), tmp_path / "run").make(1)
    assert not (tmp_path / "run").exists()
    corrected = runs.Run(("search", "task.way=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match="at least 2 classes"):
        corrected.make(1)
    assert corrected.circumstances["command"] == ["search", "task.way=1"]


def test_a_page_names_no_folder_of_this_machine(page: ModuleType) -> None:
    typed = [
        "levers.py",
        "--data=/home/me/data",
        "--datasets",
        "icons",
        "/home/me/mine",
        "--out",
        "/o",
        "seed=1",
    ]
    expected = "scripts/reproduce/levers.py --data FOLDER --datasets icons FOLDER/mine seed=1"
    assert page._script(typed) == expected
