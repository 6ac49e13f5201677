"""The checks before a run makes its directory: parts that fit, feasible constraints, intact data."""

from nasmeta.config.schema import Config
from nasmeta.run.composition import Composition
from nasmeta.run.constraints import check_feasible
from nasmeta.task import SPLITS


def ready(config: Config) -> Composition:
    """The composition of a run that can begin, with its data loaded.

    Raises UserError if parts do not fit, if no architecture meets the constraints, or if the data is missing
    or damaged.
    """
    composition = Composition.of(config)
    check_feasible(composition)
    if composition.judges.search.trains_networks():
        for split in SPLITS:
            composition.sampler(split)
    return composition
