"""The canonical string of an mlp architecture, read back.

fc40.relu.none_fc40.relu.layer+skip: layers joined by "_"; a layer is fc<width>.activation.norm, then "+skip".
Letters, digits and `_.+` only: neither a shell nor Hydra's override grammar reads anything into them.
"""

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.mlp.architecture import MlpArchitecture, MlpLayer
from nasmeta.search_spaces.mlp.choices import MlpChoices

EXAMPLE = "fc40.relu.none"


def parse(text: str, choices: MlpChoices) -> MlpArchitecture:
    """The architecture of `choices` whose string is `text`.

    Raises ArchitectureError, in one line, that names the token, its layer, and the nearest valid one.
    """
    layers = text.split("_")
    arch = MlpArchitecture(tuple(_layer(number, layer, choices) for number, layer in enumerate(layers, 1)))
    problem = choices.problem(arch)
    if problem:
        raise ArchitectureError(f"{tokens.quote(text)} is not in the search space: {problem}")
    return arch


def _layer(number: int, text: str, choices: MlpChoices) -> MlpLayer:
    main, plus, part = text.partition("+")
    fields = main.split(".")
    if len(fields) != 3 or not fields[0].startswith("fc") or (plus and not part):
        raise ArchitectureError(
            f"layer {number}: {tokens.quote(text)} is not fc<width>.activation.norm, such as {EXAMPLE}"
        )
    where = f"layer {number} ({tokens.quote(text)}):"
    if plus:
        tokens.name(f"{where} +", part, ["skip"] if choices.skip else [])
    return MlpLayer(
        width=tokens.width(f"{where} width", fields[0].removeprefix("fc"), choices.widths),
        activation=tokens.name(f"{where} activation", fields[1], choices.activations),
        norm=tokens.name(f"{where} norm", fields[2], choices.norms),
        skip=bool(plus),
    )
