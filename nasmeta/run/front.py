"""The Pareto front of a run whose strategy has several objectives: its members and its hypervolume."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nasmeta.strategies.pareto import Point, front, hypervolume
from nasmeta.trial import TrialResult

Costs = Callable[[str], dict[str, float]]
"""The params, flops and latency of an architecture's string, as far as they are objectives."""


@dataclass(frozen=True)
class FrontMember:
    """A trial that no other dominates. `costs` are by objective, latency in milliseconds."""

    result: TrialResult
    costs: dict[str, float]


class Front:
    """The trials so far that no other dominates, in their order; for ties see strategies/pareto.py.

    objectives: the costs to minimize besides maximizing the score. costs: returns those of an architecture.
    reference: the string of the space's reference network.

    The hypervolume is taken in the unit cube. So no reference point has to be chosen, and no trial is beyond
    it. An accuracy a counts as a, a loss l as 1/(1 + l), and a cost c as r/(r + c), in which r is the cost of
    the reference network. Higher is better for all of them. Zero-cost proxies have no such scale, so there is
    no hypervolume for them.
    """

    def __init__(self, objectives: tuple[str, ...], costs: Costs, reference: str) -> None:
        self.objectives = objectives
        self._costs = costs
        self._reference = reference
        self.members: list[FrontMember] = []

    def add(self, result: TrialResult) -> bool:
        """Adds a result and returns whether it is on the front. Trials that it dominates leave.

        Of equal trials, the earliest stays.
        """
        if result.score is None:
            return False
        new = FrontMember(result, self._costs(result.arch))
        known = sorted([*self.members, new], key=lambda member: member.result.trial)
        self.members = [known[i] for i in front([self._point(member) for member in known])]
        return new in self.members

    @property
    def trials(self) -> set[int]:
        return {member.result.trial for member in self.members}

    def hypervolume(self) -> float | None:
        """The fraction of the unit cube that the front dominates; None if scores are zero-cost proxies."""
        if any(member.result.proxy is not None for member in self.members):
            return None
        limits = self._costs(self._reference)
        points = []
        for member in self.members:
            shares = [limits[o] / (limits[o] + member.costs[o]) for o in self.objectives]
            points.append((-_quality(member.result), *(-share for share in shares)))
        return hypervolume(points, (0.0,) * (1 + len(self.objectives)))

    def summary(self, *, checkpoints: bool) -> list[dict[str, Any]]:
        """What summary.json says of each member, highest score first; `checkpoints`: whether each has one."""
        ranked = sorted(self.members, key=lambda member: -(member.result.score or 0.0))
        return [
            {
                "trial": m.result.trial,
                "arch": m.result.arch,
                "valid_accuracy": m.result.valid_accuracy,
                "valid_loss": m.result.valid_loss,
                "proxy": m.result.proxy,
                "params": m.result.params,
                "flops": m.result.flops,
                "latency_ms": m.costs.get("latency"),
                "checkpoint": f"pareto/{m.result.trial}.pt" if checkpoints else None,
            }
            for m in ranked
        ]

    def _point(self, member: FrontMember) -> Point:
        assert member.result.score is not None
        return (-member.result.score, *(member.costs[objective] for objective in self.objectives))


def _quality(result: TrialResult) -> float:
    if result.valid_accuracy is not None:
        return result.valid_accuracy
    assert result.valid_loss is not None
    return 1.0 / (1.0 + result.valid_loss)
