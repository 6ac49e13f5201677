"""A hostile journal: what no run writes ends in a one-line error."""

from pathlib import Path
from typing import Any

import pytest

from tests.hostile.makers import Canary, change_journal, copy_of, run


@pytest.mark.parametrize("event", ["asked", "finished"])
@pytest.mark.timeout(60)
def test_architectures_without_end(finished: Path, tmp_path: Path, canary: Canary, event: str) -> None:
    def change(record: dict[str, Any]) -> None:
        if record["event"] == event:
            record["arch"] = "fc16.relu.none_" * 300_000

    directory = change_journal(copy_of(finished, tmp_path / "run"), change)
    for command in ("report", "resume", "compare"):
        outcome = run(canary, directory, command, str(directory))
        assert outcome.code == 2 or command != "report"
        assert "journal.jsonl: line" in outcome.out + outcome.err
