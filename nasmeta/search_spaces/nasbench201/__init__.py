"""The cell space of NAS-Bench-201: `Nasbench201Space` and its cells. It does not load torch."""

from nasmeta.search_spaces.nasbench201.architecture import Nasbench201Cell
from nasmeta.search_spaces.nasbench201.space import Nasbench201Space

__all__ = ["Nasbench201Cell", "Nasbench201Space"]
