"""A recurrent policy over a space's decisions: an LSTM that chooses one option after another.

Zoph & Le 2017 (arXiv:1611.01578, section 3.1), in the form of ENAS (Pham et al. 2018, arXiv:1802.03268,
section 2.4). The embedding of each answer is the input of the next step. Each kind of decision has its own
softmax. Parameters start uniform in [-0.1, 0.1], so that the policy starts nearly uniform.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasmeta.runtime import plain_optimizers
from nasmeta.search_spaces.decisions import Choose, Decidable
from nasmeta.seeding import torch_stream

INITIAL_RANGE = 0.1

Answers = tuple[int, ...]
"""The positions of the chosen options, decision by decision."""

State = tuple[Tensor, Tensor]


class Controller(nn.Module):
    """An LSTM of `units` units over the decisions of `space`.

    learning_rate: of Adam. seed: from which its initial parameters follow.

    The options of all kinds are the rows of one embedding and of one linear layer. A decision's softmax
    covers only the rows of the options that it allows.
    """

    def __init__(self, space: Decidable[Any], units: int, learning_rate: float, seed: int) -> None:
        super().__init__()
        self._space = space
        pairs = [(kind, option) for kind, options in space.decisions.items() for option in options]
        self._rows = {pair: row for row, pair in enumerate(pairs)}
        self._known: dict[Answers, tuple[State, Tensor]] = {}  # what `sample` computed since the last step
        with torch_stream(seed, "strategy", "controller"):
            self.cell = nn.LSTMCell(units, units)
            self.embedding = nn.Embedding(len(pairs) + 1, units)  # the last row is the first step's input
            self.head = nn.Linear(units, len(pairs))
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -INITIAL_RANGE, INITIAL_RANGE)
        self._optimizer = plain_optimizers.Adam(self.parameters(), lr=learning_rate)

    @torch.no_grad()
    def sample(self, rng: np.random.Generator, temperature: float) -> tuple[Any, Answers]:
        """An architecture drawn from the policy, and its answers, which `score` takes.

        Logits are divided by `temperature`: 1 is the policy itself, infinity a uniform draw.
        """
        answers: list[int] = []

        def draw(log_probabilities: Tensor) -> int:
            bounds = np.cumsum((log_probabilities / temperature).double().exp().numpy())
            answers.append(int(np.searchsorted(bounds[:-1], rng.random() * bounds[-1], side="right")))
            return answers[-1]

        return self._space.decide(self._policy(draw, self._known)), tuple(answers)

    def step(self, answers: Answers, advantage: float, entropy_weight: float) -> None:
        """One step of Adam that makes these answers of `sample` likelier if `advantage` is positive."""
        log_probability, entropy = self.score(answers)
        if log_probability.requires_grad:  # otherwise there was nothing to decide
            self._optimizer.zero_grad()
            (-advantage * log_probability - entropy_weight * entropy).backward()
            self._optimizer.step()
            self._known.clear()

    @torch.no_grad()
    def adopt(self, earlier: "Controller") -> None:
        """Takes over the policy of a controller with as many units, for the options that both know."""
        self.cell.load_state_dict(earlier.cell.state_dict())
        common = [pair for pair in self._rows if pair in earlier._rows]
        here = [*(self._rows[pair] for pair in common), len(self._rows)]
        there = [*(earlier._rows[pair] for pair in common), len(earlier._rows)]
        self.embedding.weight[here] = earlier.embedding.weight[there]
        self.head.weight[here[:-1]] = earlier.head.weight[there[:-1]]
        self.head.bias[here[:-1]] = earlier.head.bias[there[:-1]]
        self._known.clear()

    def score(self, answers: Answers) -> tuple[Tensor, Tensor]:
        """The log-probability of `answers`, and the mean entropy of their decisions in nats."""
        left = iter(answers)
        chosen: list[Tensor] = []
        entropies: list[Tensor] = []

        def recall(log_probabilities: Tensor) -> int:
            answer = next(left)
            chosen.append(log_probabilities[answer : answer + 1])
            entropies.append(-(log_probabilities.exp() * log_probabilities).sum(0, keepdim=True))
            return answer

        self._space.decide(self._policy(recall, {}))
        nothing = torch.zeros(1)
        return torch.cat([nothing, *chosen]).sum(), torch.cat(entropies or [nothing]).mean()

    def _policy(self, pick: Callable[[Tensor], int], known: dict[Answers, tuple[State, Tensor]]) -> Choose:
        """A function that decides as `pick` does, given the log-probabilities of the options."""
        prefix: Answers = ()
        row, state = len(self._rows), None

        def choose(kind: str, options: Any) -> Any:
            nonlocal prefix, row, state
            if len(options) == 1:
                return options[0]
            rows = [self._rows[kind, option] for option in options]
            if prefix not in known:
                hidden, memory = self.cell(self.embedding.weight[row : row + 1], state)
                logits = self.head(hidden)[0, rows]
                known[prefix] = (hidden, memory), logits.log_softmax(dim=0)
            state, log_probabilities = known[prefix]
            answer = pick(log_probabilities)
            prefix, row = (*prefix, answer), rows[answer]
            return options[answer]

        return choose
