"""Scaling: values of order one for networks, and back again in results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sciml.dsl import DataError, name_of, table_html, table_text
from sciml.solvers import is_traced

from ._series import Series
from ._series_check import as_numbers
from ._series_names import position, shown_id

_KINDS = ("standard", "minmax", "log", "none")
_HEADER = ("channel", "kind", "shift", "scale", "unit")


class Scaling(eqx.Module):
    r"""How the channels of series are brought to order one, :math:`z = (f(x) - m) / s`.

    =============  ======================  ==================================================
    kind           :math:`f(x)`            :math:`m` and :math:`s`, in the series of the fit
    =============  ======================  ==================================================
    ``standard``   :math:`x`               mean and standard deviation
    ``minmax``     :math:`x`               least value, and how far the greatest is from it
    ``log``        :math:`\log x`          mean and standard deviation of the logarithms
    ``none``       :math:`x`               0 and 1
    =============  ======================  ==================================================

    Fit it to the series that are trained on, and to no others. `undo` is the inverse of `apply`.

    Fields: `channels`, `kinds` and `units`, one for each channel; `shift`, :math:`m`, and `scale`,
    :math:`s`, shape (channel,). It is a pytree: it goes through `jit`.
    """

    channels: tuple = eqx.field(static=True)
    kinds: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    shift: Any
    scale: Any

    @classmethod
    def fit(cls, series: Series, kind: str | Mapping[Any, str] = "standard") -> Scaling:
        """The scaling that suits these series.

        Arguments:
          series: those that are trained on.
          kind: "standard", "minmax", "log" or "none"; or a mapping from channels to these, with
            "standard" for all others.

        The scale of a channel that never changes is 1. Raises `DataError` for a channel without any
        value, and for logarithms of what is not above zero.

        >>> import sciml as sm
        >>> batch = sm.data.Series([[0, 1, 2]], [[10, 20, 30]], "x")
        >>> scale = sm.data.Scaling.fit(batch, "minmax")
        >>> scale.apply(batch)["x"], scale.undo(0.25, "x")
        ([array([0. , 0.5, 1. ])], np.float64(15.0))
        """
        kinds = _kinds(series, kind)
        _refuse_logs(series, kinds)
        every = np.concatenate(series.values)
        found = [_moments(*one) for one in zip(series.channels, kinds, every.T, strict=True)]
        shift, scale = np.array(found).T.copy()
        units = tuple(series.units.get(name_of(channel), "") for channel in series.channels)
        return cls(series.channels, kinds, units, shift, scale)

    def apply(self, data: Any, channel: Any = None) -> Any:
        """The scaled values of a batch of series, or of an array.

        Arguments:
          data: a `Series`, with all channels or some; or an array, numpy's or JAX's, of shape (...,
            channel).
          channel: that to which an array of any shape belongs, by symbol or name.

        Missing values stay missing. Raises `DataError` for unknown channels, and for logarithms of
        what is not above zero; in arrays of JAX these are NaN.
        """
        if isinstance(data, Series):
            columns = self._columns_of(data, channel)
            _refuse_logs(data, [self.kinds[column] for column in columns])
            units = dict.fromkeys(map(name_of, data.channels), "")  # of order one, whatever it was
            return self._each(data, columns, _forward, units)
        array = _as_array(data)
        return _forward(array, *self._terms(array, channel))

    def undo(self, data: Any, channel: Any = None) -> Any:
        """The values that `apply` has scaled, with their units again; the arguments are its own.

        >>> import sciml as sm
        >>> year = sm.data.el_nino()
        >>> scale = sm.data.Scaling.fit(year, "log")
        >>> bool(abs(scale.undo(scale.apply(year)).values[0] - year.values[0]).max() < 1e-12)
        True
        """
        if isinstance(data, Series):
            columns = self._columns_of(data, channel)
            units = {name_of(self.channels[column]): self.units[column] for column in columns}
            return self._each(data, columns, _back, units)
        array = _as_array(data)
        return _back(array, *self._terms(array, channel))

    def _each(self, series: Series, columns: list[int], change: Any, units: dict) -> Series:
        """Series with every value changed; times and their unit stay."""
        terms = [one[None] for one in self._columns(columns)]
        time = {"t": series.units["t"]} if "t" in series.units else {}
        values = [change(one, *terms) for one in series.values]
        return dataclasses.replace(series, values=values, units=units | time)

    def _columns_of(self, series: Series, channel: Any) -> list[int]:
        if channel is not None:
            raise DataError("a channel is named for arrays alone: series know their channels")
        return [position(self.channels, one) for one in series.channels]

    def _columns(self, columns: list[int]) -> tuple[Any, Any, np.ndarray]:
        """Shift, scale, and where the logarithm is taken, for some channels."""
        rows = np.array(columns)
        return self.shift[rows], self.scale[rows], np.array(self.kinds)[rows] == "log"

    def _terms(self, array: Any, channel: Any) -> list[Any]:
        """The same, in a shape that goes with the array."""
        if channel is not None:
            place = position(self.channels, channel)
            return [one.reshape((1,) * array.ndim) for one in self._columns([place])]
        if array.ndim == 0 or array.shape[-1] != len(self.channels):
            names = ", ".join(map(name_of, self.channels))
            raise DataError(
                f"the last axis of an array of shape {array.shape} is not that of the "
                f"{len(self.channels)} channels ({names}): name its channel, undo(values, 'x')"
            )
        shape = (1,) * (array.ndim - 1) + (-1,)
        return [one.reshape(shape) for one in self._columns(list(range(len(self.channels))))]

    def __str__(self) -> str:
        if is_traced(self.shift, self.scale):
            return f"Scaling of {', '.join(map(name_of, self.channels))}, traced"
        return f"Scaling\n\n{table_text(_HEADER, self._rows())}"

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": table_html(_HEADER, self._rows())}

    def _rows(self) -> list[list[str]]:
        return [
            [name_of(channel), kind, f"{float(shift):.5g}", f"{float(scale):.5g}", unit]
            for channel, kind, shift, scale, unit in zip(
                self.channels, self.kinds, self.shift, self.scale, self.units, strict=True
            )
        ]


def _as_array(data: Any) -> Any:
    if isinstance(data, jax.Array):
        return data if jnp.issubdtype(data.dtype, jnp.inexact) else data.astype(float)
    return as_numbers(data, "the values")


def _forward(values: Any, shift: Any, scale: Any, logged: Any) -> Any:
    xp, shift, scale = _as_type(values, shift, scale)
    if logged.any():
        # the inner one keeps the logarithm, and its slope, away from the other channels
        values = xp.where(logged, xp.log(xp.where(logged, values, 1)), values)
    return (values - shift) / scale


def _back(values: Any, shift: Any, scale: Any, logged: Any) -> Any:
    xp, shift, scale = _as_type(values, shift, scale)
    values = values * scale + shift
    if logged.any():
        values = xp.where(logged, xp.exp(xp.where(logged, values, 0)), values)
    return values


def _as_type(values: Any, *terms: Any) -> tuple[Any, ...]:
    """numpy or jax.numpy, and the terms in the type of the values."""
    if any(isinstance(one, jax.Array) for one in (values, *terms)):
        return (jnp, *(jnp.asarray(one, values.dtype) for one in terms))
    return (np, *terms)


def _kinds(series: Series, kind: str | Mapping[Any, str]) -> tuple[str, ...]:
    """The kind of each channel."""
    if isinstance(kind, str):
        kinds = [kind] * len(series.channels)
    else:
        kinds = ["standard"] * len(series.channels)
        for channel, one in kind.items():
            kinds[position(series.channels, channel)] = one
    for one in kinds:
        if one not in _KINDS:
            raise DataError(f"the kind of a scaling is one of {', '.join(_KINDS)}, not {one!r}")
    return tuple(kinds)


def _refuse_logs(series: Series, kinds: Sequence[str]) -> None:
    """Raises `DataError` for logarithms of what is not above zero."""
    for channel, kind, column in zip(series.channels, kinds, range(len(kinds)), strict=True):
        if kind != "log":
            continue
        for who, values in zip(series.ids, series.values, strict=True):
            low = np.flatnonzero(values[:, column] <= 0)
            if low.size:
                row, name = int(low[0]), name_of(channel)
                raise DataError(
                    f"series {shown_id(who)} has {name} = {values[row, column]:g} in row {row}, "
                    f"which has no logarithm: scale it otherwise, {{{name!r}: 'standard'}}"
                )


def _moments(channel: Any, kind: str, column: Float[np.ndarray, " time"]) -> tuple[float, float]:
    """Shift and scale of one channel."""
    known = column[np.isfinite(column)]
    if not len(known):
        raise DataError(
            f"no series has a value of {name_of(channel)} to scale by: leave the channel out, "
            "series.select(...)"
        )
    if kind == "none":
        return 0.0, 1.0
    if kind == "log":
        known = np.log(known)
    least, greatest = float(known.min()), float(known.max())
    if least == greatest:
        return least, 1.0
    if kind == "minmax":
        return least, greatest - least
    return float(known.mean()), float(known.std())
