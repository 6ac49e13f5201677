"""The cell space of DARTS: `DartsSpace`, its genotypes, and nothing that loads torch."""

from nasmeta.search_spaces.darts.architecture import DartsGenotype
from nasmeta.search_spaces.darts.space import DartsSpace

__all__ = ["DartsGenotype", "DartsSpace"]
