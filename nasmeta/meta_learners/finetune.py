"""No meta-learning: ordinary pretraining, then fine-tuning on the support set.

This is the "Baseline" of Chen et al. 2019, "A Closer Look at Few-shot Classification", arXiv:1904.04232. The
body is trained to tell all meta-training classes apart at once, with one linear classifier over them. Each
task gets a new linear head that starts at zero. Full-batch gradient steps on the support set train the head
with the body frozen (`adapted_part: head`), or both together (`adapted_part: all`).
Regression has no classes. The network is trained on the points of all tasks together, as the pretrained
baseline of the MAML paper is (section 5.1), and its head or all of it is fine-tuned.
Deviation from Chen et al.: plain gradient descent on the whole support set, not momentum SGD in
minibatches of four.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nasmeta.meta_learners.base import Gradients, MetaLearner, MetaState, gradient, task_metrics
from nasmeta.networks.batch_norm import Policy
from nasmeta.networks.network import Parameters, all_examples, gradient_step, task_loss
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.task import TaskBatch


class FineTune(MetaLearner):
    """Pretraining, then fine-tuning on each test task.

    test_steps: gradient steps on a test task, at least 1.
    inner_lr: their learning rate, above 0.
    adapted_part: what they change, the new `head` alone or `all` parameters.
    """

    batches_tasks = True  # one training set of all the meta-batch's classes

    def __init__(
        self,
        *,
        test_steps: Annotated[int, Field(ge=1)],
        inner_lr: Annotated[float, Field(gt=0)],
        adapted_part: Literal["head", "all"],
        batch_norm: Policy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.test_steps, self.inner_lr, self.adapted_part = test_steps, inner_lr, adapted_part

    def extra_parameters(self, state: MetaState) -> Parameters:
        if state.task.kind == "regression":
            return {}
        classifier = nn.Linear(state.network.features, state.task.train_classes)
        return {"weight": classifier.weight.detach(), "bias": classifier.bias.detach()}

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        if state.task.kind == "regression":
            return super().with_num_classes(state, ways)
        state.task = replace(state.task, outputs=ways)
        return state

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

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        adapt = self._adapt_head if self.adapted_part == "head" else self._adapt_all
        tasks = zip(support_x, support_y, query_x, strict=True)
        return torch.stack([adapt(state, *task) for task in tasks])

    def _adapt_head(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        shots = len(support_x)
        with torch.no_grad():
            images = torch.cat([support_x, query_x])
            embeddings = state.network.embed(
                state.parameters, images, self.joint_statistics(state, 1, shots, test=True)
            )
        head = self._trained_head(state, embeddings[:shots], support_y)
        return state.network.classify(head, embeddings[shots:]).detach()

    def _trained_head(self, state: MetaState, embeddings: Tensor, support_y: Tensor) -> Parameters:
        head = self._start(state)
        for _ in range(self.test_steps):
            loss = task_loss(state.task.kind, state.network.classify(head, embeddings), support_y)
            head = gradient_step(head, loss, state.network.head_names, self.inner_lr, create_graph=False)
            head = {name: p.detach().requires_grad_() for name, p in head.items()}
        return head

    def _adapt_all(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        parameters = self._trained_whole(state, support_x, support_y)
        with torch.no_grad():
            return self.query_outputs(state, parameters, support_x, query_x, test=True)

    def _trained_whole(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> Parameters:
        parameters = {n: p.detach().requires_grad_() for n, p in state.network_parameters.items()}
        parameters |= self._start(state)
        for _ in range(self.test_steps):
            loss = task_loss(state.task.kind, state.network(parameters, support_x), support_y)
            parameters = gradient_step(
                parameters, loss, state.network.names, self.inner_lr, create_graph=False
            )
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        return parameters

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        if self.adapted_part == "all":
            return self._with_own_head(state, self._trained_whole(state, support_x, support_y), support_x)
        with torch.no_grad():
            statistics = self.joint_statistics(state, 1, len(support_x), test=True)
            embeddings = state.network.embed(state.parameters, support_x, statistics)
        head = self._trained_head(state, embeddings, support_y)
        return self._with_own_head(state, state.network_parameters | head, support_x)

    def _start(self, state: MetaState) -> Parameters:
        """The head that a task starts from: zeros for new classes, the trained head for regression."""
        head = {name: state.parameters[name].detach() for name in state.network.head_names}
        if state.task.kind == "classification":
            ways = state.task.outputs
            head = {name: p.new_zeros(ways, *p.shape[1:]) for name, p in head.items()}
        return {name: p.requires_grad_() for name, p in head.items()}
