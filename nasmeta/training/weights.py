"""The file that the training of a trial leaves, from which a network or another training starts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta import seeding
from nasmeta.config.shipped import option_of
from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Parameters
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.task import TaskSpec
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

    def state(
        self,
        space: SearchSpace[Any],
        learner: MetaLearner,
        task: TaskSpec,
        device: torch.device,
        execution: Execution,
    ) -> MetaState:
        """The state of the network on `device`.

        Raises ConfigError if the learner meta-learns more than there is, and KeyError or RuntimeError if the
        network does not fit.
        """
        arch, seed = space.parse(self.arch), 0  # every initial value is replaced
        state = new_state(lambda: space.build(arch, task), learner, task, seed, device, execution)
        own = [name for name in state.parameters if name.startswith("meta.") and name not in self.parameters]
        if own:
            name, first = option_of("meta_learner", learner), own[0].removeprefix("meta.")
            raise ConfigError(
                f"meta_learner: {name} also meta-learns {first}, which these weights were trained without; "
                f"use the learner that trained them, or train: nasmeta train CHECKPOINT meta_learner={name}"
            )
        state.load(self.parameters, self.statistics)
        return state

    def write(self, path: Path) -> None:
        """Writes what `read` reads."""
        training = {"parameters": self.parameters}
        checkpoint.save_weights(
            path, {"arch": self.arch, "training": training, "statistics": self.statistics}
        )


def new_state(
    build: Callable[[], nn.Module],
    learner: MetaLearner,
    task: TaskSpec,
    seed: int,
    device: torch.device,
    execution: Execution,
) -> MetaState:
    """The state of a new network for `task`, on `device`; `seed` gives the same on every device."""
    with seeding.torch_stream(seed, "init"):
        module = build()
        state = learner.init(module, task)
    state.network.execution = execution.resolved(module, device)
    return state.to(device)
