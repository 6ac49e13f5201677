"""The state of a meta-training: a network with everything that is learned."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nasmeta.networks.network import Network, Parameters
from nasmeta.task import TaskSpec


@dataclass
class MetaState:
    """A network for a task, and everything that meta-training changes.

    parameters: all that the outer optimizer updates, as leaf tensors. Those of the network have the module's
    names; the names of others begin with "meta.".
    statistics: the population moments for the policy `running`; empty until training is over.
    inner_scale, outer_scale: factors of the learning rates of the inner and the outer loop, by parameter name
    (1 if there is none). The inner loop does not change parameters with a factor of 0.
    recording: true while the population moments are collected.
    """

    network: Network
    task: TaskSpec
    parameters: Parameters
    statistics: dict[str, Tensor] = field(default_factory=dict)
    inner_scale: dict[str, float] = field(default_factory=dict)
    outer_scale: dict[str, float] = field(default_factory=dict)
    recording: bool = False

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return next(iter(self.parameters.values())).device

    @property
    def network_parameters(self) -> Parameters:
        """The network's own parameters, without what is meta-learned besides them."""
        return {name: self.parameters[name] for name in self.network.names}

    def set_statistics(self, statistics: dict[str, Tensor]) -> None:
        """Sets the population moments, as `Network.population` returned them."""
        self.network.set_population(statistics)
        self.statistics = statistics

    def load(self, parameters: Parameters, statistics: dict[str, Tensor]) -> None:
        """Loads saved values in place; raises KeyError or RuntimeError if they belong to another network."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(parameters[name])
        self.set_statistics({name: value.to(self.device) for name, value in statistics.items()})

    def to(self, device: torch.device) -> "MetaState":
        """Moves the tensors to `device`; returns this state."""
        self.network.to(device)
        self.parameters = {n: p.detach().to(device).requires_grad_() for n, p in self.parameters.items()}
        self.set_statistics({name: value.to(device) for name, value in self.statistics.items()})
        return self
