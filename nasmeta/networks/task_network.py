"""The result of adapting to a task: a plain network, which answers each query independently of others."""

import torch.nn.functional as F
from torch import Tensor, nn


class TaskNetwork(nn.Module):
    """A body and a linear head for one task, built of torch's own layers, in evaluation mode.

    body: [n, *input_shape] -> [n, features]. weight [outputs, features] and bias [outputs] make the head:
    [n, features] -> [n, outputs]. cosine: embeddings are scaled to length one before the head sees them.
    """

    def __init__(self, body: nn.Module, weight: Tensor, bias: Tensor, *, cosine: bool = False) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
        self.head.load_state_dict({"weight": weight, "bias": bias})
        self.cosine = cosine
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits or regression outputs [n, outputs]."""
        outputs: Tensor = self.head(self.embed(x))
        return outputs

    def embed(self, x: Tensor) -> Tensor:
        """What the head sees: [n, features]."""
        embeddings: Tensor = self.body(x)
        return F.normalize(embeddings, dim=-1) if self.cosine else embeddings
