"""The weights that the networks of the DARTS space share.

Each cell of the network has one set of weights for each operation on each pair of an earlier state and a
node. Stem, input preparations of the cells, and head are shared by all networks. No width varies.
"""

from collections.abc import Collection

from nasmeta.search_spaces.darts.architecture import INPUTS, DartsGenotype


def shared_name(arch: DartsGenotype, name: str, reductions: Collection[int]) -> str:
    """The name of the shared tensor of which `name`, a parameter of the network of `arch`, is a part."""
    place, dot, rest = name.partition(".ops.")  # body.cells.3.ops.5.1.weight
    if not dot:
        return name
    cell = arch.reduce if int(place.rpartition(".")[2]) in reductions else arch.normal
    number, _, parameter = rest.partition(".")
    node, edge = divmod(int(number), 2)
    op, state = cell[node][edge]
    return f"{place}.{state}-{INPUTS + node}.{op}.{parameter}"
