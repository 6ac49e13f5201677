"""Hostile values that nasmeta never writes, and how they get into documents, checkpoints and files.

Every function draws only from the generator that it is given.
"""

import io
import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import OmegaConf

from nasmeta.config.conf_dir import config_directory
from nasmeta.config.schema import GROUPS
from tests.hostile.makers import places, set_at
from tests.hostile.planted import PLANTS, hard_link

T = TypeVar("T")
Draw = np.random.Generator


class Json(str):
    """A text that is put into a JSON document as it is, for what `json.dumps` cannot write."""


def one(draw: Draw, choices: Sequence[T]) -> T:
    return choices[int(draw.integers(len(choices)))]


CHOICES = [
    (group, path.stem) for group in GROUPS for path in sorted((config_directory() / group).glob("*.yaml"))
]


@cache
def _option(group: str, option: str) -> str:
    return json.dumps(OmegaConf.to_container(OmegaConf.load(config_directory() / group / f"{option}.yaml")))


def options(group: str, option: str) -> dict[str, Any]:
    """The values of an option that comes with nasmeta; a dataset's folders are none."""
    values: dict[str, Any] = json.loads(_option(group, option))
    return values | {name: None for name in ("cache", "root") if name in values}


# Values --------------------------------------------------------------------------------------------------

NUMBERS: list[Any] = [
    *(-3, -1, 0, 1, 2, 7, 255, 10**6, 10**12, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63)),
    *(0.0, -0.5, 0.999, 1.5, 1e-308, 1e30, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *(True, False, None, 1j),
]

INTEGERS = [0, 1, 2, 3, 5, 16, 100, 999, 5000, 10**5, 10**6, 10**7, 10**9, 10**12, 2**63 - 1, -1]
FLOATS = [0.0, 1e-300, 1e-9, 0.5, 1.0, 3.0, 1e4, 1e15, 1e30, 1e300, -1.0]
OPTIONS = [
    *(
        "running",
        "transductive",
        "support",
        "vmap",
        "loop",
        "threads",
        "bf16",
        "tf32",
        "cpu",
        "none",
        "cosine",
    ),
    *(
        "conv3",
        "skip",
        "gap",
        "flatten",
        "bn",
        "params",
        "latency",
        "failed",
        "ok",
        "search",
        "final",
        "reference",
    ),
]

TARGETS = [
    *("os.mkdir", "os.system", "canary.run", "pickle.loads", "subprocess.run", "builtins.eval", "torch.load"),
    *("hydra.utils.call", "hydra.utils.get_class", "nasmeta.run.directory.os.mkdir", "nasmeta.cli.main.main"),
    *("nasmeta.strategies.canary.Run", "nasmeta.strategies.evolution.RegularizedEvolution.__init__", "."),
    *("nasmeta.testing.toy_space.Quadratic", "nasmeta.strategies." + "a" * 5000 + ".b", "a.b"),
    *(target for group, option in CHOICES if (target := options(group, option).get("_target_"))),
]

TEXTS = [
    *(
        "",
        " ",
        "x",
        "a\nb",
        "\0",
        "\x1b]0;owned\x07\x1b[2J",
        "\x9b2J",
        "\u202egpj.exe",
        "\ud800",
        "\r",
        "\u2028",
    ),
    *("=cmd|'/C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\uff1d1", " =1", "\t=1", "a;=1", '"', "a,b", "';--"),
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "{% x %}", "%s%n", "{0.a}"),
    *(
        "..",
        "../..",
        "../../user/secret",
        "/",
        "/dev/zero",
        "/dev/full",
        "/proc/self/environ",
        "~",
        "~root/x",
    ),
    *("file:///etc/passwd", "pkg://canary", "http://127.0.0.1:1/x", "ray://127.0.0.1:1", "127.0.0.1:6379"),
    *(
        "auto",
        "cuda",
        "cuda:99999999999",
        "meta",
        "mps",
        "nan",
        "1e999",
        "null",
        "[1,2",
        "a" * 300,
        "x" * 70_000,
    ),
]


