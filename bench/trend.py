"""Whether a series of measurements grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import linear_regression

Point = tuple[float, float]

_WARM_UP = 0.2


def growth(points: Sequence[Point]) -> float:
    """Return how much the values grow over the series, along the least-squares line through its last four fifths.

    The first fifth is warm-up: caches fill, pools reach their size, the allocator keeps what it was given once.
    Fewer than three points tell nothing and raise ValueError.
    """
    kept = [point for point in points if point[0] >= points[0][0] + _WARM_UP * (points[-1][0] - points[0][0])]
    if len(kept) < 3:
        raise ValueError("too few measurements to tell a trend")
    slope = linear_regression([at for at, _ in kept], [value for _, value in kept]).slope
    return slope * (kept[-1][0] - kept[0][0])
