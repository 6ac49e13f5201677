"""What adapting to a task leaves: a plain network, beyond what the contract asks of every option."""

import pytest
import torch

from nasmeta.meta_learners.task_architecture import TaskArchitecture
from nasmeta.networks.policy import BatchNormPolicy
from nasmeta.search_spaces.relaxation.adaptive import ADAPTIVE
from nasmeta.testing.meta_learners import MetaLearnerContract, init
from tests.meta_learners.options import LEARNERS, VARIANTS, learner, short
from tests.meta_learners.test_regression import TASK, Sines, mlp
from tests.meta_learners.test_task_architecture import problem


@pytest.mark.parametrize("policy", [BatchNormPolicy.SUPPORT, BatchNormPolicy.RUNNING])
@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - set(LEARNERS)))
def test_variants_fulfil_the_contract(name: str, policy: BatchNormPolicy) -> None:
    contract = MetaLearnerContract()
    contract.test_a_solution_answers_as_predictions_do_and_each_query_by_itself(short(name, policy), policy)


@pytest.mark.parametrize("name", ["maml", "reptile", "ridge", "finetune", "finetune all"])
def test_regression(name: str) -> None:
    chosen = learner(name, "transductive")  # no norms: no answer depends on another
    state = init(chosen, mlp(), TASK)
    support_x, support_y, query_x, *_ = Sines("test").batch(0, 1)
    expected = chosen.predict(state, support_x, support_y, query_x)[0]
    solution = chosen.adapt(state, support_x[0], support_y[0])
    assert torch.allclose(solution(query_x[0]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prune_steps", [0, 2])
def test_a_task_with_an_architecture_of_its_own(prune_steps: int) -> None:
    fixed = ["meta_learner=fomaml", "meta_learner.learn_inner_lr=false"]
    one = problem(*fixed, "strategy.inner_scale=30", f"strategy.prune_steps={prune_steps}")
    assert isinstance(one.learner, TaskArchitecture)
    state = one.initial_state(ADAPTIVE)
    support_x, support_y, query_x, *_ = one.train.batch(3, 1)
    expected = one.learner.predict(state, support_x, support_y, query_x)[0]
    solution = one.learner.adapt(state, support_x[0], support_y[0])
    assert torch.allclose(solution(query_x[0]), expected, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in solution.parameters()) < sum(p.numel() for p in state.parameters.values())
