"""Run directories for the reports' tests: real ones made in a second, and copies that are changed."""

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from nasmeta.cli.main import main
from nasmeta.reporting.pages.report import write_report
from nasmeta.reporting.read.load import Run
from nasmeta.reporting.read.rows import Row, Setting
from nasmeta.run import journal
from nasmeta.run.journal import Journal, Record

HOSTILE = "<script>alert(1)</script>"

TABLE = [
    "search_space=conv_small",
    "evaluator=tabular",
    "evaluator.table=fewshot_conv",
    "evaluator.learner=protonet",
    "evaluator.dataset=omniglot-small",
    "budget.search_iterations=300",
    "budget.final_iterations=300",
    "budget.trials=25",
    "device=cpu",
    "logger=none",
    "progress=false",
]
"""Searches on the few-shot table: milliseconds a trial, with params, FLOPs and intervals."""


def table_search(directory: Path, *overrides: str) -> Path:
    assert main(["search", *TABLE, f"hydra.run.dir={directory}", *overrides]) == 0
    return directory


def setting(
    label: str, scores: Sequence[float], ci95: float = 0.01, *, accuracy: bool = True, **numbers: Any
) -> Setting:
    """A setting, called by its label "key=value", with a run for each score."""
    key, _, value = label.partition("=")
    fixed = {"dataset": "Omniglot", "test_data": "1a2b", "way": 5, "shot": 1, "batch_norm": "support"}
    rows = []
    for seed, score in enumerate(scores):
        tested = {"test_accuracy": score if accuracy else None, "test_loss": score, "test_ci95": ci95}
        run = Run(Path(f"{label}-{seed}"), "done", {key: value, "seed": seed})
        rows.append(Row(str(seed), run, {**fixed, **tested, "seed": seed, **numbers}, {}, {key: value}))
    return Setting(tuple(rows))


def records(directory: Path) -> list[Record]:
    return journal.read(directory / "journal.jsonl")[0]


def searched(directory: Path) -> list[Record]:
    """The search's ended trials in their order."""
    return [r for r in records(directory) if r["event"] == "finished" and r["phase"] == "search"]


def summary_of(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "summary.json").read_text())
    return found


def copied(
    source: Path,
    target: Path,
    *,
    lines: int | None = None,
    change: Callable[[Record], Record] = lambda record: record,
    summary: Callable[[dict[str, Any]], dict[str, Any]] = lambda summary: summary,
) -> Path:
    """A copy of a run with the first `lines` of its journal, every record and the summary changed.

    All checksums are right again: it is what somebody else could have written.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("journal.jsonl", "report.html"))
    text = json.dumps(summary(summary_of(source))).encode()
    (target / "summary.json").write_bytes(text)
    with Journal(target / "journal.jsonl") as written:
        for record in records(source)[:lines]:
            if record["event"] == "tested":
                record["checksum"] = zlib.crc32(text)
            values = {k: v for k, v in change(record).items() if k not in ("v", "event")}
            written.append(record["event"], **values)
    return target


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a directory: its bytes and when it was written."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


class Page(HTMLParser):
    """A page of HTML taken apart: its tags with their attributes, its text, and the rows of its tables."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    def row(self, *first: str) -> list[str]:
        """The first row that begins with these cells."""
        return next(row for row in self.rows if row[: len(first)] == list(first))

    def table(self, *header: str) -> list[list[str]]:
        """The rows below the header that begins with these cells."""
        start = self.rows.index(self.row(*header))
        width = len(self.rows[start])
        below = self.rows[start + 1 :]
        ends = next((n for n, row in enumerate(below) if len(row) != width), len(below))
        return below[:ends]

    def addresses(self) -> list[str]:
        """All that the page refers to."""
        names = ("src", "href", "action", "data", "poster", "srcset", "xlink:href")
        return [str(value) for _, attrs in self.tags for name, value in attrs.items() if name in names]


def check_self_contained(page: Page) -> None:
    """Nothing from elsewhere, nothing that runs."""
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "div", "table", "thead",
        "tbody", "tr", "th", "td", "img", "code", "a", "details", "summary", "footer",
        "figure", "figcaption", "br", "span",
    }  # fmt: skip
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert all(address.startswith(("data:image/", "data:text/csv;", "./")) for address in page.addresses())


def page_of(directory: Path, tmp_path: Path, *, trusted: bool = False) -> Page:
    output = tmp_path / "page.html"
    assert write_report(directory, output, trusted=trusted) == output
    page = Page(output)
    check_self_contained(page)
    return page


def figures(page: Page) -> list[str]:
    """What the figures show, without those of what the search preferred and of how all was learned."""
    shown = [str(attrs["alt"]) for tag, attrs in page.tags if tag == "img"]
    return [text for text in shown if not (text.endswith("over the search") or text.startswith("how the"))]
