"""The networks that search spaces build."""

from torch import Tensor, nn


class FewShotNetwork(nn.Module):
    """A body that embeds the inputs, and a linear head that classifies or regresses.

    body: [n, *input_shape] -> [n, features]. head: [n, features] -> [n, outputs].

    Meta-learners rely on these two names: ProtoNet uses only the body, ANIL adapts the head, BOIL the body.
    """

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits
