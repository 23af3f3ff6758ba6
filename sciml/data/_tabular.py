"""Series from the tables of pandas and the arrays of xarray, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.dsl import DataError, name_of

from ._series_check import as_numbers
from ._series_names import shown_id

if TYPE_CHECKING:
    from ._series import Series

_TIME_NAMES = ("t", "time")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a frame hold what; None where it is to be found out."""

    time: Hashable
    series: Hashable
    channels: Mapping | Sequence | None
    label: Hashable

    def batch(self, frames: Any) -> dict[str, Any]:
        """The arguments of `Series` for one or several frames."""
        named = self._named(frames)
        if not named:
            raise DataError("there are no series: the frames hold no rows")
        wanted = self._wanted(named[0][1])
        times, values, labels = [], [], []
        for who, frame in named:
            place = f"series {shown_id(who)}: "
            times.append(self._times(frame, place))
            columns = [_column(frame, column, place) for column in wanted.values()]
            values.append(np.stack(columns, axis=1))
            labels.append(None if self.label is None else self._label(frame, place))
        found = {"times": times, "values": values, "channels": list(wanted)}
        labelled = None if self.label is None else labels
        return {**found, "labels": labelled, "ids": [who for who, _ in named]}

    def _named(self, frames: Any) -> list[tuple[Any, Any]]:
        """Every series with its id."""
        if _is_frame(frames):
            return self._grouped(frames)
        if isinstance(frames, Mapping):
            named = list(frames.items())
        elif isinstance(frames, Sequence) and not isinstance(frames, str):
            named = list(enumerate(frames))
        else:
            raise DataError(f"expected a DataFrame, or several, not {type(frames).__name__}")
        for who, frame in named:
            if not _is_frame(frame):
                kind = type(frame).__name__
                raise DataError(f"series {shown_id(who)} is a {kind}, not a DataFrame")
        if self.series is not None:
            raise DataError("series names a column of one long frame: concatenate these first")
        return named

    def _grouped(self, frame: Any) -> list[tuple[Any, Any]]:
        if not frame.columns.is_unique:
            raise DataError(f"two columns have the same name: {list(frame.columns)}")
        if self.series is None:
            return [(0, frame)] if len(frame) else []
        _require(frame, self.series, "")
        unknown = frame[self.series].isna()
        if unknown.any():
            raise DataError(
                f"column {self.series} does not say to which series {int(unknown.sum())} of the "
                f"rows belong: drop them, frame.dropna(subset=[{self.series!r}])"
            )
        return [(_plain(who), rows) for who, rows in frame.groupby(self.series, sort=False)]

    def _wanted(self, frame: Any) -> dict[Any, Any]:
        """Columns by channel."""
        if isinstance(self.channels, Mapping):
            return dict(self.channels)
        if self.channels is not None:
            return {str(column): column for column in self.channels}
        taken = {self._clock(frame), self.series, self.label}
        return {str(column): column for column in frame.columns if column not in taken}

    def _clock(self, frame: Any) -> Hashable:
        """The column of times; None if the index holds them."""
        if self.time is not None:
            return self.time
        return next((name for name in _TIME_NAMES if name in frame.columns), None)

    def _times(self, frame: Any, place: str) -> np.ndarray:
        clock = self._clock(frame)
        if clock is not None and (clock in frame.columns or clock != frame.index.name):
            return _column(frame, clock, place)
        index = frame.index
        long = self.series is not None and index.name is None  # the rows are merely numbered
        if long or index.name not in (None, clock, *_TIME_NAMES):
            raise DataError(f"{place}there are no times: say which column holds them, time='day'")
        return as_numbers(index, f"{place}its times (the index)")

    def _label(self, frame: Any, place: str) -> Any:
        _require(frame, self.label, place)
        found = frame[self.label].unique()
        if len(found) != 1:
            shown = ", ".join(map(repr, map(_plain, found[:3])))
            raise DataError(
                f"{place}column {self.label} holds {len(found)} labels ({shown}): a series has one"
            )
        return _plain(found[0])


def _is_frame(given: Any) -> bool:
    return getattr(given, "columns", None) is not None and getattr(given, "index", None) is not None


def _require(frame: Any, column: Any, place: str) -> None:
    if column not in frame.columns:
        known = ", ".join(map(str, frame.columns))
        cure = ": make a column of it, frame.reset_index()" if column in frame.index.names else ""
        raise DataError(f"{place}there is no column {column!r}; the frame has {known}{cure}")


