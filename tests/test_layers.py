"""The layers of the package: imports point one way, and the command's help loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nasmeta"

# What reads a run directory, for its reports.
RUN_DIRECTORY = {"config", "journal", "records", "rundir", "sweep"}

# What each folder may import of the others (beside the small modules at the top that know nobody).
ALLOWED = {
    "runtime": set(),
    "search_spaces": set(),
    "datasets": set(),
    "meta_learners": {"search_spaces", "datasets"},
    "strategies": {"search_spaces"},
    "evaluators": {"search_spaces", "datasets", "meta_learners"},
    "executors": {"evaluators", "meta_learners"},
    "run": {"search_spaces", "strategies", "evaluators", "executors", "meta_learners", "config"},
    "reporting": {"search_spaces", "evaluators", *RUN_DIRECTORY},
}
FOR_ALL = {"runtime"}
LEAVES = {
    "errors",
    "seeding",
    "task",
    "yaml_files",
    "events",
    "checkpoint",
    "pareto",
    "paths",
    "signals",
    "stored",
    "allocator",
    "command_lines",
}


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, type-checking imports aside."""
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
    return {name.split(".")[1] for name in names if name.startswith("nasmeta.")}


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_imports_point_one_way(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        wrong = imports(path) - {folder} - ALLOWED[folder] - FOR_ALL - LEAVES
        assert not wrong, f"{path.relative_to(PACKAGE)} imports {wrong}"


def test_the_runtime_knows_nothing_but_errors() -> None:
    for path in (PACKAGE / "runtime").rglob("*.py"):
        assert imports(path) <= {"runtime", "errors"}, path


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_small_modules_know_no_folder(leaf: str) -> None:
    assert imports(PACKAGE / f"{leaf}.py") <= LEAVES | FOR_ALL | {"__version__"}


def loaded(*arguments: str) -> set[str]:
    script = (
        "import sys, contextlib, io\n"
        "from nasmeta.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({list(arguments)!r})\n"
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
    (tmp_path / "x.py").write_text("from nasmeta.strategies.base import Strategy\nimport nasmeta.search\n")
    assert imports(tmp_path / "x.py") == {"strategies", "search"}
