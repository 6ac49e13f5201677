"""Runs commands on a hostile input in a separate process, and reports what they did but must not do.

The input is in the folder `stranger`, which is the current folder and holds modules, settings and plug-ins
of the stranger. Next to it is the folder `user`. No command may touch its files, and their text must be in
nothing that a command writes. The process is forked from a server that has loaded torch.
"""

import csv
import faulthandler
import inspect
import json
import logging
import os
import re
import resource
import signal
import sys
import time
import traceback
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasmeta.cli.main import main
from tests.cli.kills import FORK
from tests.hostile.makers import SECRET
from tests.hostile.planted import snapshot

SECONDS = 6.0
"""CPU seconds after which the user presses Ctrl-C. A command that is just long then ends."""

MEMORY = 1 << 30
"""Bytes by which a command may grow. It cannot get more than three times as many."""

WORKS_LONG = ("resume", "evaluate", "search")
"""Commands that train or test for as long as the configuration says."""

MAX_LINES, MAX_CHARACTERS = 60, 30_000
"""The most that a command may print on stderr."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile("^\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_PLANTED = ("pickle", "canary", "json", "torch", "yaml", "sitecustomize", "usercustomize", "conf", "own")


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: 70 if it raised. grown: bytes. faults: what it did but must not do."""

    command: list[str]
    code: int
    seconds: float
    grown: int
    text: str
    faults: list[str]


def prepare(folder: Path) -> tuple[Path, Path]:
    """Makes the two folders in `folder` and returns `stranger` and `user`."""
    stranger, user = folder / "stranger", folder / "user"
    for each in (stranger / "nasmeta", stranger / "hydra_plugins" / "own", user / "folder"):
        each.mkdir(parents=True)
    mark = f"import os\nos.makedirs({str(user / 'ran')!r}, exist_ok=True)\ndef run(*a, **k): pass\n"
    for name in (*_PLANTED, "nasmeta/__init__", "hydra_plugins/own/__init__"):
        (stranger / f"{name}.py").write_text(mark)
    (stranger / "matplotlibrc").write_text("text.usetex: true\n")
    (stranger / ".env").write_text("HYDRA_FULL_ERROR=1\nPYTHONSTARTUP=canary.py\n")
    (user / "secret").write_text(SECRET)
    (user / "folder" / "secret.json").write_text(json.dumps({"seed": SECRET}))
    (user / "folder" / "file").write_text("a file of the user's")
    return stranger, user


def visit(commands: Sequence[list[str]], folder: Path) -> list[Ended]:
    """Runs the commands one after the other. If one does not end, that is its fault, and it is the last."""
    user, results = folder / "user", folder / "results"
    before = snapshot(user)
    process = FORK.Process(target=_visit, args=(list(commands), folder))
    process.start()
    process.join(150)
    process.kill()
    process.join()
    ended = [Ended(**json.loads(line)) for line in results.read_text().splitlines()]
    if len(ended) < len(commands):
        stack = (folder / "stack").read_text()
        fault = f"does not end (exit code {process.exitcode}): {stack[-4000:]}"
        ended.append(Ended(commands[len(ended)], 70, 0, 0, "", [fault]))
    if snapshot(user) != before:
        ended[-1].faults.append(f"the user's folder has changed: {sorted(snapshot(user))}")
    return ended


def _visit(commands: list[list[str]], folder: Path) -> None:
    stranger, user = folder / "stranger", folder / "user"
    torch.set_num_threads(1)
    os.chdir(stranger)
    os.environ |= {"NASMETA_SECRET": SECRET, "HOME": str(user), "TMPDIR": str(folder)}
    deeds: list[str] = []
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, folder, deeds))
    stacks = (folder / "stack").open("w")
    results = (folder / "results").open("w")
    for command in commands:
        # Much longer than the user waits, so that a command can end after Ctrl-C.
        faulthandler.dump_traceback_later(120, exit=True, file=stacks)
        print(json.dumps(vars(_run(command, folder, deeds))), file=results, flush=True)
        faulthandler.cancel_dump_traceback_later()


def _watch(event: str, arguments: tuple[Any, ...], folder: Path, deeds: list[str]) -> None:
    """An audit hook that notes what runs something or reaches beyond the folder of the test."""
    deed = _deed(event, arguments, folder)
    if deed is not None and not _in_compiler():
        deeds.append(deed)


