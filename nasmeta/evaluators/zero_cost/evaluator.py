"""Scores candidates without training, in the time of a few meta-iterations; then the best are trained.

A proxy sees the network as it is initialized, and the first `batches` meta-training batches, normalized by
the run's batch-norm policy. It never sees meta-validation or test tasks. A trial's score is deterministic,
and is stored as `proxy`, not as an accuracy. The final candidates and the reference are then meta-trained
from scratch and judged as in any run.

Choose it to look at very many architectures, or to find out what a proxy is worth on a space
(scripts/bench/proxies.py). If `params` does as well as the others, the space rewards size alone.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from nasmeta import seeding
from nasmeta.errors import Diverged, Interrupted
from nasmeta.evaluators.base import Candidate, Evaluator, Judgement, Report
from nasmeta.evaluators.failures import FAILURES, failure, limited
from nasmeta.evaluators.zero_cost.proxies import PROXIES, Name, check_kind
from nasmeta.evaluators.zero_cost.untrained import Untrained
from nasmeta.evaluators.zero_cost.vote import vote
from nasmeta.training.problem import Problem
from nasmeta.training.score import Stop

SHARES = ("vote", "embedding")
"""Proxies whose scores are shares from 0 to 1."""


class ZeroCost(Evaluator):
    """Scores candidates by a proxy.

    proxy: its name, or "vote". batches: the number of meta-training batches that it sees.
    voters, reference: for "vote", the proxies that vote, and the size of the reference sample.
    max_seconds: the limit for one candidate; None for no limit.
    """

    finals_from_scratch = True
    leaves_weights = False

    def __init__(
        self,
        *,
        proxy: Literal[Name, "vote"],
        batches: Annotated[int, Field(ge=1)],
        voters: Annotated[list[Name], Field(min_length=1)],
        reference: Annotated[int, Field(ge=2)],
        max_seconds: Annotated[float, Field(gt=0)] | None,
        problem: Problem,
    ) -> None:
        self.problem, self.proxy, self.batches, self.reference = problem, proxy, batches, reference
        self.names: list[str] = list(voters) if proxy == "vote" else [proxy]
        self.max_seconds = max_seconds
        self.common_scale = proxy in SHARES
        self._sample: list[list[float]] | None = None
        check_kind(self.names, problem, "evaluator.proxy")

    def budget_error(self, iterations: int) -> str | None:
        if iterations == self.problem.search_iterations:
            return None
        return "zero_cost trains nothing, so a candidate's score does not depend on the iterations"

    def _judge(self, candidate: Candidate, report: Report, stop: Stop) -> Judgement:
        if self.proxy == "vote":
            self._load_sample(stop)  # all candidates share it, so it takes no candidate's time
        value = self.score(candidate.arch, limited(stop, self.max_seconds))
        if not math.isfinite(value):
            raise Diverged(f"{self.proxy} is {value}")
        return Judgement(proxy=value)

    def score(self, arch: Any, stop: Stop = lambda: False) -> float:
        """The proxy's value of an architecture. Raises Interrupted once `stop()` is true."""
        values = self._values(arch, stop)
        if self.proxy != "vote":
            return values[0]
        return vote(values, self._load_sample(stop))

    def _values(self, arch: Any, stop: Stop) -> list[float]:
        if stop():
            raise Interrupted("stopped before a proxy")
        net = Untrained.of(self.problem, arch, self.batches, stop)
        values = []
        for name in self.names:
            stop()  # raises once the time is over
            values.append(PROXIES[name](net))
        return values

    def _load_sample(self, stop: Stop) -> list[list[float]]:
        """The voters' values of `reference` random architectures, [reference, voters], computed once."""
        if self._sample is None:
            rng = seeding.stream(self.problem.seed, "zero_cost", "reference")
            space = self.problem.space.buildable(self.problem.task)
            self._sample = [self._values_or_nan(space.sample(rng), stop) for _ in range(self.reference)]
        return self._sample

    def _values_or_nan(self, arch: Any, stop: Stop) -> list[float]:
        """The voters' values; NaN, which every value beats, for an architecture that fails."""
        try:
            return self._values(arch, stop)
        except FAILURES as error:
            failure(error)  # raises if the device is lost
            return [math.nan] * len(self.names)
