"""The Pareto front of a run whose strategy has several objectives: its members and its hypervolume."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nasmeta.run.summary import Member, metrics
from nasmeta.strategies.pareto import Point, front, hypervolume
from nasmeta.trial import TrialResult


@dataclass(frozen=True)
class FrontMember:
    """A trial that no other dominates. `costs` are by objective, latency in milliseconds."""

    result: TrialResult
    costs: dict[str, float]


class Front:
    """The trials so far that no other dominates, in their order; for ties see strategies/pareto.py.

    objectives: the costs to minimize besides maximizing the score.

    The hypervolume is taken in the unit cube. So no reference point has to be chosen, and no trial is beyond
    it. An accuracy a counts as a, a loss l as 1/(1 + l) (whichever is the score), a cost c as r/(r + c),
    in which r is the cost of the reference network. Higher is better for all of them. Zero-cost proxies have
    no such scale, so there is no hypervolume for them.
    """

    def __init__(self, objectives: tuple[str, ...]) -> None:
        self.objectives = objectives
        self.members: list[FrontMember] = []

    def add(self, result: TrialResult) -> bool:
        """Adds a result and returns whether it is on the front. Trials that it dominates leave.

        Of equal trials, the earliest stays. A failed result is on no front.
        """
        if result.score is None:
            return False
        costs = result.costs
        new = FrontMember(result, {objective: _known(costs, objective) for objective in self.objectives})
        known = sorted([*self.members, new], key=lambda member: member.result.trial)
        self.members = [known[i] for i in front([self._point(member) for member in known])]
        return new in self.members

    @property
    def trials(self) -> set[int]:
        return {member.result.trial for member in self.members}

    def hypervolume(self, reference: Callable[[], Mapping[str, float]]) -> float | None:
        """The fraction of the unit cube that the front dominates; None if scores are zero-cost proxies.

        reference: returns the costs of the reference network by objective.
        """
        if any(member.result.proxy is not None for member in self.members):
            return None
        limits = reference()
        points = []
        for member in self.members:
            shares = [limits[o] / (limits[o] + member.costs[o]) for o in self.objectives]
            points.append((-_quality(member.result), *(-share for share in shares)))
        return hypervolume(points, (0.0,) * (1 + len(self.objectives)))

    def summary(self, *, checkpoints: bool) -> list[Member]:
        """What summary.json says of each member, highest score first; `checkpoints`: whether each has one."""
        ranked = sorted(self.members, key=lambda member: -(member.result.score or 0.0))
        return [
            Member(
                **metrics(m.result, Member),
                checkpoint=f"pareto/{m.result.trial}.pt" if checkpoints else None,
            )
            for m in ranked
        ]

    def _point(self, member: FrontMember) -> Point:
        assert member.result.score is not None
        return (-member.result.score, *(member.costs[objective] for objective in self.objectives))


def _known(costs: Mapping[str, float | None], objective: str) -> float:
    cost = costs[objective]
    assert cost is not None, "run/compatible.py refuses objectives that the evaluator does not know"
    return cost


def _quality(result: TrialResult) -> float:
    assert result.score is not None
    known = result.criterion == "accuracy" and result.valid_accuracy is not None
    return result.score if known else 1.0 / (1.0 - result.score)
