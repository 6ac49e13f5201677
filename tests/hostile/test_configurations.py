"""A stored configuration runs nothing, contacts nobody, and reads and writes nothing outside."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nasmeta.cli.main import main
from nasmeta.config.overrides import composed, reconfigured
from nasmeta.config.schema import GROUPS, parse
from nasmeta.datasets import download
from nasmeta.errors import ConfigError, NasmetaError
from nasmeta.run.composition import Composition
from nasmeta.runtime.stored import plain
from tests.cli.runs import SHORT
from tests.hostile.makers import (
    Canary,
    change_checkpoint,
    change_config,
    copy_of,
    make_job,
    make_sweep,
    places,
    run,
    set_at,
)
from tests.test_config import NEEDS, OPTIONS

COMMANDS = ("report", "evaluate", "resume", "compare")


def stored(*overrides: str) -> dict[str, Any]:
    return parse(composed(list(overrides)), trusted=True).to_dict()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["search_space", "dataset", "keys"])
def test_interpolations_are_never_resolved(
    finished: Path, tmp_path: Path, canary: Canary, command: str, where: str
) -> None:
    omniglot = stored("dataset=omniglot")["dataset"]
    for number, text in enumerate(canary.interpolations):
        directory = copy_of(finished, tmp_path / f"run{number}")

        def change(values: dict[str, Any], text: str = text) -> None:
            if where == "keys":
                values["device"] = text
            elif where == "search_space":
                values["search_space"]["norms"] = [text]
            else:
                values["dataset"] = omniglot | {"root": text}

        change_config(directory, change)
        outcome = run(canary, directory, command, str(directory))
        if command in ("evaluate", "resume"):
            assert outcome.code == 2
            assert "interpolation" in outcome.err


def test_interpolations_of_the_user_are_resolved_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    config = parse(composed(["seed=3", "dataset.seed=${seed}"]), trusted=True)
    assert config.groups["dataset"]["seed"] == 3
    values = stored("dataset=image_folder", "dataset.root=/pictures")
    typed = reconfigured(values, ["dataset.root=${oc.env:FOLDER}", "seed=${dataset.size}"], trusted=False)
    assert typed.groups["dataset"]["root"] == str(tmp_path)
    assert typed.keys.seed == 84


@pytest.mark.parametrize("group,option", OPTIONS, ids=str)
def test_what_is_built_gets_what_was_stored(group: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every option that nasmeta comes with, after a round trip through JSON."""
    if (group, option) in (("dataset", "omniglot"), ("dataset", "image_folder"), ("evaluator", "tabular")):
        pytest.skip("needs files")
    values = json.loads(json.dumps(stored(f"{group}={option}", *NEEDS.get((group, option), []))))
    given: dict[str, Any] = {}
    config = parse(values, trusted=False)
    target = values[group]["_target_"]

    def recorded(_: str, path: str, **options: Any) -> Callable[..., None]:
        return lambda **arguments: given.setdefault(path, arguments)

    monkeypatch.setattr("nasmeta.config.schema.resolve", recorded)
    monkeypatch.setattr("nasmeta.config.schema._marks", lambda group, target: [])
    config.build(group)
    plain_values = {k: v for k, v in values[group].items() if k != "_target_" and not isinstance(v, dict)}
    assert {k: v for k, v in given[target].items() if k in plain_values} == plain_values


TARGETS = [
    "os.system",
    "nasmeta.run.directory.json.loads",
    "nasmeta.cli.main.main",
    "nasmeta.__main__.sys",
    "nasmeta.strategies.base.Strategy",
    "nasmeta.strategies.base.importlib",
    "nasmeta.strategies.evolution.seeding.stream",
    "nasmeta.strategies..evolution.RegularizedEvolution",
    "nasmeta.strategies.evolution.RegularizedEvolution.__init__",
    "nasmeta.strategies.evolution.__builtins__",
    "nasmeta.testing.strategies.Strategy",
    "nasmeta.evaluators.scratch.Scratch",
    "nasmeta.strategies.\0",
    "nasmeta.strategies." + "a" * 5000 + ".b",
    "nasmeta.strategies." + "a." * 5000 + "b",
    "nasmeta.strategies.evolution.",
    ".",
    "",
    7,
    None,
    ["nasmeta.strategies.random.RandomSearch"],
    {"_target_": "os.system"},
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target)[:60])
def test_a_target_is_an_option_of_its_group(
    finished: Path, tmp_path: Path, canary: Canary, target: Any
) -> None:
    values = json.loads((finished / "config.json").read_text())
    values["strategy"]["_target_"] = target
    with pytest.raises(ConfigError, match=r"strategy(\._target_)?: "):
        parse(values, trusted=False)


