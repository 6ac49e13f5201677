"""R2-D2: ridge regression as the head (Bertinetto, Henriques, Torr & Vedaldi 2019, arXiv:1805.08136).

A task's head is the exact solution of ridge regression from the embeddings of its support set to one-hot
targets: W = (X'X + lambda I)^-1 X'Y (eq. 4 there), or X'(XX' + lambda I)^-1 Y (eq. 5, by Woodbury's identity)
if that system is smaller (N x N for N support examples). The query loss is differentiated through the
solution. A query's logits are alpha * xW + beta (eq. 6). lambda, alpha and beta are meta-learned with the
body; lambda is learned as its logarithm, so it stays positive. A constant feature gives the head a bias, as
in the authors' code. beta is there because the paper has it: it shifts all logits of a query alike, which
does not change a softmax. As in the paper, training episodes may have more classes than test tasks
(`train_way`).
Deviations: the authors draw the shots of a training episode at random; here they are the task's. Their code
divides X and Y by the square root of N, so that lambda counts N times as much, and their experiments fix it
at 50; here it is not scaled, and it is learned from `lambda_init` on.
Regression uses its targets unchanged and needs neither alpha nor beta, so only lambda is learned.

Choose it if MAML's steps are too slow or ProtoNet's class means too coarse: with several shots, or for
regression.
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nasmeta.meta_learners.state import MetaState
from nasmeta.meta_learners.task_head import Head, TaskHead
from nasmeta.networks.network import Parameters
from nasmeta.networks.policy import BatchNormPolicy


class Ridge(TaskHead):
    """Ridge regression as the head.

    lambda_init, alpha_init: the initial values of lambda and alpha, above 0; beta starts at 0.
    train_way: classes of a training episode, at least 2 (None: as many as a test task has).
    """

    def __init__(
        self,
        *,
        lambda_init: Annotated[float, Field(gt=0)],
        alpha_init: Annotated[float, Field(gt=0)],
        train_way: Annotated[int, Field(ge=2)] | None,
        batch_norm: BatchNormPolicy,
    ) -> None:
        super().__init__(batch_norm=batch_norm)
        self.lambda_init, self.alpha_init = lambda_init, alpha_init
        self.train_way = train_way

    def extra_parameters(self, state: MetaState) -> Parameters:
        learned = {"log_lambda": torch.tensor(math.log(self.lambda_init))}
        if state.task.kind == "classification":
            learned |= {"alpha": torch.tensor(self.alpha_init), "beta": torch.tensor(0.0)}
        return learned

    def _head(self, state: MetaState, support: Tensor, support_y: Tensor, outputs: int) -> Head:
        penalty = state.parameters["meta.log_lambda"].exp()
        support = F.pad(support, (0, 1), value=1.0)
        if state.task.kind == "regression":
            solution = ridge_weights(support, support_y, penalty).mT
            return solution[..., :-1], solution[..., -1]
        # F.one_hot would wait for the device, because it checks the labels on the host.
        classes = torch.arange(outputs, device=support_y.device)
        targets = (support_y.unsqueeze(-1) == classes).to(support.dtype)
        solution = state.parameters["meta.alpha"] * ridge_weights(support, targets, penalty).mT
        return solution[..., :-1], solution[..., -1] + state.parameters["meta.beta"]


def ridge_weights(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """The W that minimizes |xW - y|^2 + penalty |W|^2, differentiably: [T, N, F], [T, N, K] -> [T, F, K].

    Solves the smaller of the two systems for all tasks at once, without a check for errors. Reading a check
    would wait for the device at every meta-iteration. No error can occur, because a Gram matrix plus
    penalty > 0 is invertible. NaN embeddings give NaN, which the training loop reports.
    """
    examples, features = x.shape[-2:]
    if examples < features:
        return x.mT @ _solve(x @ x.mT, y, penalty)
    return _solve(x.mT @ x, x.mT @ y, penalty)


def _solve(gram: Tensor, right: Tensor, penalty: Tensor) -> Tensor:
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    solution: Tensor = torch.linalg.solve_ex(gram + penalty * identity, right, check_errors=False).result
    return solution
