"""Bayesian optimization with an ensemble of graph networks: BANANAS.

White, Neiswanger & Savani 2021, arXiv:1910.11858, algorithm 1. After `initial` random trials, each ask trains
the ensemble on the scores so far, draws candidates (mutations of the best, and random ones), and proposes the
one with the highest acquisition. Choose it if a trial costs much more than a fraction of a second: it needs
the fewest trials.

Deviations from the paper:
- The networks see the architecture's graph instead of its path encoding, so any space works. They use graph
  convolutions in both directions, as in Wen et al. 2020, arXiv:1912.00848, and Shi et al. 2020,
  arXiv:1911.09336.
- They learn normal scores of the ranks, not accuracies.
- They are trained a little more at every ask, not anew after every ten trials.
- Expected improvement is the default, not Thompson sampling.

Trials that are asked but not told are learned with their predicted score ("kriging believer", Ginsbourger et
al. 2010), so that several asks spread out. A failed trial counts as the worst so far. Proposals are a
function of the history on one kind of CPU; another kind may round differently.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nasmeta.strategies.base import Strategy
from nasmeta.strategies.context import SearchContext
from nasmeta.strategies.surrogate.graphs import EncodedGraph, encode, feature_length
from nasmeta.strategies.surrogate.targets import normal_scores
from nasmeta.trial import Outcome, Proposal

if TYPE_CHECKING:
    from nasmeta.strategies.surrogate.ensemble import Ensemble

FEWEST_SCORES = 2
"""The fewest scores from which the ensemble can learn anything."""


class Predictor(Strategy):
    """Proposes the candidate with the highest acquisition under an ensemble of `members` graph networks.

    parents: how many of the best trials are mutated. mutants: candidates made from them by one or more edits
    (each further one with probability 1/2). immigrants: random candidates. kappa: used by "ucb" alone.
    first_steps, steps: training steps at the first ask and at each later one, on `batch` trials each. hidden,
    layers: the size of each network.
    """

    def __init__(
        self,
        context: SearchContext,
        *,
        initial: Annotated[int, Field(ge=FEWEST_SCORES)],
        acquisition: Literal["ei", "ucb", "thompson"],
        kappa: Annotated[float, Field(ge=0)],
        parents: Annotated[int, Field(ge=1)],
        mutants: Annotated[int, Field(ge=1)],
        immigrants: Annotated[int, Field(ge=0)],
        members: Annotated[int, Field(ge=2, le=1000)],
        hidden: Annotated[int, Field(ge=1, le=4096)],
        layers: Annotated[int, Field(ge=1, le=100)],
        first_steps: Annotated[int, Field(ge=1)],
        steps: Annotated[int, Field(ge=1)],
        batch: Annotated[int, Field(ge=1)],
        learning_rate: Annotated[float, Field(gt=0)],
        weight_decay: Annotated[float, Field(ge=0)],
    ) -> None:
        super().__init__(context)
        self.initial = initial
        self.acquisition, self.kappa = acquisition, kappa
        self.parents, self.mutants, self.immigrants = parents, mutants, immigrants
        self.first_steps, self.steps, self.batch = first_steps, steps, batch
        self._networks: dict[str, Any] = {
            "members": members,
            "hidden": hidden,
            "layers": layers,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
        }
        self._told: list[Outcome] = []
        self._ensemble: Ensemble | None = None
        self._encoded: dict[Any, EncodedGraph] = {}
        self._infeasible: set[Any] = set()

    def _tell(self, told: Outcome) -> None:
        self._told.append(told)

    def _ask(self, trial: int) -> Proposal:
        rng = self.stream(trial)
        scores = [told.score for told in self._told if told.score is not None]
        arch = None
        if trial + self._learned >= self.initial and len(scores) >= FEWEST_SCORES:
            arch = self._most_promising(scores, rng)
        if arch is None:
            arch = self.fresh(lambda: self.space.sample(rng))
        return Proposal(trial=trial, arch=arch, iterations=self.iterations)

    def _most_promising(self, scores: list[float], rng: np.random.Generator) -> Any | None:
        """The feasible candidate with the highest acquisition; None if there is none."""
        import torch

        from nasmeta.strategies.surrogate import acquisition

        worst = min(scores)
        targets = normal_scores([worst if told.score is None else told.score for told in self._told])
        ensemble = self._train(targets, rng)
        candidates = self._candidates(rng)
        if not candidates:
            return None
        mean, std = ensemble.predict(self._encode(candidates))
        if self.acquisition == "ei":
            worth = acquisition.log_expected_improvement(mean, std, float(targets.max()))
        elif self.acquisition == "ucb":
            worth = acquisition.upper_confidence_bound(mean, std, self.kappa)
        else:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            worth = acquisition.thompson(mean, std, generator)
        for i in worth.argsort(descending=True, stable=True).tolist():
            if self._feasible(candidates[i]):
                return candidates[i]
            self._infeasible.add(candidates[i])
        return None

    def _train(self, targets: Any, rng: np.random.Generator) -> "Ensemble":
        """Trains on the told trials, and on pending ones as if told their predicted scores."""
        from nasmeta.strategies.surrogate.ensemble import Ensemble

        steps = self.steps
        if self._ensemble is None:
            features, steps = feature_length(self.space.operations), self.first_steps
            self._ensemble = Ensemble(features=features, **self._networks, rng=rng)
        graphs = self._encode([told.arch for told in self._told])
        pending = self._encode([proposal.arch for proposal in self._outstanding.values()])
        if pending:
            believed = self._ensemble.predict(pending)[0].float().numpy()
            graphs, targets = graphs + pending, np.concatenate([targets, believed])
        self._ensemble.fit(graphs, targets, steps=steps, batch=self.batch, rng=rng)
        return self._ensemble

    def _candidates(self, rng: np.random.Generator) -> list[Any]:
        """Architectures that were neither proposed nor found infeasible, each once."""
        told = [told for told in self._told if told.score is not None]
        best = sorted(told, key=_score, reverse=True)[: self.parents]
        edits = rng.geometric(0.5, self.mutants)
        found: dict[Any, None] = {}
        for i, count in enumerate(edits.tolist()):
            arch = best[i % len(best)].arch
            for _ in range(count):
                arch = self.space.mutate(arch, rng)
            found[arch] = None
        found.update(dict.fromkeys(self.space.sample(rng) for _ in range(self.immigrants)))
        return [arch for arch in found if arch not in self._seen and arch not in self._infeasible]

    def _encode(self, archs: list[Any]) -> list[EncodedGraph]:
        for arch in archs:
            if arch not in self._encoded:
                self._encoded[arch] = encode(self.space.graph(arch), self.space.operations)
        return [self._encoded[arch] for arch in archs]


def _score(told: Outcome) -> float:
    assert told.score is not None
    return told.score
