"""The benchmark's string of a cell, read back.

|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|: the nodes after the input
joined by "+"; for each node, every earlier one with the operation on the edge from it. A shell needs quotes.
"""

import re

from nasmeta.errors import ArchitectureError
from nasmeta.search_spaces import tokens
from nasmeta.search_spaces.nasbench201.architecture import EDGES, OPERATIONS, Nasbench201Cell

FORM = re.compile(r"\|(.*?)~0\|\+\|(.*?)~0\|(.*?)~1\|\+\|(.*?)~0\|(.*?)~1\|(.*?)~2\|", re.DOTALL)


def parse(text: str) -> Nasbench201Cell:
    """The cell whose string is `text`; raises ArchitectureError that says which edge is wrong."""
    match = FORM.fullmatch(text)
    if not match:
        raise ArchitectureError(
            f"{tokens.quote(text)} is no NAS-Bench-201 cell: |op~0|+|op~0|op~1|+|op~0|op~1|op~2| is one, "
            f"each op one of {', '.join(OPERATIONS)}"
        )
    for (source, target), op in zip(EDGES, match.groups(), strict=True):
        if op not in OPERATIONS:
            tokens.name(f"edge {source}->{target}: operation", op, OPERATIONS)
    return Nasbench201Cell(match.groups())
