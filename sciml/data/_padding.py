"""Padded: a batch of series as arrays of one shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sciml.dsl import DataError

from ._series_names import shown_id

if TYPE_CHECKING:
    from ._series import Series


class Padded(NamedTuple):
    """A batch of series as arrays of one shape; a pytree, and a tuple to unpack.

    Fields: `times`, shape (series, time), the last one of each series repeated as padding;
    `values`, shape (series, time, channel), filled where there is none; `mask`, of the same shape,
    where there is a value.
    """

    times: Float[Array, "series time"]
    values: Float[Array, "series time channel"]
    mask: Bool[Array, "series time channel"]

    @property
    def lengths(self) -> Int[Array, " series"]:
        """How many times each series has, without the padding."""
        return 1 + jnp.sum(jnp.diff(self.times, axis=1) > 0, axis=1)


def pad(series: Series, length: int | None, fill: float) -> Padded:
    """The arrays of a batch."""
    longest = int(series.lengths.max())
    length = longest if length is None else length
    if length < longest:
        who = shown_id(series.ids[int(series.lengths.argmax())])
        raise DataError(
            f"series {who} has {longest} times, which do not fit into {length}: cut it first, "
            "series.between(first, last), or pad to more"
        )
    shape = (len(series), length, len(series.channels))
    times = np.stack([np.pad(one, (0, length - len(one)), mode="edge") for one in series.times])
    values, mask = np.full(shape, fill), np.zeros(shape, bool)
    for row, (one, known) in enumerate(zip(series.values, series.masks, strict=True)):
        values[row, : len(one)] = np.where(known, one, fill)
        mask[row, : len(one)] = known
    moments = jnp.asarray(times)
    _refuse_equal(series, times, np.asarray(moments))
    return Padded(moments, jnp.asarray(values), jnp.asarray(mask))


def _refuse_equal(series: Series, exact: np.ndarray, rounded: np.ndarray) -> None:
    """Raises `DataError` for times that are one number in JAX's floating type."""
    lost = (np.diff(exact, axis=1) > 0) & (np.diff(rounded, axis=1) <= 0)
    if lost.any():
        row, step = (int(one) for one in np.argwhere(lost)[0])
        before, now = exact[row, step], exact[row, step + 1]
        raise DataError(
            f"series {shown_id(series.ids[row])} has the times {before:.12g} and {now:.12g}, which "
            f"are one number in {rounded.dtype}: count from a later origin, or compute in float64"
        )
