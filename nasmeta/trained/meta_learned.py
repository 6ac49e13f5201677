"""What a classifier needs of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from nasmeta.datasets.decode import Preprocessing
from nasmeta.errors import CheckpointError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.runtime.device import pick
from nasmeta.trained.checkpoint import load_network, warn_if_provisional
from nasmeta.training.calibration import UNCALIBRATED, Calibration
from nasmeta.training.trained_network import TrainedNetwork


@dataclass(frozen=True)
class MetaLearned:
    """A checkpoint that was read for a classifier: the network with all that using it needs.

    provisional: whether the network is a candidate of a search that was not trained in full.
    """

    learner: MetaLearner
    state: MetaState
    preprocessing: Preprocessing
    arch: str
    provisional: bool
    calibration: Calibration = UNCALIBRATED

    @classmethod
    def load(cls, path: Path, *, device: str, trusted: bool) -> "MetaLearned":
        """Raises CheckpointError and ConfigError as `FewShotClassifier.load`."""
        network = load_network(path, trusted=trusted)
        found = cls.of(network, network.learner, network.state(pick(device, "fp32")))
        warn_if_provisional(network)
        return found

    @classmethod
    def of(cls, network: TrainedNetwork, learner: MetaLearner, state: MetaState) -> "MetaLearned":
        """The loaded network, used by this learner. Raises CheckpointError as `FewShotClassifier.load`."""
        if network.preprocessing is None:
            raise CheckpointError(
                f"{network.path}: was meta-learned on {network.task.kind} tasks without image files; a "
                "classifier needs dataset=image_folder, omniglot or strokes"
            )
        if learner.lacks_population(state):
            raise CheckpointError(
                f"{network.path}: has no statistics for batch_norm=running; train it with that policy"
            )
        calibration = network.calibration or UNCALIBRATED
        return cls(learner, state, network.preprocessing, network.arch, network.provisional, calibration)
