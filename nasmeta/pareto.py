"""Points with several objectives, all to be minimized: fronts, crowding, hypervolume.

Deb, Pratap, Agarwal & Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II".
A point that is infinite in every objective is dominated by every other: a failure.
"""

from collections.abc import Sequence

Point = tuple[float, ...]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """The indices of the points, front by front: those dominated by none, then by those alone, and so on.

    The fast non-dominated sort (section III.A): quadratic in the points. Indices ascend within a front.
    """
    dominated: list[list[int]] = [[] for _ in points]
    dominators = [0] * len(points)
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if dominates(a, b):
                dominated[i].append(j)
                dominators[j] += 1
    found: list[list[int]] = []
    front = [i for i, count in enumerate(dominators) if count == 0]
    while front:
        found.append(front)
        following = []
        for i in front:
            for j in dominated[i]:
                dominators[j] -= 1
                if dominators[j] == 0:
                    following.append(j)
        front = sorted(following)
    return found


def crowding(points: Sequence[Point]) -> list[float]:
    """The crowding distance of each point of one front (section III.B): larger is lonelier.

    The sum over objectives of the gap between a point's two neighbours, in units of the front's range;
    infinite at the ends of an objective.
    """
    distances = [0.0] * len(points)
    for objective in zip(*points, strict=True):
        order = sorted(range(len(points)), key=lambda i: objective[i])
        low, high = objective[order[0]], objective[order[-1]]
        distances[order[0]] = distances[order[-1]] = float("inf")
        if low == high:  # equal, or all failed
            continue
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            distances[i] += (objective[after] - objective[before]) / (high - low)
    return distances


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The volume that the points dominate below `reference`, exactly, in any number of objectives.

    By slices along the last objective (HSO: While, Hingston, Barone & Huband 2006): between two
    neighbouring values of it the dominated region is that of the points so far, with one objective less.
    """
    inside = [p for p in points if all(x < limit for x, limit in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in inside)
    ordered = sorted(inside, key=lambda p: p[-1])
    ends = [*(p[-1] for p in ordered[1:]), reference[-1]]
    volume = 0.0
    for count, (point, end) in enumerate(zip(ordered, ends, strict=True), 1):
        if end > point[-1]:
            area = hypervolume([p[:-1] for p in ordered[:count]], reference[:-1])
            volume += area * (end - point[-1])
    return volume