def _in_compiler() -> bool:
    """Whether torch's compiler does it, which a configuration may ask for: see docs/security.md."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("torch._inductor"):
            return True
        frame = frame.f_back
    return False


def _deed(event: str, arguments: tuple[Any, ...], folder: Path) -> str | None:
    """What an audit event says that a command does, if that is beyond reading and writing in `folder`."""
    if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.spawn", "pty.spawn"):
        return f"starts {arguments[0]!r}"
    elif event in ("socket.connect", "socket.sendto") and not isinstance(arguments[1], str | bytes):
        return f"connects to {arguments[1]!r}"
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return f"looks up {arguments[0]!r}"
    elif event == "open" and isinstance(arguments[0], str) and arguments[0].startswith("/"):
        path = os.path.realpath(arguments[0])
        writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not path.startswith((str(folder), "/dev/")):
            return f"writes {path}"
        elif path == "/proc/self/environ" or (
            path.startswith("/dev/") and path not in ("/dev/null", "/dev/urandom")
        ):
            return f"opens {path}"
    return None


def _run(command: list[str], folder: Path, deeds: list[str]) -> Ended:
    stranger = folder / "stranger"
    out, err = folder / "out", folder / "err"
    _limit_memory()
    deeds.clear()
    logging.getLogger().handlers.clear()  # they are made again, for this output
    begun = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with _redirected(1, out), _redirected(2, err):
        try:
            code = _call(command)
        except SystemExit as stopped:  # argparse
            code = int(stopped.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 70
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        sys.stderr.flush()
    seconds, grown = time.process_time() - begun, _peak() - _limit_memory.before
    said, errors = out.read_text(errors="replace"), err.read_text(errors="replace")
    faults = [*deeds, *_faults(command[0], code, said, errors, seconds, grown)]
    faults += [fault for path in stranger.rglob("*") for fault in _harm(path)]
    return Ended(command, code, round(seconds, 2), grown, f"{said[-1500:]}\n--\n{errors[-3000:]}", faults)


def _call(command: list[str]) -> int:
    if command[0] != "load":
        return main(command)
    from nasmeta import FewShotClassifier
    from nasmeta.errors import NasmetaError

    try:
        FewShotClassifier.load(command[1], device="cpu")
    except NasmetaError as error:
        print(f"nasmeta: {error!s:.3000}".encode("ascii", "backslashreplace").decode(), file=sys.stderr)
        return error.exit_code
    return 0


def _faults(name: str, code: int, out: str, err: str, seconds: float, grown: int) -> list[str]:
    faults = []
    if code not in (0, 1, 2) and not (code == 130 and name in WORKS_LONG):
        faults.append(f"exit code {code}")
    if "Traceback" in err:
        faults.append("a traceback")
    if (
        code in (1, 2)
        and sum(line.startswith("nasmeta: ") or ": error: " in line for line in err.split("\n")) != 1
    ):
        faults.append("not one line that says what is wrong")
    if err.count("\n") > MAX_LINES or len(err) > MAX_CHARACTERS:
        faults.append(f"{err.count(chr(10))} lines, {len(err)} characters on stderr")
    if found := _CONTROLS.search(out + err):
        faults.append(f"{found[0]!r} reaches the terminal")
    if SECRET in out + err:
        faults.append("tells the secret")
    if seconds > 2 * SECONDS or (seconds > SECONDS and name not in WORKS_LONG):
        faults.append(f"{seconds:.1f} s")
    if grown > MEMORY:
        faults.append(f"{grown >> 20} MiB")
    if out.startswith("file,label"):
        faults += _formulas(out)
    return faults


def _formulas(text: str) -> list[str]:
    csv.field_size_limit(1 << 30)  # a name of any length is no error here
    cells = (cell for row in csv.reader(text.splitlines()) for cell in row)
    return [f"{cell[:60]!r} is a formula" for cell in cells if _FORMULA.match(cell)]


def _harm(path: Path) -> list[str]:
    """What is wrong with a file of the stranger's: it tells the secret, or a page can do something."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 100_000_000:
        return []
    try:
        data = path.read_bytes()
    except PermissionError:
        return []
    text = data.decode(errors="replace") if path.name == "report.html" else ""
    encoded = [b64decode(each) for each in re.findall(r"base64,([A-Za-z0-9+/=]*)", text)]
    tables = [each.decode(errors="replace") for each in encoded if each.startswith(b"trial,")]
    faults = [f"{path}: {formula}" for table in tables for formula in _formulas_of_text(table)]
    if re.search(r"<(script|img src=x)|javascript:", text):
        faults.append(f"{path} has an active element")
    if any(SECRET.encode() in part for part in (data, *encoded)):
        faults.append(f"{path} tells the secret")
    return faults


def _formulas_of_text(text: str) -> list[str]:
    """The formulas in a table with numbers; a negative number is not one."""
    return [found for found in _formulas(text) if not re.match(r"'-?[\d.einf+-]+' is", found)]


# The process itself --------------------------------------------------------------------------------------


class _redirected:
    """Redirects a file descriptor to a file, including what is not written through a Python object."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor, self.path = descriptor, path

    def __enter__(self) -> None:
        self.kept = os.dup(self.descriptor)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, self.descriptor)
        os.close(file)

    def __exit__(self, *_: object) -> None:
        os.dup2(self.kept, self.descriptor)
        os.close(self.kept)


def _status(name: str) -> int:
    """A size of this process in bytes; `name` is its name in /proc/self/status."""
    return int(re.search(rf"{name}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) << 10  # type: ignore[index]


def _peak() -> int:
    return _status("VmHWM")


def _limit_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    _limit_memory.before = _peak()  # type: ignore[attr-defined]
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 3 * MEMORY, hard))
