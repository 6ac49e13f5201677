"""No meta-learning: ordinary pretraining, then fine-tuning on the support set.

This is the "Baseline" of Chen et al. 2019, "A Closer Look at Few-shot Classification", arXiv:1904.04232. The
body is trained to tell all meta-training classes apart at once, with one linear classifier over them. Each
task gets a new linear head that starts at zero. Full-batch gradient steps on the support set train the head
with the body frozen (`adapted_part: head`), or both together (`adapted_part: all`).
Regression has no classes. The network is trained on the points of all tasks together, as in the pretrained
baseline of the MAML paper (section 5.1), and its head or all of it is fine-tuned.
Deviation from Chen et al.: plain gradient descent on the whole support set, not momentum SGD in
minibatches of four.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nasmeta.meta_learners.gradients import Gradients, gradient, gradient_step, task_loss, task_metrics
from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_head import Head, TaskHead, all_examples
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch


class FineTune(TaskHead):
    """Pretraining, then fine-tuning on each test task.

    test_steps: gradient steps on a test task, at least 1.
    inner_lr: the learning rate of these steps, above 0.
    adapted_part: what the steps change, the new `head` alone or `all` parameters.
    """

    batches_tasks = True  # one training set of all the meta-batch's classes

    def __init__(
        self,
        *,
        test_steps: Annotated[int, Field(ge=1)],
        inner_lr: Annotated[float, Field(gt=0)],
        adapted_part: Literal["head", "all"],
        batch_norm: BatchNormPolicy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.test_steps, self.inner_lr, self.adapted_part = test_steps, inner_lr, adapted_part

    def extra_parameters(self, state: MetaState) -> Parameters:
        if state.task.kind == "regression":
            return {}
        classifier = nn.Linear(state.network.features, state.task.train_classes)
        return {"weight": classifier.weight.detach(), "bias": classifier.bias.detach()}

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        x = all_examples(batch.support_x, batch.query_x)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        if state.task.kind == "regression":
            outputs = state.network(state.parameters, x)
            targets = y.flatten(0, 1)
        else:
            embeddings = state.network.embed(state.parameters, x)
            outputs = F.linear(embeddings, state.parameters["meta.weight"], state.parameters["meta.bias"])
            targets = batch.classes.gather(1, y).flatten()
        loss = task_loss(state.task.kind, outputs, targets)
        return gradient(loss, state.parameters), task_metrics(state.task.kind, loss, outputs, targets)

    def _head(self, state: MetaState, support: Tensor, support_y: Tensor, outputs: int) -> Head:
        def forward(head: Parameters) -> Tensor:
            return state.network.classify(head, support)

        start = {name: p.expand(len(support), *p.shape) for name, p in self._new_head(state).items()}
        head = self._trained(state, start, forward, support_y)
        return head["head.weight"], head["head.bias"]

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        if self.adapted_part == "head":
            return super()._predict(state, support_x, support_y, query_x)
        answers = []
        for x, y, queries in zip(support_x, support_y, query_x, strict=True):
            parameters = self._trained_whole(state, x, y)
            with torch.no_grad():
                answers.append(self.query_outputs(state, parameters, x, queries, test=True))
        return torch.stack(answers)

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        if self.adapted_part == "head":
            return super()._adapt(state, support_x, support_y)
        return self.network_of(state, self._trained_whole(state, support_x, support_y), support_x)

    def shares_body(self, state: MetaState) -> bool:
        return self.adapted_part == "head" and super().shares_body(state)

    def _trained_whole(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        def forward(parameters: Parameters) -> Tensor:
            return state.network(parameters, support_x)

        return self._trained(state, state.network_parameters | self._new_head(state), forward, support_y)

    def _new_head(self, state: MetaState) -> Parameters:
        """The head that a task starts from: zeros for new classes, the trained head for regression."""
        head = {name: state.parameters[name] for name in state.network.head_names}
        if state.task.kind == "regression":
            return head
        return {name: p.new_zeros(state.task.outputs, *p.shape[1:]) for name, p in head.items()}

    def _trained(
        self,
        state: MetaState,
        parameters: Parameters,
        forward: Callable[[Parameters], Tensor],
        support_y: Tensor,
    ) -> Parameters:
        """The parameters after `test_steps` gradient steps on forward(parameters)."""
        for _ in range(self.test_steps):
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
            with torch.enable_grad():
                loss = task_loss(state.task.kind, forward(parameters), support_y)
            rates = dict.fromkeys(parameters, self.inner_lr)
            parameters = gradient_step(parameters, loss, rates, create_graph=False)
        return {name: p.detach() for name, p in parameters.items()}
