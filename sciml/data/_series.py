"""Series: a batch of irregular, partly observed time series of unequal length."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import sympy
from jaxtyping import Bool, Float

from sciml.dsl import DataError, name_of, t

from . import _padding, _sampling, _shown, _tabular
from ._series_check import as_batch, as_channels, as_labels, refuse_faults
from ._series_names import position, shown_id


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Series:
    """A batch of time series, each with times of its own and gaps of its own.

    Fields: `times`, for each series its increasing times, shape (time,), or one list of times for
    all; `values`, for each series shape (time, channel), or (time,) with a single channel, NaN
    where nothing was measured; `channels`, symbols, expressions or names (``"x y"`` for short).
    By keyword: `labels`, one for each series, such as its class; `ids`, what each series is called,
    0, 1, ... by default; `units`, by channel, that of the times under ``t``; those of symbols are
    known; `source`, where the measurements were published; `classes`, the different labels, by
    default those that there are, in order: parts of a batch have those of the whole.

    Indexed by a number, a slice, a list of numbers or a mask, a batch is a smaller batch; indexed
    by a channel, the list of its values in each series. `sm.fit` takes a batch as it is.

    Raises `DataError` for times that do not increase, series without any value, infinite values,
    what is no number, and unequal numbers of channels; it names every such series.

    >>> import sciml as sm, math
    >>> times = [[0, 1, 3], [0.5, 2]]
    >>> batch = sm.data.Series(times, [[1, math.nan, 3], [4, 5]], "x", labels=["a", "b"])
    >>> len(batch), batch.lengths, batch[1].values
    (2, array([3, 2]), (array([[4.],
           [5.]]),))
    """

    times: Any
    values: Any
    channels: Any
    _: dataclasses.KW_ONLY
    labels: Any = None
    ids: Any = None
    units: Mapping[Any, str] = dataclasses.field(default_factory=dict)
    source: str = ""
    classes: Any = None

    def __post_init__(self) -> None:
        channels = as_channels(self.channels)
        times, values, ids = as_batch(self.times, self.values, self.ids)
        values = refuse_faults(times, values, ids, channels)
        labels, classes = as_labels(self.labels, self.classes, ids)
        for array in (*times, *values):
            array.flags.writeable = False
        found = {"times": times, "values": values, "channels": channels, "ids": ids}
        found |= {"labels": labels, "classes": classes, "units": _units(self.units, channels)}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_pandas(
        cls,
        frames: Any,
        time: Hashable = None,
        *,
        series: Hashable = None,
        channels: Mapping | Sequence | None = None,
        label: Hashable = None,
        units: Mapping[Any, str] | None = None,
        source: str = "",
    ) -> Series:
        """A batch from a DataFrame in long form, or from one frame for each series.

        Arguments:
          frames: a DataFrame, a list of them, or a mapping from ids to them.
          time: the column of times; by default the column or index "t" or "time", or an index of
            numbers without a name.
          series: the column that says to which series a row belongs; without it a frame is a
            series.
          channels: the columns that were measured, by default all others; or a mapping from symbols
            to columns, ``{x: "hare"}``.
          label: the column that holds the label of a series, the same in all its rows.
          units, source: as of `Series`.

        Raises `DataError` for columns that are not there or hold what is no number, and for labels
        that change within a series.

        >>> import pandas as pd, sciml as sm
        >>> frame = pd.DataFrame({"who": ["a", "a", "b"], "t": [0, 1, 0.5], "x": [1, 2, 3]})
        >>> sm.data.Series.from_pandas(frame, series="who").ids
        ('a', 'b')
        """
        columns = _tabular.Columns(time, series, channels, label)
        return cls(**columns.batch(frames), units=units or {}, source=source)

    @classmethod
    def from_xarray(
        cls,
        data: Any,
        time: str | None = None,
        *,
        series: str | None = None,
        channels: Mapping | Sequence | None = None,
        label: str | None = None,
        source: str = "",
    ) -> Series:
        """A batch from a Dataset or DataArray with times, and series along another dimension.

        Arguments:
          data: variables over the times (and the series) are channels, elements ``x[0]`` of those
            with further dimensions too; a further dimension of a DataArray with names as its
            coordinate is that of the channels.
          time: the coordinate of the times, by default "t" or "time"; it has the dimension of the
            times, or that of the series as well.
          series: the dimension of the series, by default the one before that of the times.
          channels: the variables that were measured, by default all; or a mapping from symbols to
            variables.
          label: the variable or coordinate that holds the label of each series.
          source: as of `Series`.

        Rows without any value at the end of a series are padding, and left out. Units are read from
        the attribute ``units``.

        >>> import numpy as np, sciml as sm, xarray as xr
        >>> padded = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
        >>> data = xr.Dataset({"x": (("run", "t"), padded)}, coords={"t": [0.0, 0.1, 0.2]})
        >>> sm.data.Series.from_xarray(data, series="run").lengths
        array([3, 2])
        """
        return cls(**_tabular.from_xarray(data, time, series, channels, label), source=source)

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Series]:
        """The series one by one, each a batch of one."""
        return (self[row] for row in range(len(self)))

    def __getitem__(self, which: Any) -> Any:
        """A smaller batch, or the values of a channel in each series.

        Raises `DataError` for a series or a channel that is not there.
        """
        if isinstance(which, str | sympy.Expr):
            column = position(self.channels, which)
            return [values[:, column] for values in self.values]
        try:
            rows = np.atleast_1d(np.arange(len(self))[which])
        except IndexError:
            raise DataError(f"the batch has no series {which}: it holds {len(self)}") from None
        return self._taken(rows.tolist())

    @property
    def lengths(self) -> np.ndarray:
        """How many times each series has."""
        return np.array([len(times) for times in self.times])

    @property
    def masks(self) -> tuple[Bool[np.ndarray, "time channel"], ...]:
        """For each series, where there is a value."""
        return tuple(np.isfinite(values) for values in self.values)

    @property
    def missing(self) -> float:
        """The share of all values that is missing."""
        return 1 - float(np.mean(np.concatenate(self.masks)))

    @property
    def targets(self) -> np.ndarray:
        """The label of each series as its place in `classes`. Raises `DataError` without labels."""
        if self.labels is None:
            raise DataError("the series have no labels: give them, Series(..., labels=[...])")
        places = {label: place for place, label in enumerate(self.classes)}
        return np.array([places[label] for label in self.labels])

    def select(self, *channels: Any) -> Series:
        """The same series with these channels alone, in this order."""
        columns = [position(self.channels, channel) for channel in channels]
        values = [one[:, columns] for one in self.values]
        kept = [self.channels[column] for column in columns]
        names = {"t", *map(name_of, kept)}
        units = {name: unit for name, unit in self.units.items() if name in names}
        return dataclasses.replace(self, values=values, channels=kept, units=units)

    def between(self, first: float, last: float) -> Series:
        """The measurements from one time to another, both included.

        >>> import sciml as sm
        >>> sm.data.el_nino().between(1960, 1970).lengths
        array([120])
        """
        rows = [(times >= first) & (times <= last) for times in self.times]
        return self._rows(rows)

    def windows(self, length: int, *, stride: int = 1) -> Series:
        """Every stretch of `length` times of each series, `stride` times apart, as a series.

        Its id is that of the series and the number of its first time there. Stretches without any
        value are left out, and so are series shorter than a stretch.

        >>> import sciml as sm
        >>> sm.data.el_nino().windows(24, stride=12)[:2].ids
        ((0, 0), (0, 12))
        """
        return _sampling.windows(self, length, stride)

    def split(self, shares: Sequence[float], *, key: Any, stratify: bool = False) -> tuple:
        """The series in parts at random, such as for training, validation and test.

        Arguments:
          shares: what share of the series each part gets; together 1.
          key: a `jax.random.key`, or an integer, the seed.
          stratify: split the series of each class by these shares.

        Each part keeps the order of the series. Raises `DataError` for a part without any series.

        >>> import jax, sciml as sm
        >>> batch, _ = sm.data.japanese_vowels()
        >>> [len(part) for part in batch.split((0.7, 0.15, 0.15), key=jax.random.key(0))]
        [189, 41, 40]
        """
        parts = _sampling.split(self, shares, key, stratify)
        return tuple(self[rows] for rows in parts)

    def drop(self, share: float, *, key: Any, rows: bool = False) -> Series:
        """A share of the measurements of each series taken away at random.

        Arguments:
          share: of the values that there are, in [0, 1); each series keeps one at least.
          key: a `jax.random.key`, or an integer, the seed. What is missing at a share is missing at
            every larger one with the same key.
          rows: take away whole times instead of single values.

        >>> import jax, sciml as sm
        >>> batch, _ = sm.data.japanese_vowels()
        >>> round(batch.drop(0.3, key=jax.random.key(0)).missing, 2)
        0.3
        """
        return _sampling.drop(self, share, key, rows)

    def padded(self, length: int | None = None, *, fill: float = 0.0) -> _padding.Padded:
        """Arrays of one shape, ``times, values, mask``, as a function under `jit` takes them.

        Arguments:
          length: how many times to pad to, by default those of the longest series; batches padded
            to one length share one compiled function.
          fill: the value where there is none.

        After the end of a series its last time is repeated. Raises `DataError` for a length that is
        too short, and times that are the same in JAX's floating type.

        >>> import sciml as sm
        >>> batch = sm.data.Series([[0, 1, 3], [0.5, 2]], [[1, 2, 3], [4, 5]], "x")
        >>> times, values, mask = batch.padded()
        >>> times[1].tolist(), values.shape, mask[1, :, 0].tolist()
        ([0.5, 2.0, 2.0], (2, 3, 1), [True, True, False])
        """
        return _padding.pad(self, length, fill)

    def trajectories(self) -> list[dict[Any, Float[np.ndarray, " time"]]]:
        """The series as mappings from ``t`` and the channels to columns, as `sm.fit` reads them."""
        return [
            {t: times, **dict(zip(self.channels, values.T, strict=True))}
            for times, values in zip(self.times, self.values, strict=True)
        ]

    def to_pandas(self) -> Any:
        """A DataFrame in long form: the columns ``series``, ``t``, the channels, and ``label``."""
        return _tabular.to_pandas(self)

    def plot(self, *channels: Any, ax: Any = None) -> Any:
        """Draws channels over time (all, if none is named); returns the axes.

        Neighbouring values are joined across gaps. A single channel of labelled series has a colour
        for each label. Of very many series, some at equal distances are drawn.
        """
        return _shown.draw(self, channels, ax)

    def __str__(self) -> str:
        return _shown.as_text(self)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": _shown.as_html(self)}

    def _taken(self, rows: list[int]) -> Series:
        """Some of the series, by number."""
        pick = {name: [getattr(self, name)[row] for row in rows] for name in _EACH}
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return dataclasses.replace(self, **pick, labels=labels)

    def _rows(self, masks: Sequence[np.ndarray]) -> Series:
        """Some of the times of each series."""
        for mask, who in zip(masks, self.ids, strict=True):
            if not mask.any():
                raise DataError(
                    f"nothing would be left of series {shown_id(who)}: leave it out first"
                )
        times = [times[mask] for times, mask in zip(self.times, masks, strict=True)]
        values = [values[mask] for values, mask in zip(self.values, masks, strict=True)]
        return dataclasses.replace(self, times=times, values=values)


_EACH = ("times", "values", "ids")


def _units(given: Mapping[Any, str], channels: Sequence[Any]) -> dict[str, str]:
    """Units by name: those that were given, and those that symbols have."""
    known = {"t", *map(name_of, channels)}
    units = {name_of(channel): unit for channel, unit in given.items()}
    if strange := [name for name in units if name not in known]:
        raise DataError(
            f"a unit is given for {', '.join(strange)}, which is no channel: they are "
            f"{', '.join(map(name_of, channels))}, and t for the times"
        )
    own = {name_of(channel): getattr(channel, "unit", None) for channel in channels}
    return {name: unit for name, unit in own.items() if unit} | units
