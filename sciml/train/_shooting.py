"""Segments of multiple shooting: which measurements belong to which."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sciml.dsl import FitError, Model

from ._data import Dataset
from ._strategies import MultipleShooting


class Segments(eqx.Module):
    """Segments of the trajectories, with axes (row, segment) for trajectory and segment.

    `index` holds the numbers of the times of each segment, its end included, the end repeated as
    padding; `owner` for each time the segment that predicts it, and `place` where in it; `weight`
    of the squared gaps between segments, which are measured in units of `scale`.
    """

    index: Int[Array, "row segment place"]
    owner: Int[Array, "row time"]
    place: Int[Array, "row time"]
    weight: Float[Array, ""]
    scale: Float[Array, " state"]


def cut(model: Model, data: Dataset, strategy: MultipleShooting, scale: np.ndarray) -> Segments:
    """The segments of every trajectory, of nearly equally many times each.

    Raises `FitError` where a trajectory has too few times.
    """
    rows, length = data.times.shape
    cuts = []
    for row, count in enumerate(data.lengths):
        if count < 2 * strategy.segments:
            where = f" in trajectory {row}" if rows > 1 else ""
            raise FitError(
                f"{strategy.segments} segments need {2 * strategy.segments} times or more, "
                f"and there are {count}{where}: use fewer segments"
            )
        cuts.append(np.round(np.linspace(0, count - 1, strategy.segments + 1)).astype(int))
    ends = np.stack(cuts)
    longest = np.max(np.diff(ends, axis=1)) + 1
    index = np.minimum(ends[:, :-1, None] + np.arange(longest), ends[:, 1:, None])
    times = np.arange(length)
    owner = np.stack([np.searchsorted(row, times, side="right") - 1 for row in ends])
    owner = np.clip(owner, 0, strategy.segments - 1)
    place = np.minimum(times - np.take_along_axis(ends, owner, axis=1), longest - 1)
    return Segments(
        jnp.asarray(index),
        jnp.asarray(owner),
        jnp.asarray(place),
        jnp.asarray(strategy.weight, model.dtype),
        jnp.asarray(scale, model.dtype),
    )


def segment_starts(
    models: list[Model], data: Dataset, segments: Segments
) -> Float[Array, "row segment state"]:
    """Where the inner segments start, in units of their scale.

    At the measurements (interpolated) where an unknown is measured, else at its initial value;
    `models` have the initial values of each trajectory.
    """
    inner = np.asarray(segments.index)[:, 1:, 0]
    starts = np.stack([np.tile(np.asarray(m.state()), (inner.shape[1], 1)) for m in models])
    for piece in models[0].states:
        if piece.name not in data.observed:
            continue
        seen = data.trained(piece.name).reshape(*data.times.shape, -1)
        for row, column in np.ndindex(len(models), seen.shape[-1]):
            values, times = seen[row, :, column], data.times[row]
            known = np.isfinite(values)
            if known.any():
                at = np.interp(times[inner[row]], times[known], values[known])
                starts[row, :, piece.offset + column] = at
    return jnp.asarray(starts, models[0].dtype) / segments.scale[None, None]


def without_segments(points: dict[str, Any]) -> dict[str, Any]:
    """Points of the space, without the starts of segments."""
    return {k: v for k, v in points.items() if k != "segments"}
