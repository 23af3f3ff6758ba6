"""Standard errors, from one look at the fitted point."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from ._objective import Look
from ._space import Space

_FLAT = 1e-9  # of the steepest: a free number of which the data say nothing
_SINGULAR = 1e-7  # of the largest singular value: quantities that cannot be told apart
_SHARE = 0.3  # of a singular direction: what is named as taking part in it


def standard_errors(
    point: PyTree, seen: Look, *, count: int, known_noise: bool
) -> tuple[PyTree, str]:
    """Standard errors of z, from the slopes of the residuals, and a note where there are none.

    The inverse of ``J^T J``, times the residual variance where the noise is not known (of counts it
    is). `count` is the number of measurements. NaN for what the data say nothing about; for all,
    where some quantities cannot be told apart, or there are no more measurements than free numbers.
    """
    flat, rebuild = ravel_pytree(point)
    jacobian, residuals = np.asarray(seen.jacobian, float), np.asarray(seen.residuals, float)
    errors = np.full(flat.size, np.nan)
    unknown = rebuild(jnp.asarray(errors, flat.dtype))
    steepness = np.linalg.norm(jacobian, axis=0)
    felt = steepness > _FLAT * np.max(steepness, initial=0.0)
    if not np.all(np.isfinite(jacobian)) or not felt.any():
        return unknown, ""
    _, sizes, directions = np.linalg.svd(jacobian[:, felt] / steepness[felt], full_matrices=False)
    if len(sizes) < felt.sum() or (count <= felt.sum() and not known_noise):
        return unknown, "no standard errors: there are no more measurements than free numbers"
    if sizes[-1] < _SINGULAR * sizes[0]:
        part = np.zeros(flat.size)
        part[felt] = np.abs(directions[-1])
        names = ", ".join(_names(rebuild(jnp.asarray(part, flat.dtype))))
        return unknown, f"no standard errors: the data cannot tell {names} apart"
    spread = np.linalg.norm(directions.T / sizes, axis=1) / steepness[felt]
    variance = 1.0 if known_noise else float(residuals @ residuals) / (count - felt.sum())
    errors[felt] = np.sqrt(variance) * spread
    return rebuild(jnp.asarray(errors, flat.dtype)), ""


def _names(part: PyTree) -> list[str]:
    """Quantities that take part in a direction."""
    found = []
    for group, values in part.items():
        for name, leaf in values.items():
            if np.max(np.asarray(jax.tree.leaves(leaf)[0])) > _SHARE:
                found.append(name if group == "parameters" else f"{name}(t0)")
    return found


def natural_errors(space: Space, point: PyTree, errors: PyTree) -> dict[str, tuple]:
    """Values and standard errors of free parameters and initial values, by label.

    The errors are carried over from z by the slope of the transformation. Initial values have a
    leading axis of trajectories.
    """
    found = {}
    for (group, name), coordinate in space.coordinates().items():
        z = point[group][name]
        value, slope = jax.jvp(coordinate.value, (z,), (jnp.ones_like(z),))
        error = np.abs(slope) * np.asarray(errors[group][name])
        label = name if group == "parameters" else f"{name}(t0)"
        found[label] = (np.asarray(value), error)
    return found
