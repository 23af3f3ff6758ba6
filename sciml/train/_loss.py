"""How far predictions are from measurements: residuals and likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Bool, Float

from sciml.dsl import DataError, DeclarationError, expression_text

from ._data import Dataset

_TINY = 1e-3  # of the smallest measurement: below it the logarithm is continued by its tangent

Columns = Mapping[str, Array]  # by label, shape (trajectory, time, ...)


class Likelihood(eqx.Module):
    """A likelihood over the columns of a data set.

    `kind` is "normal" (residuals over the noise, or over the spread of each column), "lognormal"
    (residuals of logarithms, over the noise if given) or "poisson" (counts). `scale` and `floor`
    hold, by label, what residuals are divided by, and where logarithms end.
    """

    kind: str = eqx.field(static=True)
    scale: dict[str, Float[Array, "..."]]
    floor: dict[str, Float[Array, ""]]

    def loss(self, predicted: Columns, observed: Columns, mask: Bool[Array, "row time"]) -> Array:
        """Mean negative log-likelihood (up to constants) over the measurements under the mask."""
        dtype = next(iter(predicted.values())).dtype
        total, count = jnp.zeros((), dtype), jnp.zeros((), dtype)
        for label, seen in observed.items():
            used = jnp.isfinite(seen) & over_time(mask, seen)
            if self.kind == "poisson":
                number = jnp.where(used, seen, 0.0)
                rate = jnp.where(used, predicted[label], 1.0)
                term = self._positive(label, rate) - number * self._logarithm(label, rate)
            else:
                term = 0.5 * self.residual(label, predicted[label], seen) ** 2
            total = total + jnp.sum(jnp.where(used, term, 0.0))
            count = count + jnp.sum(used).astype(dtype)
        return total / jnp.maximum(count, 1.0)

    def vector(self, predicted: Columns, observed: Columns, mask: Bool[Array, "row time"]) -> Array:
        """All residuals under the mask in one vector, zeros elsewhere."""
        parts = []
        for label, seen in observed.items():
            gap = self.residual(label, predicted[label], seen)
            parts.append(jnp.ravel(jnp.where(over_time(mask, gap), gap, 0.0)))
        return jnp.concatenate(parts)

    def residual(self, label: str, predicted: Array, observed: Array) -> Array:
        """Prediction minus measurement in units of the noise, zero where nothing was measured.

        For counts these are Pearson's: the square of their slope is Fisher's information.
        """
        known = jnp.isfinite(observed)
        seen = jnp.where(known, observed, 1.0)
        if self.kind == "lognormal":
            gap = (self._logarithm(label, predicted) - jnp.log(seen)) / self.scale[label]
        elif self.kind == "poisson":
            gap = (predicted - seen) / jnp.sqrt(stop_gradient(self._positive(label, predicted)))
        else:
            gap = (predicted - seen) / self.scale[label]
        return jnp.where(known, gap, 0.0)

    def _logarithm(self, label: str, value: Array) -> Array:
        """The logarithm, continued below its floor by its tangent, so that it has a slope."""
        floor = self.floor[label]
        above = value > floor
        tangent = jnp.log(floor) + (value - floor) / floor
        return jnp.where(above, jnp.log(jnp.where(above, value, 1.0)), tangent)

    def _positive(self, label: str, rate: Array) -> Array:
        """A rate of counts, reflected at its floor: a negative one must not look likely."""
        floor = self.floor[label]
        return jnp.where(rate > floor, rate, 2 * floor - rate)


class Custom(eqx.Module):
    """A user's loss: a function of predictions and measurements, both by label."""

    function: Callable

    def loss(self, predicted: Columns, observed: Columns, mask: Bool[Array, "row time"]) -> Array:
        """The user's number; what is not under the mask is NaN in the measurements."""
        shown, compared = {}, {}
        for label, seen in observed.items():
            used = jnp.isfinite(seen) & over_time(mask, seen)
            compared[label] = jnp.where(used, seen, jnp.nan)
            # without this the slope of nanmean((predicted - seen) ** 2) would be NaN
            shown[label] = jnp.where(used, predicted[label], stop_gradient(predicted[label]))
        return as_number(self.function(shown, compared), "loss")


