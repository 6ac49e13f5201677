"""An architecture for every task: the inner loop adapts the architecture's parameters as well as the weights.

With MAML this is T-NAS (Lian et al., ICLR 2020, openreview r1eowANFvr, algorithm 1); with Reptile it is
MetaNAS (Elsken et al. 2020, arXiv:1911.11090, algorithm 1). Both meta-learn an initial architecture alpha
besides the initial weights w. The inner loop turns (w, alpha) into (w_task, alpha_task), each with its own
learning rate. At test time, a discrete architecture is read from each task's alpha_task. It inherits the
adapted weights of its operations, may be trained a little longer (`prune_steps`), and answers the queries.
Soft pruning: the temperature of the softmaxes falls during the inner loop, so that the mixture is nearly a
single network when it is cut down to one.

It wraps a learner with an inner loop. A network with a single architecture, such as the reference, is left
to that learner.

Deviations from T-NAS: the authors decode the architecture of one test task, meta-train it from scratch by
first-order MAML on the training tasks, and then adapt it. Here every test task has its own architecture, with
the weights that it adapted. The outer optimizer is one for weights and architecture; theirs for the
architecture is another Adam (betas 0.5 and 0.999, weight decay 0.001).
Deviations from MetaNAS: it alternates steps of w and alpha on two halves of a task's images; here both follow
the gradient on the same images at once, as in T-NAS. In the authors' code,
- operations with weights below 0.05 are dropped, and the others keep their weights; here each edge keeps one
  operation, with a weight of 1;
- the meta-learned weights are pruned as well, at 0.01 every 2,500 meta-iterations; here only a task's are;
- the inner Adam has a weight decay of 0.001 for alpha, and none here;
- the temperature does not fall during the warm-up; here it does, which alters little while alpha is small.
"""

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nasmeta.errors import ConfigError
from nasmeta.meta_learners.base import MetaLearner
from nasmeta.meta_learners.gradients import Gradients
from nasmeta.meta_learners.inner_loop import InnerLoop
from nasmeta.meta_learners.state import MetaState
from nasmeta.networks.network import Network, Parameters
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.search_spaces.relaxation.spec import Adaptation
from nasmeta.task import TaskBatch, TaskSpec


class TaskArchitecture(MetaLearner):
    """A meta-learner that finds an architecture for every task.

    inner: the learner whose inner loop adapts weights and architecture.
    adaptation: the learning-rate factors, temperatures, warm-up and pruning steps of the architecture.
    Raises ConfigError if the inner learner does not adapt the body.
    """

    records_predictions = False  # a task's architecture is read on the host

    def __init__(self, inner: MetaLearner, adaptation: Adaptation) -> None:
        super().__init__(batch_norm=inner.batch_norm)
        if not isinstance(inner, InnerLoop) or getattr(inner, "adapted_part", "all") == "head":
            raise ConfigError(
                "meta_learner: the architecture adapts in an inner loop, and this one has none that changes "
                "the network's body; use meta_learner=maml, fomaml or reptile"
            )
        self.inner, self.adaptation = inner, adaptation
        self.train_way, self.batches_tasks = inner.train_way, inner.batches_tasks
        self.second_order, self.descends = inner.second_order, inner.descends
        self.records_training = inner.records_training

    def check(self, task: TaskSpec) -> None:
        """Raises ConfigError if the inner learner cannot learn such tasks, or an option needs one network."""
        self.inner.check(task)
        if self.adaptation.prune_steps and getattr(self.inner, "learn_inner_lr", False):
            raise ConfigError(
                "strategy.prune_steps: a pruned network has no inner rates, and this learner learns one for "
                "each parameter; use meta_learner.learn_inner_lr=false (meta_learner=maml), or prune_steps=0"
            )
        if self.batch_norm.needs_population:
            raise ConfigError(
                "batch_norm: running averages one network's statistics, and here every task has its own; "
                "use support or transductive"
            )

    def init(self, module: nn.Module, task: TaskSpec) -> MetaState:
        state = self.inner.init(module, task)
        names = architecture_names(state)
        if names:
            state.inner_scale = dict.fromkeys(names, self.adaptation.inner_scale)
            state.outer_scale = dict.fromkeys(names, self.adaptation.outer_scale)
            relaxed: Any = module
            relaxed.edge_sample.temperature = (
                self.adaptation.temperature_start,
                self.adaptation.temperature_end,
            )
        return state

    def extra_parameters(self, state: MetaState) -> Parameters:
        return self.inner.extra_parameters(state)

    def with_num_classes(self, state: MetaState, ways: int) -> MetaState:
        return self.inner.with_num_classes(state, ways)

    def phase(self, iteration: int) -> Hashable:
        return iteration >= self.adaptation.warmup, self.inner.phase(iteration)

    def _meta_gradient(self, state: MetaState, batch: TaskBatch, iteration: int) -> Gradients:
        names = architecture_names(state)
        if iteration >= self.adaptation.warmup or not names:
            return self.inner._meta_gradient(state, batch, iteration)
        held = replace(state, inner_scale=dict.fromkeys(names, 0.0))
        gradients, metrics = self.inner._meta_gradient(held, batch, iteration)
        return {name: each for name, each in gradients.items() if name not in names}, metrics

    def _predict(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        if not architecture_names(state):
            return self.inner._predict(state, support_x, support_y, query_x)
        return torch.stack(
            [self._answer(state, *task) for task in zip(support_x, support_y, query_x, strict=True)]
        )

    def _answer(self, state: MetaState, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """The task's own network on its queries: [M, ...] -> [M, outputs]."""
        _, plain = self.task_network(state, support_x, support_y)
        with torch.no_grad():
            return self.query_outputs(plain, plain.network_parameters, support_x, query_x, test=True)

    def _adapt(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> TaskNetwork:
        if not architecture_names(state):
            return self.inner._adapt(state, support_x, support_y)
        _, plain = self.task_network(state, support_x, support_y)
        return self.network_of(plain, plain.network_parameters, support_x)

    def task_network(self, state: MetaState, support_x: Tensor, support_y: Tensor) -> tuple[Any, MetaState]:
        """The architecture of one task, and the state of its network with adapted weights.

        support_x [N, ...], support_y [N]. Waits for the device, because it reads the architecture.
        """
        relaxed: Any = state.network.module
        parameters = {
            n: p.detach() for n, p in self.inner.adapted_parameters(state, support_x, support_y).items()
        }
        arch = relaxed.derive(parameters)
        plain = plain_state(state, arch, parameters)
        if self.adaptation.prune_steps:
            longer = self.inner.with_test_steps(self.adaptation.prune_steps)
            adapted = longer.adapted_parameters(plain, support_x, support_y)
            plain.parameters = {name: value.detach().requires_grad_() for name, value in adapted.items()}
        return arch, plain


def architecture_names(state: MetaState) -> tuple[str, ...]:
    """The names of a relaxed network's architecture parameters; empty for any other network."""
    return tuple(getattr(state.network.module, "architecture_names", ()))


def plain_state(state: MetaState, arch: Any, parameters: Parameters) -> MetaState:
    """The state of one discrete architecture, with its operations' weights from the relaxed network."""
    relaxed: Any = state.network.module
    device = next(iter(parameters.values())).device
    module = relaxed.discrete(arch).to_empty(device=device)
    values = {
        name: parameters[relaxed.shared_name(arch, name)].detach().requires_grad_()
        for name, _ in module.named_parameters()
    }
    network = Network(module)
    network.execution = state.network.execution
    return MetaState(network, state.task, values)
