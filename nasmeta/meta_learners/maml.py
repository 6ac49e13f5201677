"""Model-agnostic meta-learning (Finn, Abbeel & Levine 2017, arXiv:1703.03400), and its family.

Meta-learns an initialization from which a few gradient steps on the support set solve a task:
theta' = theta - alpha * d L_support(theta) / d theta, and theta descends L_query(theta').

Options give related methods:
- `second_order: false` is first-order MAML (section 5.2 there).
- `adapted_part: head` is ANIL (Raghu et al. 2020), and `adapted_part: body` is BOIL (Oh et al. 2021).
- `learn_inner_lr` is LSLR of MAML++ (Antoniou et al. 2019): a learned rate for each tensor and step.
- `multi_step_iterations` is the multi-step loss of MAML++ (MSL, section 4 there). The weights of its steps
  shift linearly to the last step.
Deviation: test steps beyond the last training step use LSLR's rates of that step.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import reduce
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.gradients import Gradients, gradient, gradient_step, task_loss, task_metrics
from nasmeta.meta_learners.inner_loop import InnerLoop, expanded_per_task, squeezed_if_single
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.forward_pass import Kernels
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import OWN, BatchNormPolicy
from nasmeta.task import TaskBatch


class Maml(InnerLoop):
    """MAML and its relatives. An inner step is a full-batch gradient step on the support set.

    second_order: whether inner steps are differentiated.
    train_steps, test_steps: inner steps in meta-training and on a test task, at least 1.
    inner_lr: alpha, above 0; its initial value if `learn_inner_lr`.
    learn_inner_lr: whether a rate is meta-learned for each tensor and step.
    multi_step_iterations: meta-iterations until only the last query loss counts, at least 0.
    adapted_part: what inner steps change, `all` parameters, the `head`, or the `body`.
    """

    def __init__(
        self,
        *,
        second_order: bool,
        train_steps: Annotated[int, Field(ge=1)],
        test_steps: Annotated[int, Field(ge=1)],
        inner_lr: Annotated[float, Field(gt=0)],
        learn_inner_lr: bool,
        multi_step_iterations: Annotated[int, Field(ge=0)],
        adapted_part: Literal["all", "head", "body"],
        batch_norm: BatchNormPolicy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.second_order = second_order
        self.train_steps, self.test_steps = train_steps, test_steps
        self.inner_lr, self.learn_inner_lr = inner_lr, learn_inner_lr
        self.multi_step_iterations = multi_step_iterations
        self.adapted_part = adapted_part

    def adapted_names(self, state: MetaState) -> tuple[str, ...]:
        network = state.network
        names = {"all": network.names, "head": network.head_names, "body": network.body_names}[
            self.adapted_part
        ]
        if not state.inner_scale:
            return names
        return tuple(name for name in names if state.inner_scale.get(name, 1.0) != 0)

    def extra_parameters(self, state: MetaState) -> Parameters:
        if not self.learn_inner_lr:
            return {}
        return {
            f"inner_lr.{name}": torch.full((self.train_steps,), self.inner_lr)
            for name in self.adapted_names(state)
        }

    def phase(self, iteration: int) -> Hashable:
        return min(iteration, self.multi_step_iterations)

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        """The gradient of the query losses, weighted over inner steps; metrics are of the last step."""
        support_x, support_y, query_x, query_y = squeezed_if_single(batch[:4])
        weights = step_weights(self.train_steps, iteration, self.multi_step_iterations)
        steps = self.inner_steps(
            state, support_x, support_y, self.train_steps, create_graph=self.second_order
        )
        tasks, kind, losses = len(batch.support_x), state.task.kind, []
        for weight, adapted in zip(weights, steps, strict=True):
            if weight > 0:
                outputs = self.query_outputs(state, adapted, support_x, query_x, test=False)
                loss = task_loss(kind, outputs, query_y) / tasks
                losses.append(weight * loss)
        total = reduce(torch.add, losses)
        return gradient(total, state.parameters), task_metrics(kind, loss, outputs, query_y)

    def inner_steps(
        self, state: MetaState, support_x: Tensor, support_y: Tensor, steps: int, *, create_graph: bool
    ) -> Iterator[Parameters]:
        """The network's parameters after each of `steps` gradient steps on the support set."""
        parameters = expanded_per_task(state, support_x)
        forward = self._support_forward(state, parameters, support_x, create_graph=create_graph)
        for step in range(steps):
            state.network.anneal(step / steps)
            loss = task_loss(state.task.kind, forward(parameters), support_y)
            rates = self._rates(state, step)
            if state.inner_scale:
                rates = {name: rate * state.inner_scale.get(name, 1.0) for name, rate in rates.items()}
            parameters = gradient_step(parameters, loss, rates, create_graph=create_graph)
            state.network.anneal((step + 1) / steps)
            yield parameters

    def _support_forward(
        self, state: MetaState, start: Parameters, support_x: Tensor, *, create_graph: bool
    ) -> Callable[[Parameters], Tensor]:
        """The outputs for the support set, as a function of the network's parameters."""
        network, kernels = state.network, Kernels.TWICE if create_graph else Kernels.FUSED
        if self.adapted_part != "head":
            return lambda parameters: network(parameters, support_x, OWN, kernels)
        # The body does not change, so its embeddings are the same at every step.
        embeddings = network.embed(start, support_x, OWN, kernels)
        return lambda parameters: network.classify(parameters, embeddings)

    def _rates(self, state: MetaState, step: int) -> Mapping[str, Tensor | float]:
        """The learning rate of each adapted parameter, by name."""
        names = self.adapted_names(state)
        if not self.learn_inner_lr:
            return dict.fromkeys(names, self.inner_lr)
        step = min(step, self.train_steps - 1)
        return {name: state.parameters[f"meta.inner_lr.{name}"][step] for name in names}

    def adapted_parameters(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        steps = self.inner_steps(state, support_x, support_y, self.test_steps, create_graph=False)
        return deque(steps, maxlen=1).pop()


def step_weights(steps: int, iteration: int, anneal: int) -> list[float]:
    """The weight of each inner step's query loss: equal at first, later only the last (MAML++, section 4).

    Over `anneal` meta-iterations, every weight but the last falls linearly from 1/steps to a floor of
    0.03/steps. After that, the last step has all the weight.
    """
    if iteration >= anneal:
        return [0.0] * (steps - 1) + [1.0]
    early = max(1.0 - iteration / anneal, 0.03) / steps
    return [early] * (steps - 1) + [1.0 - early * (steps - 1)]
