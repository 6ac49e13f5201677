"""No module of nasmeta opens, writes, locks or deletes a file but through `nasmeta.runtime.files`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layers import PACKAGE

GATE = PACKAGE / "runtime" / "files.py"

METHODS = {
    "open", "read_text", "write_text", "read_bytes", "write_bytes", "touch", "unlink", "rename", "rmdir",
    "symlink_to", "hardlink_to", "chmod",
}  # fmt: skip
"""Methods that open, replace or delete a file, whatever they are called on: those of Path."""

OPENERS = {
    "open", "fdopen", "mkfifo", "mknod", "renames", "rmtree", "removedirs", "symlink", "link",
    "copy2", "copyfile", "copytree", "move",
    # of libraries that take a path
    "FileLock", "SoftFileLock", "ZipFile", "TarFile", "BZ2File", "GzipFile", "LZMAFile", "NamedTemporaryFile",
    "TemporaryFile", "TemporaryDirectory", "mkstemp", "mkdtemp", "urlretrieve", "memmap", "fromfile",
    "genfromtxt", "loadtxt", "savetxt", "savez", "imread", "imsave", "read_csv", "FileHandler",
    "SummaryWriter",
}  # fmt: skip
"""Functions and classes that do, by their names."""

QUALIFIED = {
    *(f"os.{name}" for name in ("replace", "remove", "truncate", "mkdir", "makedirs")),
    *(f"{module}.{name}" for module in ("torch", "np", "OmegaConf") for name in ("load", "save")),
    "torch.from_file", "pickle.load", "pickle.dump", "linecache.getline", "runpy.run_path",
}  # fmt: skip

ALLOWED = {
    ("training/checkpoint.py", "torch.save"): "into memory",
    ("training/checkpoint.py", "torch.load"): "of bytes",
    ("training/checkpoint.py", "zipfile.ZipFile"): "of bytes",
    ("cli/main.py", "os.open"): "the null device, in the place of a closed standard output",
    ("datasets/cache.py", "torch.save"): "into a file from the gate",
    ("datasets/cache.py", "torch.load"): "of a file from the gate",
    ("datasets/decode.py", "Image.open"): "of a file from the gate",
    ("datasets/image_archive.py", "ZipFile"): "of a file from the gate",
    ("runtime/device.py", "FileLock"): "in the user's own cache",
    ("trained/export/format.py", "tempfile.TemporaryFile"): "without a name, for what libraries print",
    ("trained/export/onnx.py", "TemporaryDirectory"): "an empty folder of its own",
    ("trained/export/onnx.py", "file.write_bytes"): "in that folder",
    ("trained/export/onnx.py", "int8.write_bytes"): "in that folder",
    ("trained/export/onnx.py", "result.read_bytes"): "in that folder",
    ("trained/export/parts.py", "tempfile.TemporaryDirectory"): "an empty folder of its own",
    ("trained/export/parts.py", "file.read_bytes"): "in that folder",
    ("trained/export/parts.py", "(made / 'classes.h').write_text"): "in that folder",
    ("trained/export/parts.py", "(made / 'few_shot.h').write_text"): "in that folder",
    ("trained/export/parts.py", "made.rename"): "that folder, once it is complete, to a name that is free",
    ("trained/export/parts.py", "FEW_SHOT.read_text"): "a file of the package",
    ("cli/doctor.py", "TemporaryFile"): "without a name, to see whether a folder can be written",
    ("cli/output.py", "os.mkdir"): "the new directory of a run",
    ("reporting/figures/canvas.py", "TemporaryDirectory"): "an empty folder of its own",
    ("reporting/trackers/tensorboard.py", "SummaryWriter"): "new files, named by the second and the process",
}
"""The calls that are none of a path, or of one that nobody else has chosen."""


def calls(path: Path) -> Iterator[str]:
    """The calls in a module that open files, as they are written, those of the gate aside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            written = ast.unparse(node.func)
            name = written.rpartition(".")[2]
            method = name in METHODS and isinstance(node.func, ast.Attribute)
            if (method or name in OPENERS or written in QUALIFIED) and not written.startswith("files."):
                yield written


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_files_are_opened_by_the_gate_alone(path: Path) -> None:
    module = path.relative_to(PACKAGE).as_posix()
    wrong = [call for call in calls(path) if (module, call) not in ALLOWED]
    assert path == GATE or not wrong, f"{module} calls {wrong}: use nasmeta.runtime.files"


def test_the_exceptions_are_in_use() -> None:
    used = {(p.relative_to(PACKAGE).as_posix(), call) for p in PACKAGE.rglob("*.py") for call in calls(p)}
    assert not ALLOWED.keys() - used


def test_the_guard_sees_what_opens_a_file(tmp_path: Path) -> None:
    lines = ["open('x')", "Path('x').read_text()", "torch.load('x')", "os.replace(a, b)", "shutil.rmtree(x)"]
    (tmp_path / "x.py").write_text("\n".join([*lines, "files.read_bytes(x, 1)", "name.replace('a', 'b')"]))
    assert len(list(calls(tmp_path / "x.py"))) == len(lines)