@pytest.mark.parametrize(
    "path",
    [("strategy", "inner"), ("strategy", "_args_"), ("strategy", "_partial_"), ("search_space", "norms")],
    ids=str,
)
def test_a_call_is_built_nowhere(finished: Path, tmp_path: Path, canary: Canary, path: Any) -> None:
    for number, value in enumerate([canary.call, [canary.call], {"a": canary.call}]):
        directory = copy_of(finished, tmp_path / f"run{number}")
        change_config(directory, lambda values, value=value: set_at(values, path, value))
        for command in COMMANDS if number == 0 else ["resume"]:
            run(canary, directory, command, str(directory))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list of all attempts to connect. None of them succeeds."""
    attempts: list[Any] = []

    def refused(*arguments: Any, **options: Any) -> Any:
        attempts.append(arguments)
        raise OSError("offline")

    monkeypatch.setattr(download, "urlopen", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return attempts


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_nothing_is_downloaded_and_no_folder_made(
    finished: Path, tmp_path: Path, canary: Canary, offline: list[Any], command: str
) -> None:
    elsewhere = tmp_path / "new" / "deep"

    def change(values: dict[str, Any]) -> None:
        values["dataset"] = stored("dataset=omniglot")["dataset"] | {"download": True}
        values["dataset"] |= {"root": str(elsewhere / "root"), "cache": str(elsewhere / "cache")}
        values["meta_learner"] = stored()["meta_learner"]
        values["search_space"] = stored()["search_space"]

    directory = change_config(copy_of(finished, tmp_path / "run"), change)
    if command == "resume":
        (directory / "journal.jsonl").unlink()  # as if the run had been killed at once
    else:  # the network's tasks have to be those of the dataset
        task = {"kind": "classification", "input_shape": (1, 28, 28), "outputs": 5, "train_classes": 20}
        change_checkpoint(directory / "best.pt", lambda saved: saved.update(task=task))
    outcome = run(canary, directory, command, str(directory))
    assert outcome.code == 2
    assert "dataset.download=true" in outcome.err
    assert not offline
    assert not elsewhere.parent.exists()
    run(canary, directory, command, str(directory), "dataset.download=true")
    assert offline, "what the user types is done"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a folder of images for each class."""
    for label in range(10):
        (tmp_path / "pictures" / str(label)).mkdir(parents=True)
        for name in ("a", "b"):
            image = Image.new("RGB", (16, 16), (25 * label, 0, 0))
            image.save(tmp_path / "pictures" / str(label) / f"{name}.png")
    return tmp_path / "pictures"