class Values:
    """Hostile values. `user` is the folder of the user, next to the stranger's; see sandbox.py."""

    def __init__(self, user: Path) -> None:
        self.user = user
        call = f"oc.create:{{_target_:os.mkdir,path:{user / 'ran'}}}"
        inner = [
            call,
            "oc.env:NASMETA_SECRET",
            "seed",
            "hydra:runtime.cwd",
            "user_cache:",
            "x:${x:}",
            ".",
            "..a",
        ]
        self.interpolations = [
            *(f"${{{text}}}" for text in inner),
            *(f"\\${{{text}}}" for text in inner),
            *(f"\\\\${{{text}}}" for text in inner),
            f"oc.decode:${{{call}}}",
            f"${{oc.decode:'${{{call}}}'}}",
            "${",
        ]
        self.paths = [str(user / "secret"), str(user / "folder"), str(user / "new" / "file"), str(user)]

    def text(self, draw: Draw) -> str:
        return one(draw, [*TEXTS, *self.interpolations, *self.paths])

    def option(self, draw: Draw) -> dict[str, Any]:
        """An option with a target to call, and arguments with which the call leaves a mark."""
        more: dict[str, Any] = {"path": str(self.user / "ran"), "command": f"touch {self.user / 'ran'}"}
        extra = {
            "_args_": [str(self.user / "ran")],
            "_partial_": False,
            "_convert_": "all",
            "_recursive_": True,
        }
        return {"_target_": one(draw, TARGETS), **one(draw, [{}, more, extra])}

    def plain(self, draw: Draw) -> Any:
        """A value that both pickle and JSON can hold."""
        makers: list[Callable[[], Any]] = [
            lambda: one(draw, NUMBERS[:-1]),
            lambda: one(draw, NUMBERS[:-1]),
            lambda: self.text(draw),
            lambda: self.text(draw),
            lambda: self.option(draw),
            lambda: [self.option(draw)],
            lambda: [],
            lambda: {},
            lambda: [one(draw, NUMBERS[:-1]) for _ in range(int(draw.integers(4)))],
            lambda: {self.text(draw): self.text(draw)},
            lambda: [self.text(draw)] * 1000,
            lambda: "y" * 4_000_000,
            lambda: deep(300),
        ]
        return one(draw, makers)()

    def json(self, draw: Draw) -> Any:
        """A value as `plain`, or one that only JSON text can express."""
        texts = [
            Json("[" * 100_000 + "]" * 100_000),
            Json('{"a":' * 50_000 + "1" + "}" * 50_000),
            Json("9" * 5000),
            Json("-1e999"),
            Json("0." + "3" * 100_000),
            Json('{"a":1,"a":2}'),
            Json('{"_target_":"os.mkdir","_target_":"canary.run"}'),
            Json("[" + "0," * 200_000 + "0]"),
            Json('"\\ud800"'),
            Json("1e-400"),
            Json("tru"),
        ]
        return one(draw, texts) if draw.random() < 0.12 else self.plain(draw)

    def stored(self, draw: Draw) -> Any:
        """A value as `plain`, or one that only a file of tensors can hold."""
        tensors: list[Callable[[], Any]] = [
            lambda: torch.zeros(3),
            lambda: torch.zeros(0),
            lambda: torch.zeros(1).expand(1 << 40),  # four bytes in the file
            lambda: torch.zeros(1).expand(1 << 20, 1 << 20),
            lambda: torch.full((8, 3, 3, 3), float("nan")),
            lambda: torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (1 << 40,)),
            lambda: torch.zeros(2, dtype=torch.complex64),
            lambda: torch.zeros(2, device="meta"),
            lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            lambda: torch.nn.Parameter(torch.zeros(2)),
            lambda: doubling(60),
            lambda: loop(),
            lambda: {1: 2, None: 3, (1, 2): 4},
            lambda: {1, 2},
            lambda: b"bytes",
            lambda: 10**4000,
            lambda: one(draw, NUMBERS),
            lambda: torch.Size([1 << 40, -1]),
            lambda: torch.float64,
        ]
        return one(draw, tensors)() if draw.random() < 0.4 else self.plain(draw)


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def doubling(depth: int) -> Any:
    """A value with 2 ** depth leaves, which takes a few hundred bytes in a file."""
    value: Any = "x"
    for _ in range(depth):
        value = [value, value]
    return value


def loop() -> Any:
    value: list[Any] = []
    value.append({"a": value})
    return value


# Documents -----------------------------------------------------------------------------------------------


