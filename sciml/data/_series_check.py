"""What a batch of series must be; every series at fault is named, with a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy

from sciml.dsl import DataError, name_of

from ._series_names import shown_id

_MOST = 5  # faults that a message lists


def as_channels(given: Any) -> tuple:
    """Channels as a tuple of symbols, expressions and names."""
    channels = tuple(given.split()) if isinstance(given, str) else _listed(given)
    if not channels:
        raise DataError("the series have no channels: name what was measured, Series(..., 'x y')")
    for channel in channels:
        if not isinstance(channel, str | sympy.Expr):
            raise DataError(f"a channel is a symbol, an expression or a name, not {channel!r}")
    names = [name_of(channel) for channel in channels]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two channels are called {', '.join(twice)}: rename one of them")
    if "t" in names:
        raise DataError("a channel cannot be called t, which is the time: rename it")
    return channels


def _listed(given: Any) -> tuple:
    return (given,) if isinstance(given, sympy.Expr) else tuple(given)


def as_batch(times: Any, values: Any, ids: Any) -> tuple[tuple, tuple, tuple]:
    """Times, values and ids of each series, as given; one list of times may serve all."""
    values = list(values)
    if not values:
        raise DataError("there are no series: a batch holds one at least")
    ids = tuple(range(len(values))) if ids is None else _plain(ids)
    times = list(times)
    if times and all(np.ndim(one) == 0 for one in times):
        times = [times] * len(values)
    if not len(times) == len(values) == len(ids):
        raise DataError(
            f"there are times of {len(times)} series, values of {len(values)} and {len(ids)} ids: "
            "one of each for every series"
        )
    numbered = [
        (as_numbers(moments, f"series {shown_id(who)}: its times"), as_numbers(rows, place))
        for moments, rows, who in zip(times, values, ids, strict=True)
        for place in [f"series {shown_id(who)}: its values"]
    ]
    return tuple(one for one, _ in numbered), tuple(one for _, one in numbered), ids


def _plain(given: Any) -> tuple:
    """As a tuple, of Python's numbers where it was an array of numpy's or JAX's."""
    return tuple(np.asarray(given).tolist() if hasattr(given, "dtype") else given)


def as_labels(labels: Any, classes: Any, ids: tuple) -> tuple[tuple | None, tuple]:
    """Labels of the series, and the different ones in order."""
    if labels is None:
        return None, () if classes is None else tuple(classes)
    labels = _plain(labels)
    if len(labels) != len(ids):
        raise DataError(f"there are {len(labels)} labels for {len(ids)} series: one for each")
    for label, who in zip(labels, ids, strict=True):
        if label is None or label != label:  # NaN
            raise DataError(f"series {shown_id(who)} has no label: leave it out, or name one")
    if classes is None:
        try:
            return labels, tuple(sorted(set(labels)))
        except TypeError:
            raise DataError(
                "labels are all numbers, or all names, so that they have an order"
            ) from None
    if strange := set(labels) - set(classes):
        raise DataError(f"the label {strange.pop()!r} is none of the classes {tuple(classes)}")
    return labels, tuple(classes)


def as_numbers(given: Any, what: str) -> np.ndarray:
    """An array of floats. Raises `DataError` that begins with `what` for anything else."""
    dtype = getattr(given, "dtype", None)
    if getattr(dtype, "kind", "") in tuple("Mm"):
        raise DataError(
            f"{what} are dates: give numbers in a unit of your own, such as days, "
            "(dates - dates[0]) / numpy.timedelta64(1, 'D')"
        )
    try:
        if isinstance(given, np.ma.MaskedArray):
            return np.array(np.ma.filled(given.astype(float), np.nan))
        if type(given).__module__.startswith("pandas"):
            _refuse_text(given.to_numpy(), what)
            return np.array(given.to_numpy(dtype=float, na_value=np.nan))
        _refuse_text(np.asarray(given), what)
        return np.array(given, float)
    except DataError:
        raise
    except (TypeError, ValueError):
        raise DataError(f"{what} are not all numbers (use NaN where missing)") from None


def _refuse_text(given: np.ndarray, what: str) -> None:
    """Text is no number, even where it reads like one; neither are complex numbers."""
    kind = given.dtype.kind
    text = [one for one in given.ravel() if isinstance(one, str)] if kind == "O" else []
    if kind in "USc" or text:
        example = (text or given.ravel().tolist())[0]
        raise DataError(
            f"{what} hold {example!r}, which is no real number: convert them first, or leave them "
            "out"
        )


def refuse_faults(times: tuple, values: tuple, ids: tuple, channels: tuple) -> tuple:
    """The values with a column for each channel. Raises `DataError` for all series at fault."""
    shaped = tuple(rows[:, None] if rows.ndim == 1 else rows for rows in values)
    _refuse_ragged(shaped, ids, channels)
    found = []
    for moments, rows, who in zip(times, shaped, ids, strict=True):
        fault = _time_fault(moments) or _value_fault(moments, rows, channels)
        if fault:
            found.append(f"series {shown_id(who)} {fault}")
    if len(found) > 1:
        more = [f"... and {len(found) - _MOST} more"] if len(found) > _MOST else []
        raise DataError("\n  ".join([f"{len(found)} series are at fault", *found[:_MOST], *more]))
    if found:
        raise DataError(found[0])
    return shaped


def _refuse_ragged(values: Sequence[np.ndarray], ids: tuple, channels: tuple) -> None:
    """Raises `DataError` unless every series has a column for each channel."""
    for rows, who in zip(values, ids, strict=True):
        if rows.ndim != 2:
            raise DataError(
                f"series {shown_id(who)} has values of shape {rows.shape}, not (time, channel)"
            )
        if rows.shape[1] != len(channels):
            names = ", ".join(map(name_of, channels))
            raise DataError(
                f"series {shown_id(who)} has {rows.shape[1]} columns for {len(channels)} channels "
                f"({names}): give a column of NaN for what was not measured"
            )


def _time_fault(times: np.ndarray) -> str:
    if times.ndim != 1:
        return f"has times of shape {times.shape}: they are a list of numbers"
    if not len(times):
        return "is empty: leave it out"
    if not np.all(np.isfinite(times)):
        row = int(np.argmin(np.isfinite(times)))
        return f"has no finite time in row {row}: drop the rows without one"
    late = np.flatnonzero(np.diff(times) <= 0)
    if not late.size:
        return ""
    row = int(late[0]) + 1
    before, now = times[row - 1], times[row]
    if now == before:
        return (
            f"has the time {now:.9g} twice, in rows {row - 1} and {row}: average what was measured "
            "at one time, frame.groupby([series, time]).mean(), or make two series of it"
        )
    return f"has times that do not increase: row {row} has {now:.9g} after {before:.9g}; sort them"


def _value_fault(times: np.ndarray, values: np.ndarray, channels: tuple) -> str:
    if len(times) != len(values):
        return f"has {len(times)} times and {len(values)} rows of values: one row for each time"
    infinite = np.isinf(values)
    if infinite.any():
        row, column = (int(one) for one in np.argwhere(infinite)[0])
        name = name_of(channels[column])
        return f"has an infinite {name} in row {row}: use NaN where a value is missing"
    if not np.any(np.isfinite(values)):
        names = ", ".join(map(name_of, channels))
        return f"has no value of {names}: all are missing; leave it out"
    return ""
