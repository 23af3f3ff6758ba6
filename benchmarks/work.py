"""Work against achieved error: the norm, the entries compared, and the time at a wanted error.

Needs numpy alone, so that both halves of the stiff benchmark use it: `stiff.py` in this environment
and `stiff_peers.py` in the peers'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

FLOOR = 1e-12  # of the largest component


def error(y: Any, reference: Any) -> float:
    """Largest relative error of a component, ``max |y - r| / (|r| + 1e-12 max |r|)``.

    Relative, as the species of a reaction differ by many orders of magnitude and none of them is
    worth less than another (Robertson's y2 is 7e-8 beside .98); the floor leaves out components
    that are zero in float64 beside the largest (POLLU has some of 1e-16).
    """
    y, reference = np.asarray(y, float), np.asarray(reference, float)
    scale = np.abs(reference) + FLOOR * np.abs(reference).max()
    worst = float(np.max(np.abs(y - reference) / scale))
    return worst if np.isfinite(worst) else np.inf


def entries(size: int, most: int = 64) -> np.ndarray:
    """Which components are compared, in the peers' order: all of them, or 16 evenly spread pairs.

    A pair is u and v of one node, as the peers order a Brusselator u, v, u, v, ...
    """
    if size <= most:
        return np.arange(size)
    nodes = np.linspace(0, size // 2 - 1, 16).round().astype(int)
    return np.stack([2 * nodes, 2 * nodes + 1], axis=1).ravel()


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those pairs (error, time) that no other beats in both, fastest first."""
    kept: list[tuple[float, float]] = []
    for found, taken in sorted(points, key=lambda pair: (pair[1], pair[0])):
        if not kept or found < kept[-1][0]:
            kept.append((found, taken))
    return kept


def time_at_error(points: Iterable[tuple[float, float]], wanted: float) -> float:
    """The least time at which the error is at most the wanted one, from a ladder of tolerances.

    Pairs (error, time) that another beats in both are left out. What remains gets more accurate as
    it takes longer; time is interpolated between the two neighbours that enclose the wanted error,
    linearly in the logarithms of both. Nothing is extrapolated: the fastest pair of all if that is
    accurate enough, and NaN where none is. So a ladder should begin above the wanted error.
    """
    kept = front(points)
    after = next((number for number, (found, _) in enumerate(kept) if found <= wanted), None)
    if after is None:
        return float("nan")
    if after == 0 or kept[after][0] == 0.0 or not np.isfinite(kept[after - 1][0]):
        return kept[after][1]
    (above, fast), (below, slow) = np.log(kept[after - 1]), np.log(kept[after])
    return float(np.exp(fast + (slow - fast) * (above - np.log(wanted)) / (above - below)))
