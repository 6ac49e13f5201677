"""The file that the training of a trial leaves, from which a network or another training starts."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Parameters
from nasmeta.training import checkpoint


@dataclass(frozen=True)
class Weights:
    """The tensors of a meta-learned network, by name.

    arch: the architecture's canonical string. parameters: all that was meta-learned. statistics: the
    population moments of its batch norms; empty if it has none.
    """

    arch: str
    parameters: Parameters
    statistics: dict[str, Tensor]

    @classmethod
    def of(cls, arch: str, state: MetaState) -> "Weights":
        """The current values of a state."""
        return cls(arch, {name: p.detach() for name, p in state.parameters.items()}, state.statistics)

    @classmethod
    def read(cls, path: Path) -> "Weights":
        """Reads the file of a trial. Raises CheckpointError if it is missing or damaged."""
        saved = checkpoint.load_weights(path)
        with checkpoint.fitting(path):
            return cls(saved["arch"], saved["training"]["parameters"], saved["statistics"])

    def write(self, path: Path) -> None:
        """Writes what `read` reads."""
        training = {"parameters": self.parameters}
        checkpoint.save_weights(
            path, {"arch": self.arch, "training": training, "statistics": self.statistics}
        )
