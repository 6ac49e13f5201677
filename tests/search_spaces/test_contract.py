"""Every space that ships, through the contract; and their files."""

import inspect
import os
import subprocess
import sys
from importlib import import_module
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.testing.search_spaces import SearchSpaceContract
from tests.search_spaces.shipped import FILES, options, shipped

NAMES = [path.stem for path in FILES]


class TestShipped(SearchSpaceContract):
    @pytest.fixture(params=NAMES)
    def space(self, request: pytest.FixtureRequest) -> SearchSpace[Any]:
        narrow = {"width": 4} if "width" in options(request.param) else {}
        return shipped(request.param, **narrow)


def test_there_are_spaces() -> None:
    assert {"conv", "mlp", "nasbench201", "darts"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_and_constructor_agree(name: str) -> None:
    values = options(name)
    module, _, cls = values.pop("_target_").rpartition(".")
    init = getattr(import_module(module), cls).__init__
    parameters = [p for p in inspect.signature(init).parameters.values() if p.name != "self"]
    assert [p.name for p in parameters] == list(values)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    hints = get_type_hints(init, include_extras=True)
    fields: dict[str, Any] = {key: (hints[key], ...) for key in values}
    schema: type[BaseModel] = create_model("Schema", __config__=ConfigDict(strict=True), **fields)
    assert schema(**values).model_dump() == values


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_file_starts_with_its_description(path: Any) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first.startswith("# ")
    assert len(first) > 20
    assert second.startswith("_target_: ")


def in_a_fresh_process(code: str, hash_seed: str = "0") -> str:
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_architectures_load_no_torch() -> None:
    code = """
import sys
from nasmeta.seeding import stream
from tests.search_spaces.shipped import FILES, shipped
for path in FILES:
    space, rng = shipped(path.stem), stream(0, "process")
    arch = space.mutate(space.crossover(space.sample(rng), space.parse(str(space.reference())), rng), rng)
    space.graph(space.canonical(arch)), list(space.neighbors(arch))
print("torch" in sys.modules)
"""
    assert in_a_fresh_process(code) == "False\n"


def test_draws_do_not_depend_on_hashes() -> None:
    code = """
from nasmeta.seeding import stream
from tests.search_spaces.shipped import FILES, shipped
for path in FILES:
    space, rng = shipped(path.stem), stream(0, "process")
    arch = space.mutate(space.sample(rng), rng)
    print(arch, *space.neighbors(arch), space.crossover(arch, space.reference(), rng), space.canonical(arch))
"""
    assert in_a_fresh_process(code, "1") == in_a_fresh_process(code, "2")