def changed(draw: Draw, document: Any, value: Callable[[Draw], Any]) -> tuple[Any, str]:
    """A copy of a document with one place changed, and what was done. The place is a leaf or a container."""
    document = deepcopy(document)
    found = list(places(document))
    if not found:
        return value(draw), "all of it"
    path = one(draw, found)
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    match one(draw, ["set"] * 7 + ["delete", "add", "swap", "wrap"]):
        case "set":
            old = holder[path[-1]]
            new = near(draw, old) if draw.random() < 0.5 else value(draw)
            set_at(document, path, new)
            told = f"{path} = {str(new)[:60]!r}"
        case "delete":
            del holder[path[-1]]
            told = f"no {path}"
        case "add":
            names = ["_target_", "__class__", "extra", "", "a.b", "hydra", "${oc.env:NASMETA_SECRET}"]
            added = one(draw, names)
            if isinstance(holder, dict):
                holder[added] = value(draw)
            else:
                holder.append(value(draw))
            told = f"{path[:-1]} has {added} too"
        case "swap":
            other = one(draw, found)
            inner: Any = document
            for part in other:
                inner = inner[part]
            set_at(document, path, deepcopy(inner))
            told = f"{path} = what is at {other}"
        case _:
            set_at(document, path, [holder[path[-1]]])
            told = f"{path} in a list"
    return document, told


def near(draw: Draw, value: Any) -> Any:
    """Another value of the same kind, which may pass the checks and then be too much."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return one(draw, INTEGERS)
    if isinstance(value, float):
        return one(draw, FLOATS)
    if isinstance(value, str):
        parts = value.split("_")
        texts = [
            "_".join(parts * 100),
            "_".join(parts * 3000),
            "_".join(parts[:1] * 7 + parts),
            re.sub("[0-9]+", str(one(draw, INTEGERS)), value),
            re.sub("[0-9]+", "9" * 4400, value),
            re.sub("[a-z]+", "none", value, count=1),
            value[: int(draw.integers(len(value) + 1))],
            value + one(draw, TEXTS),
            value.upper(),
            one(draw, OPTIONS),
        ]
        return one(draw, texts)
    if isinstance(value, list):
        return one(draw, [value * 2, value * 300, value * 9000, value[::-1], value[:1], [*value, value]])
    if isinstance(value, dict):
        names = list(value)
        return dict(zip(names, [value[name] for name in names[::-1]], strict=True))
    if isinstance(value, torch.Tensor):
        return one(
            draw, [value * float("nan"), value * 1e38, value[None], value.double(), value.flatten(), -value]
        )
    return one(draw, INTEGERS)


def written(document: Any) -> bytes:
    """The JSON of a document that may hold `Json`. It need not be valid JSON."""
    raw: list[str] = []

    def marked(value: Any) -> Any:
        if isinstance(value, Json):
            raw.append(value)
            return f"@raw{len(raw) - 1}@"
        if isinstance(value, Mapping):
            return {str(key): marked(each) for key, each in value.items()}
        return [marked(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(marked(document), separators=(",", ":"))
    for number, each in enumerate(raw):
        text = text.replace(f'"@raw{number}@"', each)
    return text.encode()


# Files of tensors ----------------------------------------------------------------------------------------


class _Call:
    """Calls `function` when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def pickles(user: Path) -> list[bytes]:
    """Pickles that do something when they are read, or take much time or memory."""
    mark = str(user / "ran")
    calls = [
        _Call(os.mkdir, mark),
        _Call(os.system, f"touch {mark}"),
        _Call(eval, f"__import__('os').mkdir({mark!r})"),
        _Call(__import__, "canary"),
        _Call(getattr, os, "mkdir"),
        _Call(bytearray, 1 << 40),
        _Call(torch.zeros, 1 << 40),
        _Call(
            torch._utils._rebuild_tensor_v2, torch.zeros(1).untyped_storage(), 0, (1 << 40,), (0,), False, {}
        ),
        {"parameters": _Call(np.ndarray, (1 << 40,))},
    ]
    made = []
    for call in calls:
        for protocol in (0, 2, 5):
            try:
                made.append(pickle.dumps(call, protocol))
            except (pickle.PicklingError, TypeError, NotImplementedError, RuntimeError):
                continue
    return [
        *made,
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",  # lists in lists
        b"\x80\x02]q\x00" + b"(h\x00h\x00e" * 100_000 + b".",
        b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\x01" * 100 + b".",  # an integer of two gigabytes
        b"\x80\x02X\xff\xff\xff\x7fx.",  # a text of two gigabytes
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02cnasmeta.cli\nmain\n)R.",
        b"\x80\x02}(K\x01K\x02u.",
        b"\x80\x02N.",
        b".",
        b"",
    ]


