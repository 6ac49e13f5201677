"""The network that is exported: it takes pixels, and gives embeddings, and the probabilities of classes."""

import torch
from torch import Tensor, nn

from nasmeta.datasets.decode import Preprocessing
from nasmeta.networks.task_network import TaskNetwork
from nasmeta.search_spaces.ops import Block


class Head(nn.Module):
    """Embeddings [n, features] -> probabilities [n, classes]. It stays in float32 in every format.

    Its logits in 8 bits would tie, and its probabilities would have 256 values; it is a few hundred numbers.
    """

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.linear, self.cosine = network.head, network.cosine

    def logits(self, embeddings: Tensor) -> Tensor:
        """The logits [n, classes]."""
        if self.cosine:
            embeddings = nn.functional.normalize(embeddings, dim=-1)
        logits: Tensor = self.linear(embeddings)
        return logits

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.logits(embeddings).softmax(-1)


class OfPixels(nn.Module):
    """A network that normalizes its pixels itself.

    body: normalized images [n, C, H, W] -> embeddings [n, features]. head: of the fitted classes, or None.
    preprocessing: how pixels are normalized.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, head: Head | None, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.body, self.head, self.preprocessing = body, head, preprocessing
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (-mean / std)[:, None, None])
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels [n, C, H, W] from 0 to 255 -> (probabilities, embeddings), or (embeddings,)."""
        embeddings = self.body(pixels.float() * self.scale + self.shift)
        return (embeddings,) if self.head is None else (self.head(embeddings), embeddings)

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` returns."""
        return ["embeddings"] if self.head is None else ["probabilities", "embeddings"]


def activation_first(body: nn.Module) -> nn.Module:
    """Moves max-poolings behind the ReLU that follows them, in place; the outputs stay the same.

    Training pools first. In 8 bits, half of the range would then be spent on negative values.
    """
    for block in body.modules():
        if not isinstance(block, Block) or not isinstance(block.tail, nn.Sequential):
            continue
        place = block.tail if block.shortcut is not None else block.branch
        pool = next((m for m in reversed(list(place.modules())) if isinstance(m, nn.MaxPool2d)), None)
        if pool is None or not any(isinstance(m, nn.ReLU | nn.ReLU6) for m in block.tail):
            continue
        for parent in block.modules():
            for name, child in list(parent.named_children()):
                if child is pool:
                    setattr(parent, name, nn.Identity())
        block.tail.append(pool)
    return body
