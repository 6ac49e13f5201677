"""The contract of a meta-learner."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.gradients import Gradients, Mean, laid_out_as
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.execution import Execution
from nasmeta.networks.network import Network, Parameters
from nasmeta.networks.policy import BatchNormPolicy, Statistics
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch, TaskSpec


class MetaLearner(ABC):
    """How parameters are meta-trained over tasks, and how they adapt to one.

    Instances hold options only; everything that is learned is in the MetaState.

    train_way: the number of classes in a training episode; None: as many as the task has.
    batches_tasks: whether all tasks of a meta-batch are one training set, with a label for each class.
    second_order: whether inner steps are differentiated.
    descends: whether the meta-gradient is the derivative of a loss.
    records_training, records_predictions: whether a CUDA graph can record a meta-gradient, or predictions.
    Their operations must not depend on values that are read on the host, or drawn.
    distance_logits: whether logits are minus squared distances from the mean embeddings of classes.
    kinds: the kinds of tasks that it can learn; `refusal` says why it cannot learn others.
    batch_norm: the run's policy for normalizing queries.
    """

    train_way: int | None = None
    batches_tasks = False
    second_order = False
    descends = True
    records_training = True
    records_predictions = True
    distance_logits = False
    kinds: tuple[str, ...] = ("classification", "regression")
    refusal = ""

    def __init__(self, *, batch_norm: BatchNormPolicy) -> None:
        self.batch_norm = batch_norm

    def check(self, task: TaskSpec) -> None:
        """Raises ConfigError if this learner cannot learn such tasks."""
        if task.kind not in self.kinds:
            raise ConfigError(
                f"meta_learner: {type(self).__name__} cannot do {task.kind}: {self.refusal}; "
                "use meta_learner=maml, reptile or finetune"
            )

    def init(self, module: nn.Module, task: TaskSpec) -> MetaState:
        """The state before training: copies of the module's initial values, as leaf tensors."""
        network = Network(module)
        parameters = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
        state = MetaState(network, task, parameters)
        like = next(iter(parameters.values()))
        for name, value in self.extra_parameters(state).items():
            state.parameters[f"meta.{name}"] = value.to(like.device, like.dtype).requires_grad_()
        return state

    def extra_parameters(self, state: MetaState) -> Parameters:
        """The initial values of what is meta-learned besides the network, by name; by default nothing."""
        return {}

    def meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The gradient that the outer optimizer descends, averaged over the tasks of the batch.

        Returns a gradient for every entry of state.parameters that learns at this iteration, with its shape
        and strides, and metrics as scalar tensors on the device: "loss", and for classification "accuracy".
        Never waits for the device.
        """
        execution = state.network.execution
        pieces = [list(batch)] if self.batches_tasks else execution.pieces(batch)

        def gradient_of(piece: list[Tensor]) -> Gradients:
            return self._meta_gradient(state, TaskBatch(*piece), iteration)

        gradients, metrics = Mean(), Mean()
        for piece, result in zip(pieces, execution.map(gradient_of, pieces), strict=True):
            gradients.add(result[0], len(piece[0]))
            metrics.add(result[1], len(piece[0]))
        mean = gradients.get()
        return {name: laid_out_as(state.parameters[name], mean[name]) for name in mean}, metrics.get()

    def phase(self, iteration: int) -> Hashable:
        """The part of `iteration` that `meta_gradient` depends on; equal phases do equal operations."""
        return None

    @abstractmethod
    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """`meta_gradient` for those tasks of a batch that are computed at once, often a single one."""

    def predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """Adapts to each task separately; returns logits or outputs [T, M, outputs], without a graph.

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
        """Adapts to one task; returns a plain network with the answers of `predict`, one query at a time.

        support_x [N, ...], support_y [N], or [N, outputs] for regression. Raises ConfigError if the answer to
        a query depends on the other queries.
        """
        if self.depends_on_companions(state):
            raise ConfigError(
                "batch_norm: transductive normalizes a query by those that come with it, so a network "
                "cannot answer a single one; use support or running"
            )
        return self._adapt(state, support_x, support_y)

    def depends_on_companions(self, state: MetaState) -> bool:
        """Whether the answer to a query depends on the other queries of the same call."""
        return self.batch_norm.depends_on_companions and bool(state.network.norms)

    @abstractmethod
    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        """`adapt` after its check; no answer depends on other queries."""

    def network_of(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> TaskNetwork:
        """The plain network with a task's adapted parameters."""
        head = parameters["head.weight"], parameters["head.bias"]
        return TaskNetwork(self._body(state, parameters, support_x), *head)

    @torch.no_grad()
    def _body(self, state: MetaState, parameters: Parameters, support_x: Tensor) -> nn.Module:
        """The body with these parameters; it normalizes every query as the run's policy says."""
        moments = state.statistics
        if not self.batch_norm.needs_population:
            state.network.embed(parameters, support_x, Statistics(record=True))
            moments = state.network.population()
        return state.network.plain_body(parameters, moments)

    def frozen_parameter_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The gradient of the query loss after adaptation, for parameters that the inner loop leaves alone.

        If the meta-gradient is the derivative of a loss, it is this gradient already.
        """
        return self.meta_gradient(state, batch, iteration)

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        """The state for tasks of `ways` classes; raises ConfigError if the head fixes another number."""
        if ways != state.task.outputs:
            raise ConfigError(
                f"task.way: the head was meta-learned for {state.task.outputs} outputs, and cannot adapt "
                f"to {ways} classes"
            )
        return state

    def query_outputs(
        self, state: MetaState, parameters: Parameters, support_x: Tensor, query_x: Tensor, *, test: bool
    ) -> Tensor:
        """The outputs [M, outputs] for a task's queries [M, ...] under the run's batch-norm policy.

        For T tasks with their own parameters, every tensor has one more dimension, T, in front.
        """
        examples = -1 - len(state.task.input_shape)
        shots = support_x.shape[examples]
        statistics = self.statistics(state, shots=shots, test=test)
        if statistics.rows is None or not state.network.norms:
            return state.network(parameters, query_x, statistics)
        images = torch.cat([support_x, query_x], examples)
        return state.network(parameters, images, statistics)[..., shots:, :]

    def statistics(self, state: MetaState, *, shots: int, tasks: int = 1, test: bool) -> Statistics:
        """The statistics of a pass over the queries of `tasks` tasks, as BatchNormPolicy.statistics says.

        Training does not use population statistics. While they are collected, norms record those of each
        batch. Raises RuntimeError if a test needs them and there are none, rather than use the batch's own.
        """
        if state.recording:
            return replace(self.batch_norm.in_training.statistics(shots, tasks), record=test)
        if test and self.lacks_population(state):
            raise RuntimeError("batch_norm: running has no population statistics; call adopt_population")
        policy = self.batch_norm if test else self.batch_norm.in_training
        return policy.statistics(shots, tasks)

    def lacks_population(self, state: MetaState) -> bool:
        """Whether queries need population statistics that have not been computed yet."""
        return self.batch_norm.needs_population and bool(state.network.norms) and not state.statistics


def adopt_population(learner: MetaLearner, state: MetaState, batches: Iterable[TaskBatch]) -> None:
    """Computes the population statistics of the state's parameters from training tasks.

    Does nothing if the policy does not need them, or if the network has no batch norms.
    """
    if not learner.batch_norm.needs_population or not state.network.norms:
        return
    state.statistics, state.recording = {}, True
    try:
        for batch in batches:
            learner.predict(state, batch.support_x, batch.support_y, batch.query_x)
    finally:
        state.recording = False
    state.set_statistics(state.network.population())
