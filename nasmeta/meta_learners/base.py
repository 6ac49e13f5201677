"""The contract of a meta-learner, and the state it meta-learns."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.networks.batch_norm import OWN, Policy, Statistics
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Network, Parameters
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import Kind, TaskBatch, TaskSpec

Metrics = dict[str, Tensor]
Gradients = tuple[Parameters, Metrics]
"""A gradient for every meta-learned parameter, and what was measured on the way."""


@dataclass
class MetaState:
    """What meta-training changes.

    parameters: everything the outer optimizer updates, leaf tensors: the network's under the module's
    names, and what is meta-learned with them under names that start with "meta.". statistics: the
    population moments of `running`, empty until training is over; `recording` while they are collected.
    inner_scale, outer_scale: factors of the
    two loops' learning rates by name, 1 where there is none; an inner factor of 0 holds a parameter: no
    inner loop changes it.
    """

    network: Network
    task: TaskSpec
    parameters: Parameters
    statistics: dict[str, Tensor] = field(default_factory=dict)
    inner_scale: dict[str, float] = field(default_factory=dict)
    outer_scale: dict[str, float] = field(default_factory=dict)
    recording: bool = False

    @property
    def network_parameters(self) -> Parameters:
        return {name: self.parameters[name] for name in self.network.names}

    def set_statistics(self, statistics: dict[str, Tensor]) -> None:
        """Adopts population moments, as `Network.population` returned them."""
        self.network.set_population(statistics)
        self.statistics = statistics

    def load(self, parameters: Parameters, statistics: dict[str, Tensor]) -> None:
        """Takes saved values over, in place; raises KeyError or RuntimeError if they are another net's."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(parameters[name])
        device = next(iter(self.parameters.values())).device
        self.set_statistics({name: value.to(device) for name, value in statistics.items()})

    def to(self, device: torch.device) -> "MetaState":
        """The same state with its tensors on `device`."""
        self.network.to(device)
        self.parameters = {n: p.detach().to(device).requires_grad_() for n, p in self.parameters.items()}
        self.set_statistics({name: value.to(device) for name, value in self.statistics.items()})
        return self


