"""The layers of the package: imports point one way, and the command's help loads nothing heavy."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nasmeta"

LAYERS = (
    "errors", "seeding", "task", "trial", "runtime", "datasets", "search_spaces", "networks", "meta_learners",
    "config", "training", "strategies", "evaluators", "executors", "run", "trained",
    "reporting", "cli", "api", "__main__", "testing",
)  # fmt: skip
"""The rooms, modules and folders at the top of the package: each may import those before it."""


def imports(path: Path) -> set[str]:
    """The modules and names of this package that a file imports, type-checking imports aside."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("nasmeta.") and name != "nasmeta.__version__"}


def room(name: str) -> str:
    return name.split(".")[1]


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def test_every_room_has_its_layer() -> None:
    assert {room(name) for name in MODULES} == set(LAYERS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_one_way(name: str) -> None:
    own = LAYERS.index(room(name))
    wrong = {found for found in imports(MODULES[name]) if LAYERS.index(room(found)) > own}
    assert not wrong, f"{name} imports {wrong}, which lie above it"


def test_there_is_no_circle() -> None:
    graph = {
        name: {
            next((m for m in (found, found.rpartition(".")[0]) if m in MODULES), name)
            for found in imports(path)
        }
        - {name}
        for name, path in MODULES.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError that names the circle


def loaded(*arguments: str) -> set[str]:
    """The packages that a command of nasmeta, which has to succeed, imports."""
    script = (
        "import sys, contextlib, io\n"
        "from nasmeta.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try:\n"
        f"        code = main({list(arguments)!r})\n"
        "    except SystemExit as ended:\n"
        "        code = ended.code\n"
        "assert not code, code\n"
        "print(*(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("list",), ("list", "dataset"), ("evaluate", "--help")], ids=str
)
def test_help_and_list_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded(*arguments) & {"torch", "hydra", "numpy", "matplotlib", "pydantic", "tensorboard"}


def test_printing_the_configuration_loads_no_torch() -> None:
    assert "torch" not in loaded("search", "--cfg", "job")


def test_the_guard_sees_a_wrong_import(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "from nasmeta.strategies.base import Strategy\nimport nasmeta.run.search\n"
    )
    assert {room(name) for name in imports(tmp_path / "x.py")} == {"strategies", "run"}
