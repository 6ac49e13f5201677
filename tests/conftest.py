"""What all tests share: the folder of real data, a seed, and one thread, so that test runs never fight."""

import gc
import logging
import os
import sys
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from nasmeta import seeding
from nasmeta.runtime.text import PrintableFormatter
from tests import shortcuts

shortcuts.install()
if not torch.cuda.is_available():  # before anything imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without its bytecode, every process compiles nasmeta again

ROOT = Path(__file__).resolve().parents[1]

EXTRAS = {
    "datasets": ("fontTools", "resvg_py"),
    "joblib": ("hydra_plugins", "hydra_plugins.hydra_joblib_launcher"),
    "mlflow": ("mlflow", "sqlalchemy"),
    "mlflow_server": ("mlflow", "flask"),  # pip install mlflow
    "onnx": ("onnxruntime", "onnxscript"),
    "optuna": ("optuna",),
    "pandas": ("pandas",),
    "ray": ("ray",),
    "sklearn": ("sklearn",),
    "tflite": ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    "slurm": ("hydra_plugins", "hydra_plugins.hydra_submitit_launcher"),
    "triton": ("triton",),
    "wandb": ("wandb",),
}
"""The modules that an extra installs. `hydra_plugins` exists only if some plug-in of Hydra is installed."""


def has_extra(name: str) -> bool:
    """Whether nasmeta[name] is installed."""
    return all(find_spec(module) for module in EXTRAS[name])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--extras",
        default="",
        metavar="NAMES",
        help="run only the tests marked as needing these extras, e.g. 'onnx ray'; a skipped one fails",
    )


@pytest.hookimpl(tryfirst=True)  # before --dist loadgroup reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --extras, keeps the tests that need one of them. Without, skips those whose extra is missing."""
    wanted = config.getoption("--extras").split()
    if missing := [name for name in wanted if name not in EXTRAS or not has_extra(name)]:
        raise pytest.UsageError(f"--extras: {' '.join(missing)}: not installed")
    needed = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("extra"))}
    if wanted:
        kept = [item for item in items if needed.get(item) in wanted]
        if absent := set(wanted) - set(needed.values()):
            raise pytest.UsageError(f"--extras: no test is marked {' '.join(sorted(absent))}")
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        for item in kept:  # --dist loadgroup keeps an extra's tests in one process
            item.add_marker(pytest.mark.xdist_group(needed[item]))
        items[:] = kept
        return
    for item, name in needed.items():
        if not has_extra(name):
            item.add_marker(pytest.mark.skip(reason=f"nasmeta[{name}] is not installed"))


def pytest_collection_finish() -> None:
    """Garbage collection skips what is loaded by now: it takes a twentieth of the time otherwise."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--extras"):
        report.outcome = "failed"
        report.longrepr = f"skipped, though its extra is installed: {report.longrepr}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_seed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Makes the modules that a test builds draw the same weights every time.

    Without this, torch has another seed in every process.
    """
    with seeding.torch_stream(0, "tests", request.node.name):
        yield


@pytest.fixture(autouse=True)
def _no_stale_handler() -> None:
    """A command logs to the standard error of its own test, not to the closed one of an earlier test."""
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler.formatter, PrintableFormatter):
            logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_module_of_another_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forgets the modules that a test imported, since the next test may write one of the same name."""
    before = set(sys.modules)
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(written):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """What a command changes in its process for good lasts until the end of the test.

    PYTHONSAFEPATH, which is for a command's own children, does not even outlive a fixture.
    """
    os.environ.pop("PYTHONSAFEPATH", None)
    environment, arguments, folder = dict(os.environ), sys.argv, Path.cwd()
    yield
    sys.argv = arguments
    os.chdir(folder)
    for name in os.environ.keys() - environment:
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the figures of a page and draws none, which takes most of its time: for tests of its text."""
    from nasmeta.reporting.figures.canvas import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"<svg/>"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images, which is never committed. Tests that need it are skipped without it."""
    folder = Path(os.environ.get("NASMETA_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "images_background_small1.zip").is_file():
        pytest.skip(f"no Omniglot archives in {folder}; set NASMETA_SHARED_DATA")
    return folder
