"""Names that somebody else chose, in a terminal and in a spreadsheet."""

import logging

import pytest

from nasmeta.runtime.text import MAX_MESSAGE, PrintableFormatter, csv_cell, message, printable


@pytest.mark.parametrize(
    "text, safe",
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\u3000=1", "'\u3000=1"),
        ("\xa0@x", "'\xa0@x"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20x", "'\uff20x"),
        ("a;=1", "a;'=1"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\n=1", "a\\n=1"),
        ("c1=c2-c3@x", "c1=c2-c3@x"),
        ("plain name.png", "plain name.png"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_no_cell_is_a_formula(text: object, safe: object) -> None:
    assert csv_cell(text) == safe


def test_no_text_steers_a_terminal() -> None:
    hostile = "a\x1b]0;title\x07\x9b2J\r\n\u2028\u202egnp.\udcff"
    assert printable(hostile) == "a\\x1b]0;title\\x07\\x9b2J\\r\\n\\u2028\\u202egnp.\\udcff"
    family = "é ö 漢字 \U0001f468\u200d\U0001f469"  # joined by a zero-width joiner, which is harmless
    assert printable(family) == family


def test_no_log_line_steers_a_terminal() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s: left out\nsecond line", ("a\x1b[2J",), None)
    assert PrintableFormatter("%(message)s").format(record) == "a\\x1b[2J: left out\nsecond line"


def test_no_name_begins_a_log_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s: %d of %.1f", ("a\nb", 2, 3.0), None)
    assert PrintableFormatter("%(message)s").format(record) == "a\\nb: 2 of 3.0"


def test_a_message_has_an_end() -> None:
    long = "what is wrong: " + "\x1b" * 5_000_000 + ": what to do"
    assert len(message(long)) < 5 * MAX_MESSAGE
    assert message(long).startswith("what is wrong: \\x1b")
    assert message(long).endswith("\\x1b: what to do")
    assert "characters left out" in message(long)
    assert message("x" * MAX_MESSAGE) == "x" * MAX_MESSAGE
    record = logging.LogRecord("", logging.INFO, "", 0, f"one\n{long}", None, None)
    assert PrintableFormatter("%(message)s").format(record) == f"one\n{message(long)}"
