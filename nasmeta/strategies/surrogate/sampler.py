"""Proposes what a model of the scores so far holds to be the most promising architecture.

The model is an ensemble of graph networks. It learns normal scores of the ranks, a little more at every
proposal, with a failed trial as the worst so far. Trials that are asked but not told are learned with their
predicted score ("kriging believer", Ginsbourger et al. 2010), so that several asks spread out. Proposals are
a function of the trials on one kind of CPU; another kind may round differently.
"""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nasmeta.search_spaces.base import SearchSpace
from nasmeta.strategies.base import score_of
from nasmeta.strategies.context import Feasible
from nasmeta.strategies.surrogate.graphs import EncodedGraph, encode, feature_length
from nasmeta.strategies.surrogate.targets import normal_scores
from nasmeta.trial import Outcome

if TYPE_CHECKING:
    from nasmeta.strategies.surrogate.ensemble import Ensemble

Acquisition = Literal["ei", "thompson"]

FEWEST_SCORES = 2
"""The fewest scores from which the ensemble can learn anything."""

PARENTS = 10
"""How many of the best trials are mutated."""

FIRST_STEPS, STEPS = 40, 5
"""Training steps of the ensemble at the first proposal, and at each later one."""


class ModelSampler:
    """Proposes the feasible architecture of `space` with the highest acquisition by an ensemble of networks.

    acquisition: expected improvement, or one draw of Thompson sampling. mutants: candidates made from the
    best trials by one or more edits (each further one with probability 1/2). immigrants: random candidates.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        feasible: Feasible,
        *,
        acquisition: Acquisition,
        mutants: int,
        immigrants: int,
    ) -> None:
        self._space, self._feasible = space, feasible
        self._acquisition, self._mutants, self._immigrants = acquisition, mutants, immigrants
        self._ensemble: Ensemble | None = None
        self._encoded: dict[Any, EncodedGraph] = {}
        self._infeasible: set[Any] = set()

    def propose(
        self, told: Sequence[Outcome], pending: Sequence[Any], seen: Container[Any], rng: np.random.Generator
    ) -> Any | None:
        """The most promising feasible architecture that is not `seen`; None if there is none.

        told: the trials to learn from, with comparable scores; None too if fewer than FEWEST_SCORES of them
        have a score. pending: architectures that wait for theirs. A candidate that is not feasible is
        repaired, and judged anew.
        """
        scored = sorted((t for t in told if t.score is not None), key=score_of, reverse=True)
        if len(scored) < FEWEST_SCORES:
            return None
        worst = score_of(scored[-1])
        targets = normal_scores([worst if t.score is None else t.score for t in told])
        self._train([t.arch for t in told], targets, pending, rng)
        best = float(targets.max())
        found = self._candidates(scored, rng)
        candidates = [arch for arch in found if arch not in seen and arch not in self._infeasible]
        worth = self._worth(candidates, best, rng)
        while worth:
            arch = max(worth, key=worth.__getitem__)
            if self._feasible(arch):
                return arch
            del worth[arch]
            self._infeasible.add(arch)
            repaired = self._space.repair(arch, self._feasible, rng)
            if repaired is not None and repaired not in seen:
                worth |= self._worth([repaired], best, rng)
        return None

    def _worth(self, archs: list[Any], best: float, rng: np.random.Generator) -> dict[Any, float]:
        """The acquisition of each architecture, given the best target so far."""
        import torch

        from nasmeta.strategies.surrogate import acquisition

        if not archs:
            return {}
        assert self._ensemble is not None
        mean, std = self._ensemble.predict(self._encode(archs))
        if self._acquisition == "ei":
            worth = acquisition.log_expected_improvement(mean, std, best)
        else:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            worth = acquisition.thompson(mean, std, generator)
        return dict(zip(archs, worth.tolist(), strict=True))

    def _train(
        self, archs: list[Any], targets: Any, pending: Sequence[Any], rng: np.random.Generator
    ) -> None:
        """Trains on the told trials, and on pending ones as if told their predicted scores."""
        from nasmeta.strategies.surrogate.ensemble import Ensemble

        steps = STEPS
        if self._ensemble is None:
            self._ensemble = Ensemble(feature_length(self._space.operations), rng)
            steps = FIRST_STEPS
        graphs = self._encode(archs)
        if pending:
            waiting = self._encode(pending)
            believed = self._ensemble.predict(waiting)[0].float().numpy()
            graphs, targets = graphs + waiting, np.concatenate([targets, believed])
        self._ensemble.fit(graphs, targets, steps, rng)

    def _candidates(self, scored: Sequence[Outcome], rng: np.random.Generator) -> dict[Any, None]:
        """Mutants of the best of `scored`, which come best first, and random architectures; each once."""
        parents = scored[:PARENTS]
        found: dict[Any, None] = {}
        for i, edits in enumerate(rng.geometric(0.5, self._mutants).tolist()):
            arch = parents[i % len(parents)].arch
            for _ in range(edits):
                arch = self._space.mutate(arch, rng)
            found[arch] = None
        return found | dict.fromkeys(self._space.sample(rng) for _ in range(self._immigrants))

    def _encode(self, archs: Sequence[Any]) -> list[EncodedGraph]:
        for arch in archs:
            if arch not in self._encoded:
                self._encoded[arch] = encode(self._space.graph(arch), self._space.operations)
        return [self._encoded[arch] for arch in archs]
