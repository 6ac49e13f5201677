"""One set of weights for all architectures of a space, and the networks made of its parts.

Nothing is masked and no large network ever runs: a sub-network is the plain network of its architecture, and
its parameters are copies of parts of the shared tensors. So every meta-learner can train it, at the cost of
the plain network. Memory is that of the network, plus one copy of the shared weights and what the outer
optimizer keeps for them.

What is meta-learned besides a network's weights is shared in the same way: under the shared name of the
parameter that it belongs to, or of the head if it is as wide as the embedding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasmeta import seeding
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Parameters
from nasmeta.training.problem import Problem


@dataclass(frozen=True)
class Subnetwork:
    """The network of one architecture, and the shared names of its parameters, by their own.

    A parameter is a copy of the leading part of the shared tensor, along every dimension.
    """

    state: MetaState
    shared_names: dict[str, str]

    def scatter(self, gradients: Parameters, into: Parameters, shared: Parameters) -> None:
        """Adds each parameter's gradient in place to its part of the whole shared tensor's gradient.

        The derivative of a part is 1 at the elements it was taken from and 0 elsewhere.
        """
        for name, gradient in gradients.items():
            shared_name = self.shared_names[name]
            if shared_name not in into:
                into[shared_name] = torch.zeros_like(shared[shared_name])
            into[shared_name][leading(gradient)] += gradient


class SharedWeights:
    """The shared tensors, `parameters`, as leaves on the device of `problem`, whose seed initializes them.

    Their initial values are those of new networks of the largest architectures. Along dimensions in which no
    network has all of a tensor (a projection from a width to the same one) they repeat.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sharing = problem.space.sharing(problem.task)
        self.parameters = self._initial()

    def _initial(self) -> Parameters:
        problem = self.problem
        values: Parameters = {}
        shapes: dict[str, list[int]] = {}
        for number, arch in enumerate(self.sharing.largest()):
            with seeding.torch_stream(problem.seed, "supernet", number):
                state = problem.learner.init(problem.space.build(arch, problem.task), problem.task)
            for name, shared in self._names(arch, state).items():
                value = state.parameters[name].detach()
                sizes = shapes.setdefault(shared, list(value.shape))
                shapes[shared] = [max(pair) for pair in zip(sizes, value.shape, strict=True)]
                if shared not in values or value.shape[:1] > values[shared].shape[:1]:
                    values[shared] = value
        return {
            name: _repeated(value, shapes[name]).to(problem.device).requires_grad_()
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
        problem = self.problem
        with torch.device("meta"):  # all initial values would be overwritten
            module = problem.space.build(arch, problem.task)
            execution = problem.execution.resolved(module, problem.device)
            state = problem.learner.init(module, problem.task)
        state.network.allocate(problem.device)
        state.network.execution = execution
        names = self._names(arch, state)
        for name, value in state.parameters.items():
            part = self.parameters[names[name]][leading(value)]
            state.parameters[name] = part.detach().clone().requires_grad_()
        return Subnetwork(state, names)


def leading(like: Tensor) -> tuple[slice, ...]:
    """The index of the leading part of a shared tensor that has the shape of `like`."""
    return tuple(slice(size) for size in like.shape)


def _repeated(value: Tensor, shape: list[int]) -> Tensor:
    """`value`, repeated from its beginning along every dimension in which `shape` is longer."""
    for dim, size in enumerate(shape):
        if value.shape[dim] != size:
            value = value.index_select(dim, torch.arange(size) % value.shape[dim])
    return value.clone()
