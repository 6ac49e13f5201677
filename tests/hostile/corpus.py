"""The hostile corpus: inputs of all kinds, made from valid ones. Each is a pure function of its number.

`make(number, ...)` puts the input into a stranger's folder, and says what was done to it and which commands
take it. No input needs `--trust-code`, and none is given it.
"""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nasmeta import seeding
from nasmeta.errors import NasmetaError
from nasmeta.evaluators import tabular
from nasmeta.run import journal
from tests.hostile import mutations
from tests.hostile.makers import change_config, copy_of
from tests.hostile.mutations import Draw, Values, changed, damaged, misplaced, one, written


@dataclass(frozen=True)
class Templates:
    """Valid inputs.

    run: a finished run on images. interrupted: a run that was killed during a training. sweep: two such
    runs. pictures: the images that `run` was trained on, as ROOT/CLASS/IMAGE.
    """

    run: Path
    interrupted: Path
    sweep: Path
    pictures: Path


@dataclass(frozen=True)
class Hostile:
    """An input. kind: what it is. told: what was done to it. commands: those that take it."""

    kind: str
    told: str
    commands: list[list[str]]


Way = Callable[[Draw, Path, Values], str]
"""Spoils what is in a folder; returns what it did."""


def make(number: int, templates: Templates, stranger: Path, user: Path) -> Hostile:
    """Makes the input of that number in the folder `stranger`; `user` is the folder that it tries to harm."""
    draw = seeding.stream(0, "corpus", number)
    kind = KINDS[number % len(KINDS)]
    spoil = Spoil(draw, one(draw, [1, 1, 1, 1, 2, 3]), Values(user), [])
    commands = MAKERS[kind](spoil, templates, stranger)
    return Hostile(kind, "; ".join(spoil.told), commands)


SPOILT = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, NasmetaError),
)
"""What spoiling an input may raise if it is already spoilt."""


@dataclass(frozen=True)
class Spoil:
    """How an input is spoilt: `times` times, with hostile `values`. `told` collects what was done."""

    draw: Draw
    times: int
    values: Values
    told: list[str]


# Runs ----------------------------------------------------------------------------------------------------


