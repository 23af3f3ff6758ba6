"""Parts of a batch of series: at random, and stretch by stretch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sciml.dsl import DataError

if TYPE_CHECKING:
    from ._series import Series


def generator(key: Any) -> np.random.Generator:
    """Random numbers on the host, from a key of JAX or an integer."""
    if isinstance(key, jax.Array):
        return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and key >= 0:
        return np.random.default_rng(int(key))
    raise DataError(f"key is a jax.random.key(0), or an integer from 0, not {key!r}")


def split(series: Series, shares: Sequence[float], key: Any, stratify: bool) -> list[list[int]]:
    """The rows of each part."""
    given = np.array(shares, float)
    if given.ndim != 1 or np.any(given <= 0) or abs(given.sum() - 1) > 1e-9:
        raise DataError(f"shares are above zero and add up to 1, not {shares}")
    random = generator(key)
    everyone = np.arange(len(series))
    groups = [everyone]
    if stratify:
        groups = [everyone[series.targets == one] for one in range(len(series.classes))]
    parts: list[list[int]] = [[] for _ in given]
    for group in groups:
        ends = np.cumsum(_counts(given, len(group)))
        for part, rows in zip(parts, np.split(random.permutation(group), ends[:-1]), strict=True):
            part.extend(rows.tolist())
    for share, part in zip(given, parts, strict=True):
        if not part:
            raise DataError(
                f"a share of {share:g} of {len(series)} series is none of them: give it more"
            )
    return [sorted(part) for part in parts]


def _counts(shares: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers in proportion to shares, by the largest remainders; the first of equals."""
    exact = np.round(shares * count, 9)
    counts = np.floor(exact).astype(int)
    behind = np.argsort(counts - exact, kind="stable")
    counts[behind[: count - counts.sum()]] += 1
    return counts


def drop(series: Series, share: float, key: Any, rows: bool) -> Series:
    """The batch without a share of its values, or of its times."""
    if not 0 <= share < 1:
        raise DataError(f"the share to drop is in [0, 1), not {share}")
    random = generator(key)
    if rows:
        seen = [np.asarray(known.any(axis=1)) for known in series.masks]
        kept = [~_chosen(known, share, random) for known in seen]
        return series._rows(kept)
    values = [
        np.where(_chosen(known, share, random), np.nan, one)
        for one, known in zip(series.values, series.masks, strict=True)
    ]
    return dataclasses.replace(series, values=values)


def _chosen(known: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A mask of a share of what is known, but never of all of it."""
    places = random.permutation(np.flatnonzero(known))
    count = min(round(share * len(places)), len(places) - 1)
    mask = np.zeros(known.size, bool)
    mask[places[:count]] = True
    return mask.reshape(known.shape)


def windows(series: Series, length: int, stride: int) -> Series:
    """Stretches of series as a batch."""
    if length < 1 or stride < 1:
        raise DataError(f"length and stride are 1 or more, not {length} and {stride}")
    found = [
        (row, first)
        for row, (count, known) in enumerate(zip(series.lengths, series.masks, strict=True))
        for first in range(0, count - length + 1, stride)
        if known[first : first + length].any()
    ]
    if not found:
        raise DataError(
            f"no series has {length} times: the longest has {series.lengths.max()}; ask for less"
        )
    return dataclasses.replace(
        series,
        times=[series.times[row][first : first + length] for row, first in found],
        values=[series.values[row][first : first + length] for row, first in found],
        ids=[(series.ids[row], first) for row, first in found],
        labels=None if series.labels is None else [series.labels[row] for row, _ in found],
    )
