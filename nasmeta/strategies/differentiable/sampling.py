"""How the operations of an edge are weighted: a softmax (DARTS), or one sampled operation (GDAS).

GDAS (Dong & Yang 2019, arXiv:1910.04465, eq. 3 to 7) uses the Gumbel-max trick: argmax_k (log p_k + g_k),
with g_k = -log(-log u_k), is a sample of p = softmax(alpha). The mixture is that operation alone, and its
derivative is that of the softmax of (log p + g) / tau. One sample serves all tasks of a meta-batch, as one
serves all images of a batch in the paper.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from nasmeta import seeding

if TYPE_CHECKING:
    from nasmeta.search_spaces.relaxation.mixture import RelaxedNetwork
    from nasmeta.strategies.differentiable.bilevel import Parameters


@dataclass(frozen=True)
class Sampling:
    """How edges are weighted. The temperature goes linearly from `start` to `end` over the search."""

    kind: Literal["softmax", "gumbel"]
    start: float
    end: float
    seed: int

    def temperature(self, progress: float) -> float:
        """The temperature at `progress`, a point of the search between 0 and 1."""
        return self.start + (self.end - self.start) * progress

    def set(
        self, network: "RelaxedNetwork", alpha: "Parameters", temperature: float, *names: str | int
    ) -> None:
        """Sets the weights of the network's edges until the next call.

        `names` name the random stream of the sample. `alpha` holds the logits by name. A Gumbel sample reads
        their values, and so waits for the device.
        """
        sample = network.edge_sample
        sample.temperature = (temperature, temperature)
        if self.kind == "softmax":
            return
        tables = {name: logits for name, logits in alpha.items() if logits.dim() == 2}  # no input logits
        for full_name, logits in tables.items():
            name = full_name.rpartition(".")[2]
            rng = seeding.stream(self.seed, "strategy", "gumbel", name, *names)
            noise = torch.from_numpy(rng.gumbel(size=tuple(logits.shape)).astype(np.float32))
            chosen = (logits.detach().cpu().log_softmax(-1) + noise).argmax(-1)
            sample.noise[name] = noise.to(logits)
            sample.hard[name] = torch.nn.functional.one_hot(chosen, logits.shape[-1]).to(logits)
            sample.chosen[name] = chosen.tolist()