def zipped(pickled: bytes, source: Path) -> bytes:
    """A file of tensors with the members of `source`, but with another pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            own = member.filename.endswith("data.pkl")
            new.writestr(member.filename, pickled if own else old.read(member))
    return buffer.getvalue()


def rezipped(draw: Draw, source: bytes) -> bytes:
    """The members of `source` in a zip with one of several tricks."""
    buffer = io.BytesIO()
    trick = one(draw, ["deflate", "twice", "slip", "bomb", "missing", "comment", "size", "order", "many"])
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(buffer, "w") as new:
        members = old.infolist()
        method = zipfile.ZIP_DEFLATED if trick == "deflate" else zipfile.ZIP_STORED
        for member in members[::-1] if trick == "order" else members:
            if trick == "missing" and draw.random() < 0.4:
                continue
            new.writestr(member.filename, old.read(member), method)
        if trick == "twice":
            new.writestr(members[0].filename, b"\x80\x02N.")
        if trick == "slip":
            for name in ("../../user/ran", "/tmp/ran", "a\\..\\..\\ran", "x" * 60_000):
                new.writestr(name, b"x")
        if trick == "bomb":
            new.writestr("archive/data/999", bytes(50_000_000), zipfile.ZIP_DEFLATED)
        if trick == "many":
            for number in range(5000):
                new.writestr(f"archive/data/x{number}", b"")
        if trick == "comment":
            new.comment = b"PK\x05\x06" * 1000
    data = buffer.getvalue()
    if trick == "size":  # the central directory claims four gigabytes
        at = data.rindex(b"PK\x01\x02")
        data = data[: at + 20] + b"\xff" * 8 + data[at + 28 :]
    return data


# Files of any kind ---------------------------------------------------------------------------------------


def is_small(path: Path) -> bool:
    """Whether it is a file, not a link, and safe to read."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 5_000_000


def damaged(draw: Draw, data: bytes) -> tuple[bytes, str]:
    """A damaged copy of `data`, and what was done."""
    at = int(draw.integers(len(data) + 1))
    match one(draw, ["cut", "flip", "flip", "repeat", "insert", "zeros", "empty", "bom", "utf16"]):
        case "cut":
            return data[:at], f"cut at {at}"
        case "flip":
            bit = 1 << int(draw.integers(8))
            return data[:at] + bytes(byte ^ bit for byte in data[at : at + 1]) + data[
                at + 1 :
            ], f"bit at {at}"
        case "repeat":
            return data * 3, "three times"
        case "insert":
            return data[:at] + draw.bytes(40) + data[at:], f"other bytes at {at}"
        case "zeros":
            return data[:at] + bytes(len(data) - at), f"zeros from {at}"
        case "empty":
            return b"", "empty"
        case "bom":
            return b"\xef\xbb\xbf" + data, "a byte-order mark"
        case _:
            return data.decode("utf-8", "replace").encode("utf-16"), "UTF-16"


def misplaced(draw: Draw, folder: Path, user: Path) -> str:
    """Puts something else in the place of a file or folder, or adds a file. Returns what was done."""
    everything = [folder, *sorted(folder.rglob("*"))]
    path = one(draw, everything)
    if (path.is_dir() and draw.random() < 0.5) or path == folder:
        path = path / one(
            draw, [".nasmeta-0.tmp", "summary.json", "best.pt", "run.lock", "x.png", ".sweep.json.lock"]
        )
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    outside = one(
        draw, [user / "secret", user / "folder", user / "ran", path.parent, Path("/proc/self/environ")]
    )
    match one(draw, ["plant"] * 6 + ["sparse", "other", "locked", "many"]):
        case "plant":
            plant = one(draw, PLANTS)
            if plant is hard_link:  # only its number of names tells it from a file of the stranger
                outside = user / "folder" / "file"
            plant(path, outside)
            told = f"{plant.__name__} to {outside.name}"
        case "sparse":
            size = one(draw, [300, 2000, 20_000])
            with path.open("wb") as file:
                file.truncate(size << 20)
            told = f"{size} MiB of zeros"
        case "other":
            source = one(draw, [*filter(is_small, everything), user / "folder" / "file"])
            shutil.copyfile(source, path)
            told = f"a copy of {source.name}"
        case "locked":
            path.write_bytes(b"x")
            path.chmod(0)
            told = "a file without rights"
        case _:
            path.mkdir()
            for number in range(300):
                os.mkdir(os.fsencode(path) + b"/\xff\xfe\x1b[2J" + str(number).encode())
            told = "a folder of names that are not UTF-8"
    return f"{path.relative_to(folder.parent)}: {told}"
