"""No augmentation."""

from torch import Tensor

from nasmeta.datasets.augment.base import Augmentation, Draws
from nasmeta.datasets.base import EpisodeSampler
from nasmeta.datasets.decode import Preprocessing
from nasmeta.task import TaskSpec


class NoAugmentation(Augmentation):
    """Leaves every input as it is."""

    def check(self, task: TaskSpec) -> None:
        pass

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return images

    def augmented(
        self, sampler: EpisodeSampler, preprocessing: Preprocessing | None, seed: int
    ) -> EpisodeSampler:
        return sampler