def as_number(value: Any, what: str) -> Array:
    """What a user's function returned, which must be one number.

    Raises `DeclarationError` where it is not.
    """
    if not eqx.is_array_like(value) or jnp.shape(value) != ():
        got = f"shape {jnp.shape(value)}" if eqx.is_array_like(value) else type(value).__name__
        raise DeclarationError(f"{what}: the function must return one number, not {got}")
    return jnp.asarray(value)


def build_loss(loss: Any, data: Dataset, noise: Any, dtype: Any) -> Likelihood | Custom:
    """The likelihood of a name, or a user's function; `noise` is for all columns, or by column.

    Raises `DeclarationError` for what is neither, `DataError` for values that it does not admit.
    """
    if callable(loss):
        if noise is not None:
            raise DeclarationError("noise belongs to a likelihood: leave it to the loss function")
        return Custom(loss)
    if loss not in ("normal", "lognormal", "poisson"):
        raise DeclarationError(
            f'loss is "normal", "lognormal", "poisson" or a function, not {loss!r}'
        )
    if loss == "poisson" and noise is not None:
        raise DeclarationError("poisson: counts have no noise of their own: leave noise out")
    spreads = _noises(data, noise)
    scale, floor = {}, {}
    for label, values in data.observed.items():
        finite = values[np.isfinite(values)]
        if loss == "lognormal" and np.any(finite <= 0):
            raise DataError(f"lognormal: column {label} holds values that are not positive")
        if loss == "poisson" and np.any((finite < 0) | (finite != np.round(finite))):
            raise DataError(f"poisson: column {label} must hold counts, whole and not negative")
        positive = finite[finite > 0]
        floor[label] = jnp.asarray(_TINY * (positive.min() if positive.size else 1.0), dtype)
        unit = np.ones(values.shape[2:])
        if label in spreads:
            unit = np.broadcast_to(spreads[label], values.shape[2:])
        elif loss == "normal":
            unit = typical_size(data.trained(label))
        scale[label] = jnp.asarray(unit, dtype)[None, None]
    return Likelihood(loss, scale, floor)


def typical_size(values: np.ndarray) -> np.ndarray:
    """The spread of the finite values over (trajectory, time), or their size, or 1."""
    flat = values.reshape(-1, *values.shape[2:])
    known = np.isfinite(flat)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, flat, 0.0).sum(axis=0) / count
    variance = (np.where(known, flat - mean, 0.0) ** 2).sum(axis=0) / count
    constant = np.sqrt(variance) <= 1e-9 * np.abs(mean)  # up to rounding
    size = np.where(constant, np.abs(mean), np.sqrt(variance))
    return np.where(size > 0, size, 1.0)


def over_time(mask: Array, like: Array) -> Array:
    """A mask over (trajectory, time) for values with further axes."""
    return jnp.reshape(mask, mask.shape + (1,) * (like.ndim - mask.ndim))


def _noises(data: Dataset, noise: Any) -> dict[str, np.ndarray]:
    """Standard deviations by label; empty where none are given."""
    if noise is None:
        return {}
    given: dict[str, Any] = dict.fromkeys(data.observed, noise)
    if isinstance(noise, Mapping):
        given = {k if isinstance(k, str) else expression_text(k): v for k, v in noise.items()}
    if missing := set(data.observed) - set(given):
        raise DeclarationError(f"noise: no standard deviation is given for {sorted(missing)[0]}")
    if surplus := set(given) - set(data.observed):
        known = ", ".join(data.observed)
        raise DeclarationError(
            f"noise: {sorted(surplus)[0]} is not measured; the columns are {known}"
        )
    found = {}
    for label, value in given.items():
        try:
            found[label] = np.asarray(value, float)
            np.broadcast_to(found[label], data.observed[label].shape[2:])
        except (TypeError, ValueError):
            raise DeclarationError(
                f"noise: the standard deviation of {label} is a number, not {value!r}"
            ) from None
        if not np.all(found[label] > 0) or not np.all(np.isfinite(found[label])):
            raise DeclarationError(f"noise: the standard deviation of {label} must be positive")
    return found
