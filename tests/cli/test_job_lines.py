"""Lines of jobs that run side by side."""

import io
import logging
import sys

import pytest

from nasmeta.runtime.job_lines import PrefixedLines, told_apart


def test_every_line_has_the_prefix_and_is_written_whole() -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    lines = PrefixedLines(Stream(), "job 3: ")
    print("a", "b", file=lines)
    lines.write("c\n\nd")
    lines.end()
    lines.end()
    assert written == ["job 3: a b\n", "job 3: c\njob 3: \n", "job 3: d\n"]
    assert not lines.isatty()


def test_messages_and_prints_name_the_job_until_it_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stderr)])
    with told_apart(7):
        logging.getLogger("nasmeta").warning("job 7: one")
        print("two", file=sys.stderr)
        print("three", end="", file=sys.stderr)
    logging.getLogger("nasmeta").warning("four")
    assert capsys.readouterr().err == "job 7: one\njob 7: two\njob 7: three\nfour\n"
