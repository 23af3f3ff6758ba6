"""Series as a module reads them: scaled, of one length, with the targets of a mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.data import Scaling, Series
from sciml.dsl import DataError, DeclarationError

from ._adversarial import Adversarial
from ._modes import Classification, Regression, Variational

Mode = Classification | Regression | Variational | Adversarial


class Batch(eqx.Module):
    """Several series: `times`, shape (series, time), the last of each repeated as padding.

    `values`, shape (series, time, channel), NaN where there is none; `targets`, whole numbers of
    shape (series,) for classes, or numbers of shape (series, target), NaN where unknown.
    """

    times: Float[Array, "series time"]
    values: Float[Array, "series time channel"]
    targets: Array

    def __len__(self) -> int:
        return self.times.shape[0]

    def rows(self, rows: Any) -> Batch:
        """Some of the series, by number."""
        return Batch(self.times[rows], self.values[rows], self.targets[rows])


@dataclasses.dataclass(frozen=True)
class Reader:
    """How series become batches, as the series that are trained on have set it.

    Fields: `mode`; `scaling` of the channels, and the `span` of time that counts as 1, or None
    where both are left as they are; `channels` of the training series; `length`, to which they are
    padded; `classes`; `shift` and `scale` of numeric targets, shape (target,).
    """

    mode: Mode
    scaling: Scaling | None
    span: float
    channels: tuple
    length: int
    classes: tuple
    shift: np.ndarray
    scale: np.ndarray

    @property
    def targets(self) -> int:
        """How many outputs a module has."""
        return len(self.classes) if isinstance(self.mode, Classification) else len(self.shift)

    @property
    def ahead(self) -> int:
        """How many times at the end of a series are foretold."""
        return getattr(self.mode, "ahead", None) or 0

    def batch(self, series: Series) -> Batch:
        """Series with their targets, which are not read."""
        return self._batch(self._without_end(series), self._targets(series))

    def unlabelled(self, series: Series) -> Batch:
        """Series that are read to their end."""
        return self._batch(series, np.zeros((len(series), 0)))

    def undo(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of a regression in the units of the data, shape (series, ...)."""
        plain = outputs * self.scale + self.shift
        if self.ahead:
            return plain.reshape(len(plain), self.ahead, -1)
        return plain[:, 0] if plain.shape[1] == 1 else plain

    def in_units(self, batch: Batch, values: np.ndarray, series: Series) -> Series:
        """Values of shape (series, time, channel), which a module gave for a batch, as series."""
        parts = [one[: len(t)] for one, t in zip(values, series.times, strict=True)]
        scaled = dataclasses.replace(series.select(*self.channels), values=parts)
        return scaled if self.scaling is None else self.scaling.undo(scaled)

    def _batch(self, series: Series, targets: np.ndarray) -> Batch:
        series = series.select(*self.channels)
        if self.scaling is not None:
            series = self.scaling.apply(series)
        if self.scaling is not None:
            times = [(one - one[0]) / self.span for one in series.times]
            series = dataclasses.replace(series, times=times)
        length = max(self.length, int(series.lengths.max()))
        padded = series.padded(length, fill=np.nan)
        kind = int if isinstance(self.mode, Classification) else padded.values.dtype
        return Batch(padded.times, padded.values, jnp.asarray(targets.astype(kind)))

    def _without_end(self, series: Series) -> Series:
        return without_end(series, self.ahead) if self.ahead else series

    def _targets(self, series: Series) -> np.ndarray:
        found = plain_targets(self.mode, series, self.channels, self.classes)
        if isinstance(self.mode, Classification):
            return found
        return (found - self.shift) / self.scale


def make_reader(mode: Mode, series: Series) -> Reader:
    """How these series, which are trained on, and others like them become batches.

    Raises `DataError` for series without the targets of the mode, or too short for it.
    """
    ahead = getattr(mode, "ahead", None) or 0
    read = without_end(series, ahead) if ahead else series
    scaling, span = None, 1.0
    if mode.scaling != "none":
        scaling = Scaling.fit(read, mode.scaling)
        span = max(float(one[-1] - one[0]) for one in read.times) or 1.0
    classes = series.classes if isinstance(mode, Classification) else ()
    if isinstance(mode, Classification) and len(classes) < 2:
        raise DataError(
            "a classification needs series with labels of two classes or more: give them, "
            "Series(..., labels=[...])"
        )
    shift, scale = np.zeros(0), np.ones(0)
    if isinstance(mode, Regression):
        wanted = plain_targets(mode, series, series.channels, classes)
        shift, scale = _moments(wanted, mode)
    length = int(read.lengths.max())
    return Reader(mode, scaling, span, series.channels, length, classes, shift, scale)


def without_end(series: Series, count: int) -> Series:
    """Series without their last times. Raises `DataError` for one that has too few."""
    short = np.flatnonzero(series.lengths < count + 2)
    if short.size:
        who, has = series.ids[int(short[0])], int(series.lengths[short[0]])
        raise DataError(
            f"series {who!r} has {has} times: to foretell {count} ahead it needs {count + 2} or "
            "more; leave it out, or foretell less"
        )
    return series._rows([np.arange(size) < size - count for size in series.lengths])


def plain_targets(mode: Mode, series: Series, channels: tuple, classes: tuple) -> np.ndarray:
    """What a mode compares with, in the units of the data; a row for each series."""
    if isinstance(mode, Variational | Adversarial):
        return np.zeros((len(series), 0))
    if isinstance(mode, Classification):
        return _places(series, classes)
    if mode.ahead is not None:
        chosen = series.select(*(mode.channels or channels))
        return np.stack([one[-mode.ahead :].ravel() for one in chosen.values])
    if series.labels is None:
        raise DataError(
            "a regression needs series with numbers as labels, Series(..., labels=[...]), or "
            "Regression(ahead=...) to foretell their last times"
        )
    try:
        found = np.asarray(series.labels, float).reshape(len(series), -1)
    except (TypeError, ValueError):
        raise DataError(
            "the labels of a regression are numbers, or tuples of equally many, not "
            f"{series.labels[0]!r}"
        ) from None
    return found


def _places(series: Series, classes: Sequence) -> np.ndarray:
    if series.labels is None:
        raise DataError("the series have no labels: give them, Series(..., labels=[...])")
    places = {label: place for place, label in enumerate(classes)}
    if strange := [label for label in series.labels if label not in places]:
        raise DataError(f"the label {strange[0]!r} is none of the classes {tuple(classes)}")
    return np.array([places[label] for label in series.labels])


def _moments(wanted: np.ndarray, mode: Regression) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of numeric targets."""
    if mode.scaling == "none":
        return np.zeros(wanted.shape[1]), np.ones(wanted.shape[1])
    if empty := np.flatnonzero(~np.any(np.isfinite(wanted), axis=0)).tolist():
        raise DataError(f"target {empty[0]} is missing in every series: leave it out")
    shift, scale = np.nanmean(wanted, axis=0), np.nanstd(wanted, axis=0)
    return shift, np.where(scale > 0, scale, 1.0)


def as_series(data: Any, mode: Mode) -> Series:
    """The batch that a user gave. Raises `DeclarationError` for what is none."""
    if isinstance(data, Series):
        return data
    raise DeclarationError(
        f"{type(mode).__name__} learns from a batch of series, not {type(data).__name__}: give "
        "sm.data.Series(times, values, channels, labels=...)"
    )
