"""The page of a sweep, and of a folder of runs and sweeps."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from nasmeta.reporting.numbers import human, percent
from nasmeta.reporting.pages.report import write_report
from nasmeta.run.manifest import MANIFEST
from tests.reporting.stored_runs import HOSTILE, Page, check_self_contained, figures, page_of, summary_of


def test_a_sweep_is_a_table_of_its_jobs(sweep: Path, tmp_path: Path) -> None:
    page = page_of(sweep, tmp_path)
    assert re.search(r"6 of 6 runs .* strategy=", page.text)
    assert page.text.strip().startswith("Sweep over seed, strategy, 20")
    rows = page.table("run", "seed", "strategy")
    for number, row in enumerate(rows):
        best = summary_of(sweep / str(number))["best"]
        assert row[:4] == [
            str(number),
            str(number // 3),
            ("random", "evolution", "nsga2")[number % 3],
            percent(best["test_accuracy"], best["test_ci95"]),
        ]
        assert human(best["params"]) in row
    means = page.table("setting", "test")
    for n, (setting, test, *_, runs) in enumerate(means):
        found = [summary_of(sweep / str(job))["best"]["test_accuracy"] for job in (n, n + 3)]
        error = abs(found[0] - found[1]) / 2  # the deviation of two, by the root of two
        assert setting == ("strategy=random", "strategy=evolution", "strategy=nsga2")[n]
        assert test == percent(sum(found) / 2, 12.706 * error)
        assert runs == "2"
    assert len(figures(page)) == 2


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_runs_and_sweeps_has_a_page(sweep: Path, table_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all of them"
    shutil.copytree(sweep, folder / "sweep")
    shutil.copytree(table_run, folder / "run")
    page = page_of(folder, tmp_path)
    assert page.text.strip().startswith("Runs in all of them")
    assert "7 of 7 runs are done" in page.text
    assert [row[0] for row in page.table("run")] == ["run", *(f"sweep/{n}" for n in range(6))]


@pytest.mark.usefixtures("undrawn")
def test_a_sweeps_page_links_the_pages_of_its_jobs(sweep: Path, tmp_path: Path) -> None:
    changed = tmp_path / "sweep"
    shutil.copytree(sweep, changed)
    odd = "javascript:alert(1) \"'<"
    os.rename(changed / "1", changed / odd)
    plan = json.loads((changed / MANIFEST).read_text())
    plan["jobs"][1]["directory"] = odd
    plan["jobs"][2].update(status="failed", reason=HOSTILE)
    shutil.rmtree(changed / "2")
    (changed / MANIFEST).write_text(json.dumps(plan))
    for job in ("0", odd):
        write_report(changed / job, None, trusted=False)
    write_report(changed, None, trusted=False)
    page = Page(changed / "report.html")
    check_self_contained(page)
    links = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]
    assert links == ["./0/report.html", "./javascript%3Aalert%281%29%20%22%27%3C/report.html"]
    assert page.row("2", HOSTILE)
    assert HOSTILE not in (changed / "report.html").read_text()
    assert re.search(r"5 of 6 runs .*\(1 failed\)", page.text)
    write_report(changed, tmp_path / "elsewhere.html", trusted=False)
    assert "./sweep/0/report.html" in Page(tmp_path / "elsewhere.html").addresses()
