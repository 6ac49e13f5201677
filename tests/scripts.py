"""The scripts of this repository as modules."""

import importlib.util
import sys
from types import ModuleType

import pytest

from tests.conftest import ROOT


def load(path: str) -> ModuleType:
    """The script at `path`, from the repository's root, run but for its main program."""
    script = ROOT / "scripts" / path
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def load_beside(path: str) -> ModuleType:
    """The same for a script that imports the modules next to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str((ROOT / "scripts" / path).parent))
        return load(path)
