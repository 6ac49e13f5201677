"""`nasmeta search --help`: the groups, then the keys of what is chosen, as the YAML files have them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent

from nasmeta.config.conf_dir import config_directory
from nasmeta.config.yaml_files import read_text

GROUP = re.compile(r"^  - (\w+): (\w+) +# (.*)$", re.MULTILINE)
"""A line of the primary configuration's defaults: a group, the option that is chosen, and a description."""

HEAD = """\
usage: nasmeta search [GROUP=OPTION ...] [KEY=VALUE ...] [-m]

Searches, trains the best networks in full, and tests the chosen one once. `-m` runs a sweep: -m seed=0,1,2.
`--cfg job` prints the configuration and runs nothing; `--hydra-help` has the other options of Hydra.
"""


def search_help(arguments: Sequence[str]) -> str:
    """The help text. `arguments` may choose options, whose keys are then shown."""
    typed = dict(argument.partition("=")[::2] for argument in arguments)
    primary = read_text(config_directory() / "search.yaml")
    chosen = {group: (typed.get(group, option), about) for group, option, about in GROUP.findall(primary)}
    width = max(map(len, chosen))
    lines = (f"  {g:<{width}}  {about}: {_options(g, option)}" for g, (option, about) in chosen.items())
    keys = primary.partition("\n\n")[2].partition("\nhydra:")[0]
    parts = [HEAD, "Groups (`nasmeta list GROUP` describes the options; * is chosen):\n", *lines]
    parts += ["\nKeys of every run, with their values:\n", indent(keys.strip(), "  ")]
    for group, (option, _) in chosen.items():
        path = config_directory() / group / f"{option}.yaml"
        if path.is_file() and (own := "\n".join(_keys(path))):
            parts += [f"\nKeys of {group}={option}:\n", indent(f"{group}:\n{indent(own, '  ')}", "  ")]
    return "\n".join(parts)


def _options(group: str, chosen: str) -> str:
    names = sorted(path.stem for path in (config_directory() / group).glob("*.yaml"))
    return ", ".join(f"*{name}" if name == chosen else name for name in names)


def _keys(path: Path) -> Iterator[str]:
    """The lines of an option's file, without those that only Hydra reads and the description."""
    for line in read_text(path).splitlines():
        if not line.startswith(("#", "_target_:")):
            yield line