def _run(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    run = copy_of(of.run, stranger / "run")
    _spoil_run(spoil, run)
    return [
        ["compare", str(run)],
        ["report", str(run)],
        ["evaluate", str(run)],
        ["predict", str(run), "--support", str(of.pictures), "--query", str(of.pictures / "3")],
        ["load", str(run)],
        ["resume", str(run)],
    ]


def _interrupted(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    run = copy_of(of.interrupted, stranger / "run")
    _spoil_run(spoil, run)
    return [["compare", str(stranger)], ["report", str(run)], ["resume", str(run)]]


def _spoil_run(spoil: Spoil, run: Path) -> None:
    ways: list[Way] = [_spoil_config] * 3 + [_spoil_records] * 3 + [_spoil_lines, _spoil_summary]
    _spoil(spoil, run, [*ways, *[_spoil_tensors] * 3, _spoil_file, _spoil_place, _spoil_place])


def _spoil(spoil: Spoil, folder: Path, ways: list[Way]) -> None:
    """Spoils a folder in some of the ways, in their order: the last ones leave what is not safe to read."""
    chosen = {int(spoil.draw.integers(len(ways))) for _ in range(spoil.times)}
    for way in dict.fromkeys(ways[number] for number in sorted(chosen)):
        try:
            spoil.told.append(way(spoil.draw, folder, spoil.values))
        except SPOILT:
            spoil.told.append(_spoil_place(spoil.draw, folder, spoil.values))


def _spoil_config(draw: Draw, run: Path, values: Values) -> str:
    """Spoils one place of the configuration, in every file that stores it."""
    stored = json.loads((run / "config.json").read_text())
    document, told = stored, ""
    if draw.random() < 0.3:
        group, option = one(draw, mutations.CHOICES)
        document[group], told = mutations.options(group, option), f"{group}={option}, "
    if not told or draw.random() < 0.6:
        document, more = changed(draw, document, values.json)
        told += more
    if isinstance(document, dict) and not _is_raw(document):

        def change(config: dict[str, Any]) -> None:
            config.clear()
            config.update(document)

        change_config(run, change)
    (run / "config.json").write_bytes(written(document))
    return f"configuration: {told}"


def _is_raw(document: Any) -> bool:
    """Whether the document holds something that only JSON text can express."""
    try:
        return bool(json.loads(written(document)) != document)
    except (ValueError, RecursionError):
        return True


def _spoil_records(draw: Draw, run: Path, values: Values) -> str:
    """Spoils one place of one record of the journal, whose checksum stays right."""
    records, _ = journal.read(run / "journal.jsonl")
    number = int(draw.integers(len(records)))
    records[number], told = changed(draw, records[number], values.json)
    _write_journal(run, records)
    return f"journal line {number + 1}: {told}"


def _spoil_lines(draw: Draw, run: Path, values: Values) -> str:
    """Spoils the journal with lines each of which is valid by itself."""
    records, _ = journal.read(run / "journal.jsonl")
    at = int(draw.integers(len(records)))
    way = one(draw, ["drop", "twice", "swap", "cut", "many", "long", "other", "reversed"])
    match way:
        case "drop":
            del records[at]
        case "twice":
            records.insert(at, records[int(draw.integers(len(records)))])
        case "swap":
            other = int(draw.integers(len(records)))
            records[at], records[other] = records[other], records[at]
        case "cut":
            del records[at:]
        case "many":
            records[at:at] = [records[at]] * 5_000
        case "long":
            records[at] = records[at] | {"reason": "z" * 5_000_000}
        case "other":
            records[at] = {"v": 1, "event": values.text(draw), "trial": values.plain(draw)}
        case _:
            records = records[::-1]
    _write_journal(run, records)
    return f"journal: {way} at line {at + 1}"


def _write_journal(run: Path, records: list[Any]) -> None:
    with (run / "journal.jsonl").open("wb") as file:
        for record in records:
            body = written(record)
            file.write(_line(body) if body.startswith(b'{"') else body + b"\n")


def _line(body: bytes) -> bytes:
    return b'{"crc":"%08x",' % zlib.crc32(body) + body[1:] + b"\n"


def _spoil_summary(draw: Draw, run: Path, values: Values) -> str:
    """Spoils one place of the summary, and puts its new checksum into the journal."""
    document, told = changed(draw, json.loads((run / "summary.json").read_text()), values.json)
    data = written(document)
    (run / "summary.json").write_bytes(data)
    records, _ = journal.read(run / "journal.jsonl")
    for record in records:
        if record["event"] == "tested":
            record["checksum"] = zlib.crc32(data)
    _write_journal(run, records)
    return f"summary: {told}"


def _spoil_tensors(draw: Draw, run: Path, values: Values) -> str:
    path = one(draw, sorted(run.rglob("*.pt")) or [run / "best.pt"])
    return f"{path.relative_to(run)}: {_spoil_pt(draw, path, values)}"


def _spoil_pt(draw: Draw, path: Path, values: Values) -> str:
    data = path.read_bytes()
    way = one(
        draw, ["value"] * 6 + ["config", "config", "pickle", "pickle", "raw", "npy", "zip", "bytes", "old"]
    )
    match way:
        case "value":
            document, told = changed(draw, torch.load(path, weights_only=True), values.stored)
            torch.save(document, path)
            return told
        case "config":
            saved = torch.load(path, weights_only=True)
            saved["config"], told = changed(draw, saved["config"], values.plain)
            torch.save(saved, path)
            return f"config: {told}"
        case "pickle":
            path.write_bytes(mutations.zipped(one(draw, mutations.pickles(values.user)), path))
        case "raw":
            path.write_bytes(one(draw, mutations.pickles(values.user)))
        case "npy":
            buffer = io.BytesIO()
            np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
            head = buffer.getvalue()[:128]
            path.write_bytes(head + one(draw, mutations.pickles(values.user)))
        case "zip":
            path.write_bytes(mutations.rezipped(draw, data))
        case "bytes":
            data, told = damaged(draw, data)
            path.write_bytes(data)
            return told
        case _:
            torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    return way


def _spoil_file(draw: Draw, folder: Path, values: Values) -> str:
    path = one(draw, sorted(path for path in folder.rglob("*") if mutations.is_small(path)))
    data, told = damaged(draw, path.read_bytes())
    path.write_bytes(data)
    return f"{path.relative_to(folder)}: {told}"


def _spoil_place(draw: Draw, folder: Path, values: Values) -> str:
    return misplaced(draw, folder, values.user)


# Sweeps --------------------------------------------------------------------------------------------------


def _sweep(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    sweep = copy_of(of.sweep, stranger / "sweep")
    ways: list[Way] = [_spoil_manifest] * 6 + [_spoil_first_job, _spoil_second_job]
    _spoil(spoil, sweep, [*ways, _spoil_file, _spoil_place, _spoil_place])
    return [["compare", str(sweep)], ["report", str(sweep)], ["resume", str(sweep)]]


def _spoil_manifest(draw: Draw, sweep: Path, values: Values) -> str:
    file = sweep / "sweep.json"
    document, told = changed(draw, json.loads(file.read_text()), values.json)
    file.write_bytes(written(document))
    return f"sweep.json: {told}"


def _spoil_first_job(draw: Draw, sweep: Path, values: Values) -> str:
    job = Spoil(draw, 1, values, [])
    _spoil_run(job, sweep / "0")
    return f"job 0: {job.told}"


def _spoil_second_job(draw: Draw, sweep: Path, values: Values) -> str:
    """One that has not ended."""
    (sweep / "1" / "summary.json").unlink()
    manifest = sweep / "sweep.json"
    plan = json.loads(manifest.read_text())
    plan["jobs"][1]["status"] = "running"
    manifest.write_text(json.dumps(plan))
    return f"job 1: running, {_spoil_records(draw, sweep / '1', values)}"


# Checkpoints ---------------------------------------------------------------------------------------------


def _checkpoint(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    path = stranger / "checkpoint" / "best.pt"
    path.parent.mkdir()
    shutil.copyfile(of.run / "best.pt", path)
    _spoil(spoil, path.parent, [*[_spoil_tensors] * 12, _spoil_place])
    return [
        ["evaluate", str(path), f"dataset.root={of.pictures}"],
        ["predict", str(path), "--support", str(of.pictures), "--query", str(of.pictures / "3"), "--json"],
        ["load", str(path)],
    ]


# Images --------------------------------------------------------------------------------------------------


def _pictures(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    """Images, as examples, as queries, and as a dataset."""
    draw, values, told = spoil.draw, spoil.values, spoil.told
    root = copy_of(of.pictures, stranger / "pictures")
    for _ in range(2 * spoil.times):
        told.append(_spoil_pictures(draw, root, values))
    return [
        ["predict", str(of.run), "--support", str(of.pictures), "--query", str(root)],
        ["predict", str(of.run), "--support", str(root), "--query", str(of.pictures / "3"), "--json"],
        [
            "evaluate",
            str(of.run),
            "dataset=image_folder",
            f"dataset.root={root}",
            "dataset.min_images=2",
            "dataset.cache=null",
        ],
    ]


NAMES = [
    *(
        b"\xff\xfe.png",
        b"=cmd|'x'!A0.png",
        b"\x1b[2J.png",
        b"a\nb.png",
        b"-x.png",
        b"\xe2\x80\xaex.png",
        b" .png",
    ),
    *(
        b"x" * 250 + b".png",
        b"${oc.env:NASMETA_SECRET}.png",
        b"<img src=x onerror=alert(1)>.png",
        b";=1.png",
        b'".png',
    ),
]


def _spoil_pictures(draw: Draw, root: Path, values: Values) -> str:
    way = one(
        draw, ["bytes", "bytes", "format", "format", "format", "name", "class", "place", "place", "loop"]
    )
    images = sorted(path for path in root.rglob("*.png") if mutations.is_small(path))
    if way == "place" or not images:
        return _spoil_place(draw, root, values)
    path = one(draw, images)
    if way == "bytes":
        data, told = damaged(draw, path.read_bytes())
        path.write_bytes(data)
        return f"{path.name}: {told}"
    if way == "format":
        name = one(draw, sorted(_FORMATS))
        path.write_bytes(_FORMATS[name](values.user))
        return f"{path.name}: {name}"
    if way == "loop":
        (path.parent / "loop").symlink_to(root)
        return "a loop of folders"
    new = os.fsencode(path.parent if way == "name" else root) + b"/" + one(draw, NAMES)
    os.rename(path if way == "name" else path.parent, new)
    return f"{way} {new!r}"


def _png(width: int, height: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size but does not have the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


_FORMATS: dict[str, Callable[[Path], bytes]] = {
    "huge PNG": lambda user: _png(65_000, 65_000),
    "PNG of 2**31": lambda user: _png(2**31 - 1, 2**31 - 1),
    "PNG of no width": lambda user: _png(0, 5),
    "long PNG": lambda user: _png(60_000_000, 1),
    "16-bit bomb": lambda user: _saved(Image.new("I;16", (8000, 8000)), "PNG", compress_level=1),
    "one-bit bomb": lambda user: _saved(Image.new("1", (8100, 8100)), "PNG", compress_level=1),
    "GIF of 500 frames": lambda user: _saved(
        Image.new("P", (8, 8)),
        "GIF",
        save_all=True,
        append_images=[Image.new("P", (8, 8), n % 256) for n in range(500)],
    ),
    "float TIFF": lambda user: _saved(Image.new("F", (16, 16), float("nan")), "TIFF"),
    "EPS": lambda user: (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n("
        + bytes(user / "ran")
        + b") (w) file\n"
    ),
    "SVG": lambda user: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PSD": lambda user: b"8BPS\x00\x01" + bytes(6) + b"\x00\x03" + b"\xff" * 12,
    "long text chunk": lambda user: _png(8, 8)[:33] + _png(8, 8)[33:] * 2000,
    "pickle": lambda user: mutations.pickles(user)[0],
    "CMYK": lambda user: _saved(Image.new("CMYK", (16, 16)), "JPEG"),
    "PGM that ends": lambda user: b"P5 9000 7000 255\n",
    "PPM of long numbers": lambda user: b"P6 " + b"9" * 100_000,
    "ICNS": lambda user: b"icns\xff\xff\xff\xff" * 100,
    "FLI": lambda user: bytes(4) + b"\x11\xaf" + b"\xff" * 200,
}
"""Contents of an image file; the name always ends in .png."""


def _listed(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    """A dataset whose splits are in CSV files."""
    draw, values, told = spoil.draw, spoil.values, spoil.told
    root = stranger / "set"
    images = root / "images"
    images.mkdir(parents=True)
    lists = {"train": range(0, 6), "val": range(6, 8), "test": range(8, 10)}
    for name, classes in lists.items():
        rows = ["filename,label"]
        for label in classes:
            for file in sorted((of.pictures / str(label)).iterdir()):
                shutil.copyfile(file, images / f"{label}-{file.name}")
                rows.append(f"{label}-{file.name},{label}")
        (root / f"{name}.csv").write_text("\n".join(rows))
    for _ in range(spoil.times):
        told.append(_spoil_list(draw, root, values))
    options = [
        f"dataset.root={root}",
        f"dataset.split_files={root}",
        "dataset.min_images=2",
        "dataset.cache=null",
    ]
    return [["evaluate", str(of.run), "dataset=image_folder", *options]]


def _spoil_list(draw: Draw, root: Path, values: Values) -> str:
    path = one(draw, [root / "test.csv", root / "test.csv", root / "val.csv"])
    if not mutations.is_small(path) or draw.random() < 0.2:
        return _spoil_place(draw, root, values)
    rows = path.read_bytes().split(b"\n")
    at = int(draw.integers(len(rows)))
    text = values.text(draw).encode("utf-8", "surrogatepass")
    lines: list[Callable[[], bytes]] = [
        lambda: text + b",9",
        lambda: b"9-0.png," + text,
        lambda: text,
        lambda: b'"' + text,
        lambda: b'"' + b"x" * 300_000 + b'",9',
        lambda: b"\n".join(b"9-0.png,9" for _ in range(50_000)),
        lambda: b"9-0.png,9" + b",x" * 100_000,
        lambda: b"9-0.png,9\x00",
        lambda: b"",
        lambda: bytes(root) + b"/images/9-0.png,9",
    ]
    rows[at] = one(draw, lines)()
    data, told = b"\n".join(rows), "a line"
    if draw.random() < 0.3:
        data, told = damaged(draw, data)
    path.write_bytes(data)
    return f"{path.name}: {told}: {rows[at][:60]!r}"


TABLE = Path(tabular.__path__[0]).parent / "tables" / "fewshot_conv.csv"


# Tables --------------------------------------------------------------------------------------------------


def _table(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    """A table of accuracies that the user names."""
    draw, told = spoil.draw, spoil.told
    path = stranger / "table.csv"
    rows = [line.split(",") for line in TABLE.read_text().splitlines()]
    for _ in range(spoil.times):
        at, column = one(draw, [0, 1, int(draw.integers(len(rows)))]), int(draw.integers(len(rows[0])))
        rows[at][column] = str(one(draw, [spoil.values.text(draw), one(draw, mutations.NUMBERS), "9" * 5000]))
        told.append(f"row {at}, column {column}: {rows[at][column][:60]!r}")
    data = "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    if spoil.times and draw.random() < 0.4:
        data, what = damaged(draw, data)
        told.append(what)
    path.write_bytes(data)
    table = [
        "evaluator=tabular",
        f"evaluator.table={path}",
        "evaluator.learner=protonet",
        "evaluator.dataset=strokes",
    ]
    budget = [
        "budget.search_iterations=100",
        "budget.final_iterations=100",
        "budget.trials=4",
        "progress=false",
    ]
    options = [
        "search_space=conv_small",
        "strategy=random",
        "logger=none",
        f"hydra.run.dir={stranger / 'run'}",
    ]
    return [["search", *table, *budget, *options]]


def _archive(spoil: Spoil, of: Templates, stranger: Path) -> list[list[str]]:
    """Archives that a stranger passes off as Omniglot's."""
    draw, values, told = spoil.draw, spoil.values, spoil.told
    root = stranger / "omniglot"
    root.mkdir()
    for name in ("images_background_small1.zip", "images_background_small2.zip"):
        (root / name).write_bytes(mutations.rezipped(draw, (of.run / "best.pt").read_bytes()))
        if draw.random() < 0.3 * spoil.times:
            told.append(_spoil_place(draw, root, values))
    told.append("other archives")
    options = ["dataset.variant=small", "dataset.download=false", "dataset.cache=null"]
    return [["evaluate", str(of.run), "dataset=omniglot", f"dataset.root={root}", *options]]


# ---------------------------------------------------------------------------------------------------------


MAKERS = {
    "run": _run,
    "interrupted": _interrupted,
    "sweep": _sweep,
    "checkpoint": _checkpoint,
    "pictures": _pictures,
    "listed": _listed,
    "table": _table,
    "archive": _archive,
}

KINDS = [
    *("run", "checkpoint", "interrupted", "sweep", "pictures", "sweep", "checkpoint", "run", "listed"),
    *(
        "checkpoint",
        "sweep",
        "run",
        "pictures",
        "sweep",
        "checkpoint",
        "interrupted",
        "table",
        "archive",
        "run",
    ),
]
"""The kinds of successive inputs. A kind is more frequent if there is more in it to spoil."""