class MetaLearner(ABC):
    """How parameters are meta-trained over tasks, and how they adapt to one.

    Instances hold options only; whatever is learned lives in the MetaState. `batch_norm` is the run-wide
    policy that config.py passes in. `train_way` is the way of training episodes where a learner wants
    another than the task's; `task_by_task` is false where a meta-batch is one training set, not a mean over
    tasks; `second_order` true where an inner step is differentiated; `descends` false where the
    meta-gradient is the derivative of no loss; `recordable` false where what is computed depends on values
    that are read on the host, or drawn.
    """

    train_way: int | None = None
    task_by_task = True
    second_order = False
    descends = True
    recordable = True
    kinds: tuple[str, ...] = ("classification", "regression")

    def __init__(self, *, batch_norm: Policy) -> None:
        self.batch_norm = batch_norm

    def check(self, task: TaskSpec) -> None:
        """Raises ConfigError where this learner makes no sense for such tasks."""
        if task.kind not in self.kinds:
            raise ConfigError(
                f"meta_learner: {type(self).__name__} cannot do {task.kind}: {self.refusal}; "
                "use meta_learner=maml, reptile or finetune"
            )

    refusal: str = ""

    def init(self, module: nn.Module, task: TaskSpec) -> MetaState:
        """The state before training: the module's own initial values, as leaf tensors on its device."""
        network = Network(module)
        parameters = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
        state = MetaState(network, task, parameters)
        like = next(iter(parameters.values()))
        for name, value in self.extra_parameters(state).items():
            state.parameters[f"meta.{name}"] = value.to(like.device, like.dtype).requires_grad_()
        return state

    def extra_parameters(self, state: MetaState) -> Parameters:
        """What is meta-learned beside the network, by name; none by default."""
        return {}

    def meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The direction the outer optimizer descends, averaged over the tasks of the batch.

        Returns a gradient for every entry of state.parameters, and scalar tensors on the device ("loss",
        and "accuracy" for classification). Never waits for the device.
        """
        execution = state.network.execution
        pieces = execution.pieces(batch) if self.task_by_task else [list(batch)]

        def gradient_of(piece: list[Tensor]) -> Gradients:
            return self._meta_gradient(state, TaskBatch(*piece), iteration)

        gradients, metrics = Mean(), Mean()
        for piece, result in zip(pieces, execution.map(gradient_of, pieces), strict=True):
            gradients.add(result[0], len(piece[0]))
            metrics.add(result[1], len(piece[0]))
        return gradients.get(), metrics.get()

    def phase(self, iteration: int) -> Hashable:
        """All of the iteration that `meta_gradient` depends on."""
        return None

    @abstractmethod
    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """`meta_gradient` of the tasks that are computed at once: often a single one."""

    def predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Adapts to each task by itself; logits or outputs [T, M, outputs], without a graph.

        Shapes as in TaskBatch. Under `running` a network with batch norms has to have its population
        statistics: see `adopt_population`.
        """
        execution = Execution() if state.recording else state.network.execution
        pieces = execution.pieces([support_x, support_y, query_x])
        return torch.cat(list(execution.map(lambda piece: self._predict(state, *piece), pieces)))

    @abstractmethod
    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """`predict` for the tasks that are computed at once."""

    def solve(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """Adapts to one task: a plain network that answers a query as `predict` does, whatever others come.

        support_x [N, ...], support_y [N], or [N, outputs] for regression. Raises ConfigError under
        `transductive`, where the answer to a query depends on those that it comes with.
        """
        if self.batch_norm == "transductive" and state.network.norms:
            raise ConfigError(
                "batch_norm: transductive normalizes a query by those that it comes with, so no network "
                "answers one alone; use support or running"
            )
        return self._solve(state, support_x, support_y)

    @abstractmethod
    def _solve(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """`solve`, where no answer depends on other queries."""

    def _with_own_head(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> TaskNetwork:
        """The network with adapted parameters, the head's among them."""
        head = parameters["head.weight"], parameters["head.bias"]
        return TaskNetwork(self._body(state, parameters, support_x), *head)

    @torch.no_grad()
    def _body(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> nn.Module:
        """The body with these parameters, which normalizes every query by what the run's policy says."""
        moments = state.statistics
        if self.batch_norm != "running":
            state.network.embed(parameters, support_x, Statistics(record=True))
            moments = state.network.population()
        return state.network.plain_body(parameters, moments)

    def held_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The derivative of the query loss after adaptation by the parameters that the inner loop holds.

        By all of them for a learner without an inner loop. What `meta_gradient` says of them, where that is
        the derivative of a loss.
        """
        return self.meta_gradient(state, batch, iteration)

    def adapted(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        """The network's parameters after the inner loop of a test task: support_x [N, ...], support_y [N].

        Raises ConfigError where the learner has no inner loop that changes the network.
        """
        raise ConfigError(
            f"meta_learner: {type(self).__name__} has no inner loop that adapts the network; "
            "use meta_learner=maml, fomaml or reptile"
        )

    def with_test_steps(self, steps: int) -> Self:
        """The same learner, whose inner loop takes so many steps on a test task."""
        learner = copy(self)
        vars(learner)["test_steps"] = steps
        return learner

    def for_ways(self, state: MetaState, ways: int) -> MetaState:
        """The state for tasks of another number of classes; raises ConfigError where the head fixes it."""
        if ways != state.task.outputs:
            raise ConfigError(
                f"task.way: {type(self).__name__} meta-learned a head of {state.task.outputs} outputs, "
                f"which cannot adapt to {ways} classes"
            )
        return state

    def query_outputs(
        self, state: MetaState, parameters: Parameters, support_x: Tensor, query_x: Tensor, *, test: bool
    ) -> Tensor:
        """Outputs [M, outputs] of a task's queries [M, ...] under the run's batch-norm policy.

        Of T tasks with parameters of their own where all have a first dimension more.
        """
        network = state.network
        if self.batch_norm == "support" and network.norms:
            examples = -1 - len(state.task.input_shape)
            n = support_x.shape[examples]
            images = torch.cat([support_x, query_x], examples)
            return network(parameters, images, Statistics(rows=n))[..., n:, :]
        statistics = self.test_statistics(state) if test and self.batch_norm == "running" else OWN
        return network(parameters, query_x, statistics)

    def joint_statistics(self, state: MetaState, tasks: int, shots: int, *, test: bool) -> Statistics:
        """For a forward pass of all examples of `tasks` tasks, one after the other, each its `shots` first.

        Each task is normalized by its support examples, or by all of its own: also under `running`, until
        there is a population.
        """
        if self.batch_norm == "support":
            return Statistics(tasks=tasks, rows=shots)
        if test and self.batch_norm == "running":
            return self.test_statistics(state)
        return Statistics(tasks=tasks)

    def test_statistics(self, state: MetaState) -> Statistics:
        """The population's under `running`; while these are collected, the batch's, remembered by the norms.

        Raises RuntimeError if there are none: to record them here would keep the moments of every batch, and
        call the batch's statistics the population's.
        """
        if self.lacks_population(state) and not state.recording:
            raise RuntimeError("batch_norm: running has no population statistics; call adopt_population")
        return Statistics(population=not state.recording, record=state.recording)

    def lacks_population(self, state: MetaState) -> bool:
        """Whether queries are to be normalized by population statistics that have not been computed."""
        return self.batch_norm == "running" and bool(state.network.norms) and not state.statistics


def batch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The fraction of right answers over the last dimension of labels: [..., M, way], [..., M] -> [...]."""
    return (logits.argmax(-1) == labels).float().mean(-1)


def adopt_population(learner: MetaLearner, state: MetaState, batches: Iterable[TaskBatch]) -> None:
    """Sets the population statistics of `running` from training tasks, at the state's parameters."""
    if learner.batch_norm != "running" or not state.network.norms:
        return
    state.statistics, state.recording = {}, True
    try:
        for batch in batches:
            learner.predict(state, batch.support_x, batch.support_y, batch.query_x)
    finally:
        state.recording = False
    state.set_statistics(state.network.population())


def gradient(loss: Tensor, parameters: Parameters) -> Parameters:
    """dloss/dparameters by name, without keeping a graph; zeros for those the loss does not depend on."""
    gradients = torch.autograd.grad(
        loss, list(parameters.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, gradients, strict=True))


def task_metrics(kind: Kind, loss: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """The loss, and for classification the accuracy of logits [..., n, way] on labels [..., n]."""
    if kind == "regression":
        return {"loss": loss.detach()}
    return {"loss": loss.detach(), "accuracy": batch_accuracy(outputs.detach(), targets).mean()}


class Mean:
    """The weighted mean of dictionaries of tensors, in the order they come; nothing leaves the device."""

    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}
        self.weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        tensors = [value.detach() for value in values.values()]
        if self.weight:
            torch._foreach_add_(list(self.total.values()), tensors, alpha=weight)
        else:
            self.total = dict(zip(values, torch._foreach_mul(tensors, weight), strict=True))
        self.weight += weight

    def get(self) -> dict[str, Tensor]:
        torch._foreach_div_(list(self.total.values()), self.weight)
        return self.total