def _column(frame: Any, column: Any, place: str) -> np.ndarray:
    _require(frame, column, place)
    return as_numbers(frame[column], f"{place}the values of column {column}")


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python has it."""
    return value.item() if isinstance(value, np.generic) else value


def to_pandas(series: Series) -> Any:
    """A DataFrame in long form."""
    import pandas as pd

    counts = series.lengths
    every = np.repeat(np.arange(len(series)), counts)
    columns: dict[str, Any] = {
        "series": [series.ids[row] for row in every],
        "t": np.concatenate(series.times),
    }
    for channel, column in zip(series.channels, np.concatenate(series.values).T, strict=True):
        columns[name_of(channel)] = column
    if series.labels is not None:
        columns["label"] = [series.labels[row] for row in every]
    return pd.DataFrame(columns)


def from_xarray(
    data: Any,
    time: str | None,
    series: str | None,
    channels: Mapping | Sequence | None,
    label: str | None,
) -> dict[str, Any]:
    """The arguments of `Series` for a Dataset or DataArray."""
    data = _dataset(data, time, series)
    clock, along, series = _dimensions(data, time, series)
    if isinstance(channels, Mapping):
        wanted = {name: channel for channel, name in channels.items()}
    else:
        names = data.data_vars if channels is None else channels
        wanted = {str(name): str(name) for name in names if name not in (clock, label)}
    lead = (along,) if series is None else (series, along)
    columns, units = {}, {}
    for name, channel in wanted.items():
        if name not in data:
            raise DataError(f"there is no variable {name!r}; there are {', '.join(data.data_vars)}")
        elements = _elements(data[name], channel, lead)
        columns |= elements
        if unit := data[name].attrs.get("units"):
            units |= dict.fromkeys(elements, unit)
    if not columns:
        raise DataError(f"no variable has the dimension {along} of the times")
    if unit := data[clock].attrs.get("units"):
        units["t"] = unit
    batch = _rows_of(data, clock, series, lead, np.stack(list(columns.values()), axis=-1))
    labels = None if label is None else [_plain(one) for one in np.asarray(data[label]).ravel()]
    return {**batch, "channels": list(columns), "labels": labels, "units": units}


def _dataset(data: Any, time: str | None, series: str | None) -> Any:
    """A DataArray as a Dataset: its channels are the dimension that has names."""
    if getattr(data, "data_vars", None) is not None:
        return data
    if getattr(data, "dims", None) is None:
        raise DataError(f"expected a Dataset or a DataArray of xarray, not {type(data).__name__}")
    for name in data.dims:
        named = name in data.coords and data[name].dtype.kind in "UOT"
        if named and name not in (time, series):
            return data.to_dataset(dim=name)
    return data.to_dataset(name=data.name or "x")


def _dimensions(data: Any, time: str | None, series: str | None) -> tuple[str, str, str | None]:
    """The coordinate of the times, its dimension, and that of the series, if there is one."""
    clock = time or next((name for name in _TIME_NAMES if name in data.coords), None)
    if clock is None or clock not in data.coords:
        wanted = " or ".join([time] if time else _TIME_NAMES)
        known = ", ".join(map(str, data.coords)) or "none"
        raise DataError(
            f"there is no coordinate {wanted} with the times; there are: {known}. Name it, time=..."
        )
    own = [name for name in data[clock].dims if name != series]
    if len(own) == 2 and series is None:  # as Solution.to_xarray has it
        series, own = own[0], own[1:]
    if len(own) != 1:
        raise DataError(
            f"the times {clock} have the dimensions {data[clock].dims}: they are (time,) or "
            "(series, time)"
        )
    if series is None:
        series = _before(data, own[0])
    return clock, own[0], series


def _before(data: Any, along: str) -> str | None:
    """The dimension of the series: the one that stands before that of the times."""
    dims = [v.dims for v in data.data_vars.values() if along in v.dims]
    found = sorted({str(name) for own in dims for name in own[: own.index(along)]})
    if len(found) > 1:
        raise DataError(
            f"the series may be along {' or '.join(found)}: name one, series={found[0]!r}, or make "
            f"one of them, data.stack(series={found})"
        )
    return found[0] if found else None


def _elements(variable: Any, channel: Any, lead: tuple) -> dict[Any, np.ndarray]:
    """The values of a channel, shape (series, time) or (time,); of each element if it has some."""
    if absent := [name for name in lead if name not in variable.dims]:
        raise DataError(
            f"variable {variable.name} has no dimension {', '.join(absent)}: choose others, "
            "channels=[...]"
        )
    ordered = variable.transpose(*lead, ...)
    values = as_numbers(ordered.values, f"the values of variable {variable.name}")
    own = values.shape[len(lead) :]
    name = name_of(channel)
    if not own:
        return {channel: values}
    return {f"{name}[{', '.join(map(str, key))}]": values[(..., *key)] for key in np.ndindex(*own)}


def _rows_of(
    data: Any, clock: str, series: str | None, lead: tuple, values: np.ndarray
) -> dict[str, Any]:
    """Times, values and ids of each series, without its padding."""
    if series is None:
        values = values[None]
    moments = as_numbers(data[clock].values, f"the times {clock}")
    if data[clock].ndim == 2:
        moments = as_numbers(data[clock].transpose(*lead).values, f"the times {clock}")
    every = np.broadcast_to(moments, values.shape[:2])
    known = np.asarray(np.isfinite(values).any(axis=-1))
    ends = [int(np.max(np.flatnonzero(row), initial=-1)) + 1 or len(row) for row in known]
    named = series is not None and series in data.coords
    ids = [_plain(one) for one in np.asarray(data[series])] if named else range(len(values))
    return {
        "times": [row[:end] for row, end in zip(every, ends, strict=True)],
        "values": [row[:end] for row, end in zip(values, ends, strict=True)],
        "ids": list(ids),
    }
