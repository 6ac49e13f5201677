"""The cell space of DARTS: `DartsSpace` and its genotypes. Importing it does not load torch."""

from nasmeta.search_spaces.darts.architecture import DartsGenotype
from nasmeta.search_spaces.darts.space import DartsSpace

__all__ = ["DartsGenotype", "DartsSpace"]
