"""One set of weights for all architectures of a space, and the networks made of its parts.

Nothing is masked and no large network ever runs: a sub-network is the plain network of its architecture, and
its parameters are copies of parts of the shared tensors. So every meta-learner trains it unchanged, at the
cost of the plain network. Memory is that network's plus one copy of the shared weights (and what the outer
optimizer keeps for them).

What is meta-learned besides a network's weights is shared in the same way: by the shared name of the
parameter that it belongs to, or of the head if it is as wide as the embedding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasmeta import seeding
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Parameters
from nasmeta.search_spaces.base import SearchSpace
from nasmeta.task import TaskSpec

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Part:
    """The leading part of a shared tensor, along every dimension."""

    shared: str
    index: Index


@dataclass(frozen=True)
class Subnetwork:
    """The network of one architecture, and the parts that its parameters (by name) are copies of."""

    state: MetaState
    parts: dict[str, Part]

    def scatter(self, gradients: Parameters, into: Parameters, shared: Parameters) -> None:
        """Adds each parameter's gradient in place to its part of the whole shared tensor's gradient.

        The derivative of a part is 1 at the elements it was taken from and 0 elsewhere.
        """
        for name, gradient in gradients.items():
            part = self.parts[name]
            if part.shared not in into:
                into[part.shared] = torch.zeros_like(shared[part.shared])
            into[part.shared][part.index] += gradient


class SharedWeights:
    """The shared tensors, leaves named `parameters`, on `device`; initialized from `seed` alone.

    Their initial values are those of new networks of the largest architectures. Along dimensions in which no
    network has all of a tensor (a projection from a width to the same one) they repeat.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        learner: MetaLearner,
        task: TaskSpec,
        seed: int,
        device: torch.device,
        execution: Execution,
    ) -> None:
        self.space, self.learner, self.task = space, learner, task
        self.device, self.execution = device, execution
        self.sharing = space.sharing(task)
        self.parameters = self._initial(seed)

    def _initial(self, seed: int) -> Parameters:
        values: Parameters = {}
        shapes: dict[str, list[int]] = {}
        for number, arch in enumerate(self.sharing.largest()):
            with seeding.torch_stream(seed, "supernet", number):
                state = self.learner.init(self.space.build(arch, self.task), self.task)
            for name, shared in self._names(arch, state).items():
                value = state.parameters[name].detach()
                sizes = shapes.setdefault(shared, list(value.shape))
                shapes[shared] = [max(pair) for pair in zip(sizes, value.shape, strict=True)]
                if shared not in values or value.shape[:1] > values[shared].shape[:1]:
                    values[shared] = value
        return {
            name: _repeated(value, shapes[name]).to(self.device).requires_grad_()
            for name, value in values.items()
        }

    def _names(self, arch: Any, state: MetaState) -> dict[str, str]:
        """The shared name of every parameter of a state of `arch`."""
        names = {name: self.sharing.name(arch, name) for name in state.network.names}
        for name in state.parameters.keys() - names.keys():
            kind = next((n for n in state.network.names if name.endswith(f".{n}")), None)
            if kind is not None:
                names[name] = name.removesuffix(kind) + names[kind]
            else:
                names[name] = f"{name}@{names['head.weight']}" if state.parameters[name].dim() else name
        return {name: names[name] for name in state.parameters}

    def subnetwork(self, arch: Any) -> Subnetwork:
        """The network of `arch` with its parts of the weights as they are now.

        Raises ArchitectureError if it cannot be built for the task. Never waits for the device.
        """
        with torch.device("meta"):
            module = self.space.build(arch, self.task)
        execution = self.execution.resolved(module, self.device)
        module.to_empty(device=self.device)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                shared = self.parameters[self.sharing.name(arch, name)]
                parameter.copy_(shared[_leading(parameter)])
        # A learner's draws for its own parameters are overwritten, so any stream will do.
        with seeding.torch_stream(0, "supernet", "overwritten"):
            state = self.learner.init(module, self.task)
        state.network.execution = execution
        parts = {}
        for name, shared_name in self._names(arch, state).items():
            part = parts[name] = Part(shared_name, _leading(state.parameters[name]))
            if name not in state.network.names:
                value = self.parameters[shared_name][part.index].detach().clone()
                state.parameters[name] = value.requires_grad_()
        return Subnetwork(state, parts)


def _leading(like: Tensor) -> Index:
    return tuple(slice(size) for size in like.shape)


def _repeated(value: Tensor, shape: list[int]) -> Tensor:
    """`value`, repeated from its beginning along every dimension in which `shape` is longer."""
    for dim, size in enumerate(shape):
        if value.shape[dim] != size:
            value = value.index_select(dim, torch.arange(size) % value.shape[dim])
    return value.clone()
