"""`nasmeta train ARCH|RUN|CHECKPOINT [overrides] [-m]`: one architecture, trained in full and tested.

It is a `nasmeta search` whose strategy has chosen the architecture already. So directories, sweeps,
resumption, the reference beside it and the report are those of a search.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from nasmeta.cli.arguments import parsed
from nasmeta.cli.search import search
from nasmeta.config.arguments_of_hydra import prepared
from nasmeta.config.as_overrides import MADE_ANEW, as_overrides, literal
from nasmeta.config.overrides import composed, with_todays_keys
from nasmeta.config.schema import GROUPS, OPTION_GROUPS, parse
from nasmeta.config.shipped import GIVEN
from nasmeta.config.tuning import TUNABLE
from nasmeta.errors import ArchitectureError, CheckpointError, ConfigError
from nasmeta.run.directory import RunDirectory, read_config
from nasmeta.runtime.command_lines import SearchCommand, key_of
from nasmeta.search_spaces.joint import AT
from nasmeta.search_spaces.settings import printed
from nasmeta.trained.checkpoint import load_network
from nasmeta.trained.ready import FOLDER, index
from nasmeta.training.trained_network import TrainedNetwork

TRUST = "--trust-code"


def train(arguments: list[str]) -> int:
    """`nasmeta train WHAT ARGUMENT...`, with further arguments in Hydra's syntax.

    WHAT is an architecture's string, with or without settings, or a run directory or checkpoint, whose
    architecture and configuration are then the ones to start from. Of a recipe (experiment=NAME) all counts
    but how it searches. The reference gets settings of its own if WHAT belongs to a run that tuned them, but
    for those that are typed, which both networks have.
    """
    first = next((place for place, word in enumerate(arguments) if not word.startswith("-")), None)
    if first is None or arguments[0] in ("-h", "--help"):
        parsed(["train", *arguments])  # prints the help, or what is wrong
        first = 0
    what, rest = arguments[first], arguments[:first] + arguments[first + 1 :]
    trusted, rest = TRUST in rest, [argument for argument in rest if argument != TRUST]
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    options = [argument for argument in rest if argument not in overrides]
    for key in {key_of(override) for override in overrides} & {"strategy", "evaluator"}:
        raise ConfigError(f"{key}: a training searches nothing; leave it out")
    arch, stored = what, SearchCommand()
    path = FOLDER / f"{what}.pt" if what in index() else Path(what).expanduser()
    recipe = any(override.startswith("experiment=") for override in overrides)
    if path.exists():
        if recipe:
            raise ConfigError(f"experiment: {what} has a configuration of its own; leave one of the two out")
        network = load_network(path, trusted=trusted)
        kept = [group for group in GROUPS if group not in MADE_ANEW]  # how it was found does not matter
        config = parse(with_todays_keys(network.config), trusted=trusted, groups=kept)
        tune = _tuned(network, overrides)
        arch = _with_settings(network, tune)
        stored = SearchCommand(overrides=(*as_overrides(config), f"tune={literal(tune)}"))
    elif os.sep in what or path.suffix == ".pt":
        raise CheckpointError(f"{what}: no such run or checkpoint; name one, or an architecture's string")
    elif recipe:
        stored, overrides = _recipe(overrides)
    words = (*stored.overrides, *overrides)
    if not path.exists() and not any(key_of(word).partition(".")[0] == "tune" for word in words):
        arch, settings = _parts(what)
        typed = {key_of(word) for word in overrides}
        overrides += [each for each in settings if key_of(each) not in typed]
    return search([*options, *stored.changed(overrides, OPTION_GROUPS).overrides, *_chosen(arch)])


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


def _parts(text: str) -> tuple[str, list[str]]:
    """`ARCH @ key=value,...` as architecture and settings; raises ArchitectureError for other keys."""
    arch, found, rest = text.partition(AT)
    settings = rest.split(",") if found else []
    for each in settings:
        if key_of(each).partition(".")[0] not in TUNABLE or "=" not in each:
            raise ArchitectureError(
                f"{text}: got {each!r} as a setting, should be KEY=VALUE of {' or '.join(TUNABLE)}, "
                "as optimizer.lr=0.01; give other overrides as words of their own"
            )
    return arch, settings


def _tuned(network: TrainedNetwork, overrides: Sequence[str]) -> dict[str, Any]:
    """What the run of a checkpoint tunes, by dotted key; {} if it is in no run.

    Without what is typed, and without the keys of a group of which another option is.
    """
    typed = {key_of(override) for override in overrides}
    places = (network.path.parent, network.path.parent.parent)  # of best.pt, and of pareto/NUMBER.pt
    files = [RunDirectory(place).config for place in places]
    file = next((file for file in files if file.is_file()), None)
    if file is None or "tune" in typed:
        return {}
    tune: Mapping[str, Any] = read_config(file).get("tune") or {}
    return {k: values for k, values in tune.items() if not {k, k.partition(".")[0]} & typed}


def _with_settings(network: TrainedNetwork, tune: Mapping[str, Any]) -> str:
    """The network's architecture, with its own values of what is tuned."""
    values = ((key, *key.split(".", 1)) for key in tune)
    settings = [f"{key}={printed(network.config[group][name])}" for key, group, name in values]
    return f"{network.arch}{AT}{','.join(settings)}" if settings else network.arch


def _chosen(arch: str) -> list[str]:
    """Overrides that replace the search by one architecture."""
    return [
        *("evaluator=scratch", "strategy=random", f"strategy._target_={GIVEN}"),
        f"+strategy.architecture={literal(arch)}",
        "budget.final_candidates=1",
    ]
