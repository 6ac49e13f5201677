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
"""A gradient for every meta-learned parameter, and the metrics of the same pass."""


@dataclass
class MetaState:
    """What meta-training changes.

    parameters: all that the outer optimizer updates, as leaf tensors. The network's have the module's names;
    what is meta-learned besides them has names that start with "meta.".
    statistics: the population moments of `running`; empty until training is over.
    inner_scale, outer_scale: factors of the learning rates of the inner and the outer loop, by parameter name
    (1 if there is none). An inner factor of 0 holds a parameter: the inner loop does not change it.
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
        device = next(iter(self.parameters.values())).device
        self.set_statistics({name: value.to(device) for name, value in statistics.items()})

    def to(self, device: torch.device) -> "MetaState":
        """Moves the tensors to `device`; returns this state."""
        self.network.to(device)
        self.parameters = {n: p.detach().to(device).requires_grad_() for n, p in self.parameters.items()}
        self.set_statistics({name: value.to(device) for name, value in self.statistics.items()})
        return self


class MetaLearner(ABC):
    """How parameters are meta-trained over tasks, and how they adapt to one.

    Instances hold options only; everything that is learned is in the MetaState.

    train_way: the classes of a training episode, if the learner wants another number than the task's.
    batches_tasks: whether a meta-batch is one training set, and not a mean over tasks.
    second_order: true if inner steps are differentiated.
    descends: false if the meta-gradient is not the derivative of a loss.
    graph_capturable: false if the operations depend on values that are read on the host, or drawn.
    kinds: the kinds of tasks that it can learn; `refusal` says why it cannot learn others.
    batch_norm: the run's policy for normalizing queries.
    """

    train_way: int | None = None
    batches_tasks = False
    second_order = False
    descends = True
    graph_capturable = True
    kinds: tuple[str, ...] = ("classification", "regression")

    def __init__(self, *, batch_norm: Policy) -> None:
        self.batch_norm = batch_norm

    def check(self, task: TaskSpec) -> None:
        """Raises ConfigError if this learner cannot learn such tasks."""
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
        """What is meta-learned besides the network, by name; nothing by default."""
        return {}

    def meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The gradient that the outer optimizer descends, averaged over the tasks of the batch.

        Returns a gradient for every entry of state.parameters, and metrics as scalar tensors on the device:
        "loss", and for classification "accuracy". Never waits for the device.
        """
        execution = state.network.execution
        pieces = [list(batch)] if self.batches_tasks else execution.pieces(batch)

        def gradient_of(piece: list[Tensor]) -> Gradients:
            return self._meta_gradient(state, TaskBatch(*piece), iteration)

        gradients, metrics = Mean(), Mean()
        for piece, result in zip(pieces, execution.map(gradient_of, pieces), strict=True):
            gradients.add(result[0], len(piece[0]))
            metrics.add(result[1], len(piece[0]))
        return gradients.get(), metrics.get()

    def phase(self, iteration: int) -> Hashable:
        """What `meta_gradient` depends on of the iteration; equal values mean equal operations."""
        return None

    @abstractmethod
    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """`meta_gradient` for the tasks that are computed at once, often a single one."""

    def predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Adapts to each task by itself; returns logits or outputs [T, M, outputs], without a graph.

        Shapes are those of TaskBatch. Under `running`, a network with batch norms needs its population
        statistics first: see `adopt_population`.
        """
        execution = Execution() if state.recording else state.network.execution
        pieces = execution.pieces([support_x, support_y, query_x])
        return torch.cat(list(execution.map(lambda piece: self._predict(state, *piece), pieces)))

    @abstractmethod
    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """`predict` for the tasks that are computed at once."""

    def adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """Adapts to one task; returns a plain network that answers as `predict` does, each query by itself.

        support_x [N, ...], support_y [N], or [N, outputs] for regression. Raises ConfigError under
        `transductive`, because the answer to a query then depends on the other queries.
        """
        if self.batch_norm == "transductive" and state.network.norms:
            raise ConfigError(
                "batch_norm: transductive normalizes a query by those that it comes with, so no network "
                "answers one alone; use support or running"
            )
        return self._adapt(state, support_x, support_y)

    @abstractmethod
    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """`adapt` after its check; no answer depends on other queries."""

    def _with_own_head(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> TaskNetwork:
        """The network with adapted parameters, which include those of the head."""
        head = parameters["head.weight"], parameters["head.bias"]
        return TaskNetwork(self._body(state, parameters, support_x), *head)

    @torch.no_grad()
    def _body(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> nn.Module:
        """The body with these parameters; it normalizes every query as the run's policy says."""
        moments = state.statistics
        if self.batch_norm != "running":
            state.network.embed(parameters, support_x, Statistics(record=True))
            moments = state.network.population()
        return state.network.plain_body(parameters, moments)

    def frozen_parameter_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The gradient of the query loss after adaptation, for the parameters that the inner loop holds.

        A learner without an inner loop holds all parameters. If the meta-gradient is the derivative of a
        loss, it is this gradient already.
        """
        return self.meta_gradient(state, batch, iteration)

    def adapted_parameters(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        """The network's parameters after the inner loop of a test task: support_x [N, ...], support_y [N].

        Raises ConfigError if the learner has no inner loop that changes the network.
        """
        raise ConfigError(
            f"meta_learner: {type(self).__name__} has no inner loop that adapts the network; "
            "use meta_learner=maml, fomaml or reptile"
        )

    def with_test_steps(self, steps: int) -> Self:
        """A copy of the learner whose inner loop takes `steps` steps on a test task."""
        learner = copy(self)
        vars(learner)["test_steps"] = steps
        return learner

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        """The state for tasks of `ways` classes; raises ConfigError if the head fixes another number."""
        if ways != state.task.outputs:
            raise ConfigError(
                f"task.way: {type(self).__name__} meta-learned a head of {state.task.outputs} outputs, "
                f"which cannot adapt to {ways} classes"
            )
        return state

    def query_outputs(
        self, state: MetaState, parameters: Parameters, support_x: Tensor, query_x: Tensor, *, test: bool
    ) -> Tensor:
        """The outputs [M, outputs] for a task's queries [M, ...] under the run's batch-norm policy.

        For T tasks with their own parameters, every tensor has one more dimension, T, in front.
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
        """The statistics for one pass over all examples of `tasks` tasks, each with its `shots` first.

        Under `support`, a task is normalized by its support examples. Under `transductive`, it is normalized
        by all of its examples; in training, `running` does the same. In testing, `running` uses the
        population's.
        """
        if self.batch_norm == "support":
            return Statistics(tasks=tasks, rows=shots)
        if test and self.batch_norm == "running":
            return self.test_statistics(state)
        return Statistics(tasks=tasks)

    def test_statistics(self, state: MetaState) -> Statistics:
        """The population statistics of `running`; while they are collected, the batch's, which norms record.

        Raises RuntimeError if there are none. Recording them here instead would keep the moments of every
        batch, and would pass the batch's statistics off as the population's.
        """
        if self.lacks_population(state) and not state.recording:
            raise RuntimeError("batch_norm: running has no population statistics; call adopt_population")
        return Statistics(population=not state.recording, record=state.recording)

    def lacks_population(self, state: MetaState) -> bool:
        """Whether queries need population statistics that have not been computed yet."""
        return self.batch_norm == "running" and bool(state.network.norms) and not state.statistics


def batch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of right answers, over the last dimension of labels: [..., M, way], [..., M] -> [...]."""
    return (logits.argmax(-1) == labels).float().mean(-1)


def adopt_population(learner: MetaLearner, state: MetaState, batches: Iterable[TaskBatch]) -> None:
    """Computes the population statistics of `running` from training tasks, at the state's parameters.

    Does nothing under another policy, or if the network has no batch norms.
    """
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
    """dloss/dparameters by name, without a graph; zeros for parameters that the loss does not depend on."""
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
    """The weighted mean of dictionaries of tensors, summed in the order of `add`; it stays on the device."""

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
