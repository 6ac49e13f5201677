"""The network of nasmeta.testing.meta_learners.conv_network by hand, with batch norm as its formula.

Shares no code with nasmeta: the oracle of the meta-gradients.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def body(weights: Weights, x: Tensor, rows: int | None = None) -> Tensor:
    """Embeddings of x, each layer normalized by the moments of its first `rows` examples (None: of all)."""
    for conv, norm in ((0, 1), (4, 5)):
        x = F.conv2d(x, weights[f"body.{conv}.weight"], weights[f"body.{conv}.bias"], padding=1)
        own = x[:rows]
        mean = own.mean((0, 2, 3), keepdim=True)
        variance = (own - mean).square().mean((0, 2, 3), keepdim=True)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = x * weights[f"body.{norm}.weight"][:, None, None] + weights[f"body.{norm}.bias"][:, None, None]
        x = F.avg_pool2d(F.gelu(x), 2)
    return x.flatten(1)


def network(weights: Weights, x: Tensor, rows: int | None = None) -> Tensor:
    return body(weights, x, rows) @ weights["head.weight"].T + weights["head.bias"]


def queries(weights: Weights, support_x: Tensor, query_x: Tensor, policy: str) -> Tensor:
    """Logits of a task's queries in meta-training."""
    if policy == "support":
        return network(weights, torch.cat([support_x, query_x]), len(support_x))[len(support_x) :]
    return network(weights, query_x)


def maml_loss(
    weights: Weights,
    tasks: list[tuple[Tensor, ...]],
    *,
    adapted: list[str],
    rates: Mapping[str, Tensor],
    step_weights: list[float],
    second_order: bool,
    policy: str,
) -> Tensor:
    """Mean over tasks of the weighted query losses; rates [steps] by name."""
    total = torch.zeros((), dtype=torch.float64)
    for support_x, support_y, query_x, query_y in tasks:
        current = dict(weights)
        for step, weight in enumerate(step_weights):
            loss = F.cross_entropy(network(current, support_x), support_y)
            gradients = torch.autograd.grad(loss, [current[n] for n in adapted], create_graph=True)
            for name, gradient in zip(adapted, gradients, strict=True):
                constant = gradient if second_order else gradient.detach()
                current[name] = current[name] - rates[name][step] * constant
            total = total + weight * F.cross_entropy(queries(current, support_x, query_x, policy), query_y)
    return total / len(tasks)


def protonet_loss(
    weights: Weights, tasks: list[tuple[Tensor, ...]], *, policy: str, distance: str, temperature: Tensor
) -> Tensor:
    """Mean cross-entropy of all queries, distances and means written out."""
    losses = []
    for (_, support_y, _, query_y), embedding in zip(tasks, embeddings(weights, tasks, policy), strict=True):
        support, query = embedding[: len(support_y)], embedding[len(support_y) :]
        centres = torch.stack([support[support_y == label].mean(0) for label in support_y.unique()])
        if distance == "euclidean":
            logits = -(query.unsqueeze(1) - centres).square().sum(-1)
        else:
            logits = F.cosine_similarity(query.unsqueeze(1), centres, dim=-1)
        losses.append(F.cross_entropy(temperature * logits, query_y))
    return torch.stack(losses).mean()


def ridge_loss(weights: Weights, tasks: list[tuple[Tensor, ...]], *, policy: str) -> Tensor:
    """Mean cross-entropy of all queries, by the inverse in the normal equations (eq. 4 of the paper)."""
    losses = []
    for (_, support_y, _, query_y), embedding in zip(tasks, embeddings(weights, tasks, policy), strict=True):
        x = torch.cat([embedding, torch.ones(len(embedding), 1, dtype=embedding.dtype)], 1)
        support, query = x[: len(support_y)], x[len(support_y) :]
        targets = torch.eye(int(support_y.max()) + 1, dtype=x.dtype)[support_y]
        penalty = weights["meta.log_lambda"].exp() * torch.eye(x.shape[1], dtype=x.dtype)
        head = torch.linalg.inv(support.T @ support + penalty) @ support.T @ targets
        logits = weights["meta.alpha"] * (query @ head) + weights["meta.beta"]
        losses.append(F.cross_entropy(logits, query_y))
    return torch.stack(losses).mean()


def embeddings(weights: Weights, tasks: list[tuple[Tensor, ...]], policy: str) -> list[Tensor]:
    """Of each task's support and query images, in meta-training."""
    return [
        body(weights, torch.cat([task[0], task[2]]), len(task[0]) if policy == "support" else None)
        for task in tasks
    ]
