"""The Pareto front of a run whose strategy has several objectives: who is on it, and how large it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nasmeta.evaluators.base import TrialResult
from nasmeta.pareto import Point, dominates, hypervolume

Costs = Callable[[str], dict[str, float]]
"""An architecture's params, flops and latency, those of them that are objectives."""


@dataclass(frozen=True)
class FrontMember:
    """A trial that no other beats in all objectives; `costs` by objective, latency in milliseconds."""

    result: TrialResult
    costs: dict[str, float]


class Front:
    """The undominated trials so far, in the order of their numbers.

    hypervolume is in the unit cube, so that it needs no reference point to be chosen and no trial is beyond
    it: an accuracy a counts as a, a loss l as 1/(1 + l), a cost c as r/(r + c) with r that of the space's
    reference network; each of them is to be high.
    """

    def __init__(self, objectives: tuple[str, ...], costs: Costs, reference: str) -> None:
        self.objectives = objectives
        self._costs = costs
        self._reference = reference
        self.members: list[FrontMember] = []

    def add(self, result: TrialResult) -> bool:
        """Whether the result joins the front; those it dominates leave. Of equals the first stays."""
        if result.score is None:
            return False
        new = FrontMember(result, self._costs(result.arch))
        point = self._point(new)
        others = [self._point(member) for member in self.members]
        if any(other == point or dominates(other, point) for other in others):
            return False
        staying = [m for m, other in zip(self.members, others, strict=True) if not dominates(point, other)]
        self.members = sorted([*staying, new], key=lambda member: member.result.trial)
        return True

    @property
    def trials(self) -> set[int]:
        return {member.result.trial for member in self.members}

    def hypervolume(self) -> float:
        """The share of the unit cube that the front dominates."""
        limits = self._costs(self._reference)
        points = []
        for member in self.members:
            shares = [limits[o] / (limits[o] + member.costs[o]) for o in self.objectives]
            points.append((-_quality(member.result), *(-share for share in shares)))
        return hypervolume(points, (0.0,) * (1 + len(self.objectives)))

    def summary(self) -> list[dict[str, Any]]:
        """What summary.json says of each member, the best scored first."""
        ranked = sorted(self.members, key=lambda member: -(member.result.score or 0.0))
        return [
            {
                "trial": m.result.trial,
                "arch": m.result.arch,
                "valid_accuracy": m.result.valid_accuracy,
                "valid_loss": m.result.valid_loss,
                "params": m.result.params,
                "flops": m.result.flops,
                "latency_ms": m.costs.get("latency"),
                "checkpoint": f"pareto/{m.result.trial}.pt",
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