def test_a_stored_cache_is_used_if_it_is_one(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = stored("dataset=image_folder", f"dataset.root={root}", f"dataset.cache={tmp_path / 'cache'}")
    values["dataset"] |= {"size": 16, "min_images": 1}

    def table(*typed: str) -> None:
        reconfigured(values, list(typed), trusted=False).build("dataset", shot=1).table("train")

    caplog.set_level("INFO")
    table()
    assert not (tmp_path / "cache").exists()
    assert "dataset.cache" in caplog.text
    (tmp_path / "cache").mkdir()
    table()
    assert not list((tmp_path / "cache").iterdir())
    table(f"dataset.cache={tmp_path / 'cache'}")
    made = sorted((tmp_path / "cache").iterdir())
    assert [path.suffix for path in made] == [".TAG", ".pt"]
    caplog.clear()
    made[1].unlink()
    table()
    assert made[1].exists(), "a cache of nasmeta's own goes on being used"
    assert "dataset.cache" not in caplog.text


@pytest.mark.parametrize("address", ["ray://203.0.113.5:10001", "203.0.113.5:6379", "localhost:6379", ""])
def test_a_stored_address_is_not_contacted(address: str) -> None:
    values = stored("executor=ray")
    values["executor"]["address"] = address
    with pytest.raises(ConfigError, match=r"executor\.address: .*--trust-code"):
        parse(values, trusted=False)
    assert parse(values, trusted=True)
    assert reconfigured(values, [f"executor.address='{address}'"], trusted=False)
    values["executor"]["address"] = "local"
    assert parse(values, trusted=False)


@pytest.mark.parametrize("kind", ["folder", "pbz2", "link to a folder"])
def test_a_stored_table_is_not_unpickled(tmp_path: Path, kind: str) -> None:
    table = tmp_path / ("NATS-tss-v1_0.pickle.pbz2" if kind == "pbz2" else "table.csv")
    if kind == "pbz2":
        table.write_bytes(b"")
    elif kind == "folder":
        table.mkdir()
    else:
        (tmp_path / "folder").mkdir()
        table.symlink_to(tmp_path / "folder")
    values = stored("evaluator=tabular", f"evaluator.table={table}")
    with pytest.raises(ConfigError, match=r"evaluator\.table: .*--trust-code"):
        parse(values, trusted=False)
    assert parse(values, trusted=True)
    assert reconfigured(values, [f"evaluator.table={table}"], trusted=False)


def test_an_own_plug_in_needs_the_users_word(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user gives it by --config-dir, and for resume by --trust-code or by typing the target."""
    (tmp_path / "own.py").write_text(
        "from nasmeta.strategies.random import RandomSearch\nclass Own(RandomSearch): pass\n"
    )
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    (tmp_path / "conf" / "strategy" / "own.yaml").write_text("_target_: own.Own\n")
    monkeypatch.syspath_prepend(tmp_path)
    directory = tmp_path / "run"
    tiny = [override for override in SHORT if not override.startswith("strategy.")]
    own = [f"--config-dir={tmp_path / 'conf'}", "strategy=own"]
    assert main(["search", *tiny, *own, f"hydra.run.dir={directory}"]) == 0
    (directory / "best.pt").unlink()
    assert main(["resume", str(directory)]) == 2
    assert main(["resume", str(directory), "--trust-code"]) == 0
    assert main(["resume", str(directory), "strategy._target_=own.Own"]) == 0
    assert (directory / "best.pt").exists()


def nested(depth: int, wide: bool) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value, value] if wide else [value]
    return value


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


ABSURD = {
    "deep": (nested(3000, wide=False), "more than 16 levels"),
    "loop": (loop(), "Circular reference"),
    "tensor": (torch.zeros(3), "type Tensor is not JSON"),
    "bytes": (b"x", "type bytes is not JSON"),
    "set": ({1}, "type set is not JSON"),
    "complex": (1j, "type complex is not JSON"),
    "interpolation in a key": ({"${oc.env:HOME}": 1}, "is an interpolation"),
}
"""Values, and what the error says of them."""


@pytest.mark.parametrize("name", ABSURD)
@pytest.mark.timeout(20)
def test_values_that_are_no_configuration(name: str) -> None:
    value, said = ABSURD[name]
    with pytest.raises(ConfigError, match=said):
        plain({"seed": value})


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"7", b"null", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"{}" * 2]
)
def test_files_that_are_no_configuration(finished: Path, tmp_path: Path, canary: Canary, text: bytes) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.json").write_bytes(text)
    for command in COMMANDS:
        outcome = run(canary, directory, command, str(directory))
        assert "config.json" in outcome.err or command in ("evaluate", "compare")


NUMBERS = (-3, 0, 10**6, 10**12, (1 << 63) - 1, 1e300, True, "1", None, [], {})


@pytest.mark.slow
@pytest.mark.parametrize("group", [*GROUPS, "keys"])
def test_absurd_values_are_said_in_a_line(group: str) -> None:
    """Every value of the default configuration, replaced by others, gives a NasmetaError or is accepted."""
    values = stored("strategy=reinforce") if group == "strategy" else stored()
    paths = [p for p in places(values) if (p[0] == group) or (group == "keys" and p[0] not in GROUPS)]
    for path in paths:
        if path[-1] == "_target_":
            continue
        for number in NUMBERS:
            changed = json.loads(json.dumps(values))
            set_at(changed, path, number)
            with suppress(NasmetaError):
                Composition.of(parse(changed, trusted=False))


def test_a_sweeps_job_is_held_to_the_same(finished: Path, tmp_path: Path, canary: Canary) -> None:
    config = json.loads((finished / "config.json").read_text())
    config["strategy"] = canary.call
    directory = make_sweep(tmp_path / "sweep", [make_job(0, config)])
    assert run(canary, directory, "resume", str(directory)).code == 1
    config["strategy"] = canary.interpolations[0]
    directory = make_sweep(tmp_path / "sweep", [make_job(0, config)])
    for command in ("resume", "report", "compare"):
        assert run(canary, directory, command, str(directory)).code == 2


@pytest.mark.parametrize("link", ["0", "0/checkpoints", "0/.hydra"])
def test_a_job_does_not_leave_its_sweep(finished: Path, tmp_path: Path, canary: Canary, link: str) -> None:
    config = json.loads((finished / "config.json").read_text())
    directory = make_sweep(tmp_path / "sweep", [make_job(0, config)])
    (directory / link).parent.mkdir(exist_ok=True)
    (directory / link).symlink_to(canary.folder)
    outcome = run(canary, directory, "resume", str(directory))
    assert outcome.code == 1 if link != "0" else outcome.code in (1, 2)
