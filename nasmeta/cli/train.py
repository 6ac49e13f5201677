"""`nasmeta train ARCH|RUN|CHECKPOINT [overrides] [-m]`: one architecture, trained in full and tested.

It is a `nasmeta search` whose strategy has chosen the architecture already. So directories, sweeps,
resumption, the reference beside it and the report are those of a search.
"""

import os
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.cli.arguments import parsed
from nasmeta.cli.search import search
from nasmeta.config.arguments_of_hydra import prepared
from nasmeta.config.as_overrides import as_overrides, literal
from nasmeta.config.overrides import composed, with_todays_keys
from nasmeta.config.schema import CHOSEN, parse
from nasmeta.errors import CheckpointError, ConfigError
from nasmeta.runtime.command_lines import SearchCommand
from nasmeta.trained.checkpoint import load_network
from nasmeta.trained.ready import FOLDER, index

TRUST = "--trust-code"


def train(arguments: list[str]) -> int:
    """`nasmeta train WHAT ARGUMENT...`, with further arguments in Hydra's syntax.

    WHAT is an architecture's string, or a run directory or checkpoint, whose architecture and configuration
    are then the ones to start from. Of a recipe (experiment=NAME) all counts but how it searches.
    """
    if not arguments or arguments[0].startswith("-"):
        parsed(["train", *arguments])  # prints the help, or what is wrong
    what, *rest = arguments
    trusted, rest = TRUST in rest, [argument for argument in rest if argument != TRUST]
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    options = [argument for argument in rest if argument not in overrides]
    arch, stored = what, SearchCommand()
    path = FOLDER / f"{what}.pt" if what in index() else Path(what).expanduser()
    recipe = any(override.startswith("experiment=") for override in overrides)
    if path.exists():
        if recipe:
            raise ConfigError(f"experiment: {what} has a configuration of its own; leave one of the two out")
        network = load_network(path, trusted=trusted)
        arch = network.arch
        stored = SearchCommand(
            overrides=tuple(as_overrides(parse(with_todays_keys(network.config), trusted=trusted)))
        )
    elif os.sep in what or path.suffix == ".pt":
        raise CheckpointError(f"{what}: no such run or checkpoint; name one, or an architecture's string")
    elif recipe:
        stored, overrides = _recipe(overrides)
    return search([*options, *stored.changed(overrides, CHOSEN).overrides, *_chosen(arch)])


def _recipe(overrides: list[str]) -> tuple[SearchCommand, list[str]]:
    """What a recipe and the overrides compose, and the overrides that are left: sweeps, and Hydra's own."""
    fixed: list[str] = []
    left: list[str] = []
    for override in OverridesParser.create().parse_overrides(prepared(overrides)):
        stays = override.is_sweep_override() or override.get_key_element().startswith("hydra.")
        (left if stays else fixed).append(str(override.input_line))
    if any(override.startswith("experiment=") for override in left):
        raise ConfigError("experiment: a training takes the settings of one recipe; name one")
    return SearchCommand(overrides=tuple(as_overrides(parse(composed(fixed), trusted=True)))), left


def _chosen(arch: str) -> list[str]:
    """Overrides that replace the search by one architecture."""
    return [
        *("evaluator=scratch", "strategy=random", "strategy._target_=nasmeta.strategies.given.Given"),
        f"+strategy.architectures={literal([arch])}",
        "budget.final_candidates=1",
    ]
