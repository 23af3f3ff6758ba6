"""Fair timing on a noisy machine: two contestants in turn, and the median of the ratios."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the results: what was measured, what was asked for, and what came out."""

    what: str
    asked: str
    measured: str


def seconds(run: Callable[[], Any], repeats: int = 1) -> float:
    """How long one call takes, its result awaited."""
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / repeats


def pairs(
    one: Callable[[], Any], other: Callable[[], Any], *, count: int = 41, span: float = 0.02
) -> np.ndarray:
    """Times of both in turn, shape (count, 2); the order within a pair alternates.

    Short calls are repeated until a measurement lasts `span` seconds.
    """
    warm = min(min(seconds(run) for _ in range(3)) for run in (one, other))
    repeats = max(1, round(span / warm))
    times = np.zeros((count, 2))
    for number in range(count):
        order = (0, 1) if number % 2 else (1, 0)
        for which in order:
            times[number, which] = seconds((one, other)[which], repeats)
    return times


def ratio(times: np.ndarray) -> str:
    """Median of the ratios of pairs, with their quartiles."""
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    return f"{middle:.3f} (quartiles {low:.3f} to {high:.3f})"
