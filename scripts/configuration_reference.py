#!/usr/bin/env -S python3
"""Writes docs/configuration.md from the YAML files under conf/: every key, its default, and its comment.

`scripts/configuration_reference.py` rewrites the page. `--check` only says whether it is current; the exit
code is 1 if it is not. A test runs the check, so a key cannot be added without its line in the reference.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
GROUP = re.compile(r"^  - (\w+): (\w+) +# (.*)$", re.MULTILINE)
"""A line of the defaults list: a group, the option that is chosen, and what the group is for."""

HEAD = """\
# Configuration

<!-- Written by scripts/configuration_reference.py from conf/: do not edit by hand. -->

Every key of `nasmeta search`, with its default. Set a key with `key=value`, choose an option of a group with
`group=option`: `nasmeta search strategy=random budget.trials=30`. `nasmeta search --cfg job` prints the
configuration that a command would run, and runs nothing. A key marked *required* has no default.
"""


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """(dotted key, default, comment) of every value in a YAML document, in the order of the document."""
    node = yaml.compose(text)
    if isinstance(node, yaml.MappingNode):
        yield from _rows(node, "", text.splitlines())


def _rows(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from _rows(value, f"{prefix}{key.value}.", lines)
            continue
        line, end = key.start_mark.line, value.end_mark
        rest = lines[line][end.column :] if end.line == line else lines[line]  # a list may take several lines
        _, _, comment = rest.partition("#")
        comment = comment or " ".join(_comments_above(lines, line))
        yield prefix + key.value, _default(value, lines), comment.strip()


def _comments_above(lines: list[str], line: int) -> list[str]:
    above = list(takewhile(lambda text: text.lstrip().startswith("#"), reversed(lines[:line])))
    return [text.lstrip("# ") for text in reversed(above)]


def _default(value: yaml.Node, lines: list[str]) -> str:
    """The value as it is written; "required" for `???`."""
    start, end = value.start_mark, value.end_mark
    if start.line == end.line:
        written = lines[start.line][start.column : end.column]
    else:
        written = str(yaml.safe_load(yaml.serialize(value)))
    return "*required*" if written == "???" else f"`{written}`"


def table(name: str, text: str, prefix: str = "") -> str:
    """The Markdown table of one file, below the first comment line of the file."""
    comments = (line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    about = next((comment for comment in comments if not comment.startswith("@")), "")
    keys = [
        row
        for row in rows(text)
        if row[0] not in ("_target_", "defaults") and not row[0].startswith("hydra.")
    ]
    body = "".join(
        f"| `{prefix}{key}` | {_cell(default)} | {_cell(comment)} |\n" for key, default, comment in keys
    )
    base = [entry for entry in ((yaml.safe_load(text) or {}).get("defaults") or []) if isinstance(entry, str)]
    inherited = f" Besides these keys it has those of `{base[0]}`." if base and base[0] != "_self_" else ""
    heading = f"\n### {name}\n\n{about[:1].upper()}{about[1:]}.{inherited}\n"
    return heading + ("\n| key | default | meaning |\n| --- | --- | --- |\n" + body if body else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    """The whole of docs/configuration.md."""
    conf = ROOT / "conf"
    primary = table("", (conf / "search.yaml").read_text(encoding="utf-8")).split("\n\n", 2)[2]
    parts = [HEAD, "\n## Keys of every run\n\n", primary]
    for group, option, about in GROUP.findall((conf / "search.yaml").read_text(encoding="utf-8")):
        if option == "null":
            continue
        parts.append(f"\n## {group}: {about}\n\nThe default is `{group}={option}`.\n")
        for path in sorted((conf / group).glob("*.yaml")):
            prefix = {"logger": f"logger.{path.stem}.", "target": ""}.get(group, f"{group}.")
            parts.append(table(f"`{group}={path.stem}`", path.read_text(encoding="utf-8"), prefix))
    return "".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is current")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(
        f"{PAGE.relative_to(ROOT)} is not what conf/ says: run scripts/configuration_reference.py",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
