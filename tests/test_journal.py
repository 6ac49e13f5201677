import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmeta.errors import RunDirectoryError
from nasmeta.run.journal import Journal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(VALUES, max_size=5))
def test_what_is_appended_is_read_back(values: list) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as journal:
            for value in values:
                journal.append("asked", value=value)
        with Journal(path) as journal:
            assert [record["value"] for record in journal.records] == values


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_cut_off_and_the_next_line_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("asked", trial=0)
        journal.append("asked", trial=1)
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path) as journal:
        assert [record["trial"] for record in journal.records] == [0]
        journal.append("asked", trial=2)
    with Journal(path) as journal:
        assert [record["trial"] for record in journal.records] == [0, 2]


def test_every_flipped_byte_of_an_earlier_line_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append("asked", trial=0, arch="conv3-64")
        journal.append("asked", trial=1, arch="conv3-64")
    whole = path.read_bytes()
    for position in range(whole.index(b"\n")):
        damaged = bytearray(whole)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        with pytest.raises(RunDirectoryError, match="line 1 "):
            Journal(path)
        assert path.read_bytes() == damaged, "a journal that cannot be read is left as it is"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    import zlib

    body = json.dumps({"v": 99, "event": "asked"}, separators=(",", ":"))
    line = f'{{"crc":"{zlib.crc32(body.encode()):08x}",{body[1:]}\n'
    (tmp_path / "journal.jsonl").write_text(line)
    with pytest.raises(RunDirectoryError, match="format 99"):
        Journal(tmp_path / "journal.jsonl")


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk; it needs a process of its own."""
    import subprocess
    import sys

    script = f"""
import resource, signal
from pathlib import Path
from nasmeta.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from nasmeta.run.journal import Journal
journal = Journal(Path({str(tmp_path / "j")!r}))
journal.append("asked", trial=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    journal.append("asked", arch="x" * 500)
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    with Journal(tmp_path / "j") as journal:
        assert [record["trial"] for record in journal.records] == [0]
