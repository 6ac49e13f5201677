"""Points with several objectives, all to be minimized: fronts, crowding, hypervolume.

Deb, Pratap, Agarwal & Meyarivan 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II". The
strategy, the run and its report all compute their fronts here, so they agree on ties (see `front`). A failure
is a point that is infinite in every objective, which every other point dominates.
"""

from collections.abc import Sequence

Point = tuple[float, ...]


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Point]) -> list[int]:
    """The indices, ascending, of the points that no other beats.

    A point beats those that it dominates and later ones that are equal to it, so the first of equal points
    stands for all. Pass trials in the order of their numbers.
    """
    kept: list[int] = []
    # A point comes after all points that beat it, so comparing it with the kept ones is enough.
    for i in sorted(range(len(points)), key=lambda i: (points[i], i)):
        if not any(points[i] == points[j] or dominates(points[j], points[i]) for j in kept):
            kept.append(i)
    return sorted(kept)


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """The indices of the points, front by front: the front of all, then that of the rest, and so on."""
    found: list[list[int]] = []
    left = list(range(len(points)))
    while left:
        found.append([left[i] for i in front([points[i] for i in left])])
        left = sorted(set(left) - set(found[-1]))
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
    """The exact volume that the points dominate below `reference`, in any number of objectives.

    Computed by slices along the last objective (HSO: While, Hingston, Barone & Huband 2006): between two
    neighbouring values of it, the dominated region is that of the points so far, with one objective less.
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
