"""A NAS-Bench-201 cell decided edge by edge. An edge is a kind of its own: no two play the same part."""

from nasmeta.search_spaces.decisions import Choose
from nasmeta.search_spaces.nasbench201.architecture import EDGES, OPERATIONS, Nasbench201Cell

DECISIONS: dict[str, tuple[object, ...]] = {f"{source}->{target}": OPERATIONS for source, target in EDGES}


def decide(choose: Choose) -> Nasbench201Cell:
    """Any operation on any edge."""
    return Nasbench201Cell(tuple(choose(edge, OPERATIONS) for edge in DECISIONS))
