"""How far predictions are from measurements: residuals and likelihoods."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DataError, expression_text

from ._data import Dataset

_TINY = 1e-3  # of the smallest measurement: below it the logarithm is continued by its tangent


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """A likelihood over the columns of a data set.

    `kind` is "normal" (residuals over the standard deviation of each column, or over the noise),
    "lognormal" (residuals of logarithms, over the noise if given) or "poisson" (counts). `scales`
    and `floors` hold, by label, what residuals are divided by, and where logarithms end.
    """

    kind: str
    known_noise: bool
    scales: tuple[tuple[str, float], ...]
    floors: tuple[tuple[str, float], ...]

    @property
    def scale(self) -> dict[str, float]:
        """What residuals are divided by."""
        return dict(self.scales)

    @property
    def floor(self) -> dict[str, float]:
        """Where logarithms are continued by their tangent."""
        return dict(self.floors)

    def residuals(self, predicted: Mapping[str, Array], observed: Mapping[str, Array]) -> dict:
        """Scaled residuals by label, zero where nothing was measured."""
        found = {}
        for label, seen in observed.items():
            known = jnp.isfinite(seen)
            guess, seen = predicted[label], jnp.where(known, seen, 1.0)
            if self.kind == "lognormal":
                gap = soft_log(guess, self.floor[label]) - jnp.log(seen)
            else:
                gap = guess - seen
            found[label] = jnp.where(known, gap / self.scale[label], 0.0)
        return found

    def loss(
        self, predicted: Mapping[str, Array], observed: Mapping[str, Array], mask: Array
    ) -> Array:
        """Mean negative log-likelihood (up to constants) over the measurements under the mask."""
        dtype = next(iter(predicted.values())).dtype
        total, count = jnp.zeros((), dtype), jnp.zeros((), dtype)
        gaps = {} if self.kind == "poisson" else self.residuals(predicted, observed)
        for label, seen in observed.items():
            used = jnp.isfinite(seen) & spread(mask, seen)
            if self.kind == "poisson":
                number = jnp.where(used, seen, 0.0)
                rate = jnp.where(used, predicted[label], 1.0)
                term = rate - number * soft_log(rate, self.floor[label])
            else:
                term = 0.5 * jnp.where(used, gaps[label], 0.0) ** 2
            total = total + jnp.sum(jnp.where(used, term, 0.0))
            count = count + jnp.sum(used).astype(dtype)
        return total / jnp.maximum(count, 1.0)

    def vector(
        self, predicted: Mapping[str, Array], observed: Mapping[str, Array], mask: Array
    ) -> Array:
        """All residuals under the mask in one vector, zeros elsewhere, for least squares."""
        parts = []
        for gap in self.residuals(predicted, observed).values():
            parts.append(jnp.ravel(jnp.where(spread(mask, gap), gap, 0.0)))
        return jnp.concatenate(parts)


def likelihood(kind: str, data: Dataset, noise: Any) -> Likelihood:
    """The likelihood of a kind for these data; `noise` is a standard deviation, or one by column.

    Raises `DataError` for values that the kind does not admit.
    """
    if kind not in ("normal", "lognormal", "poisson"):
        raise DataError(f'loss is "normal", "lognormal", "poisson" or a function, not {kind!r}')
    scales = tuple((k, _scale(kind, k, v, noise)) for k, v in data.observed.items())
    floors = []
    for label, values in data.observed.items():
        finite = values[np.isfinite(values)]
        if kind == "lognormal" and np.any(finite <= 0):
            raise DataError(f"lognormal: column {label} holds values that are not positive")
        if kind == "poisson" and np.any((finite < 0) | (finite != np.round(finite))):
            raise DataError(f"poisson: column {label} must hold counts, whole and not negative")
        positive = finite[finite > 0]
        floors.append((label, _TINY * float(positive.min()) if positive.size else _TINY))
    return Likelihood(kind, noise is not None, scales, tuple(floors))


def soft_log(value: Array, floor: float) -> Array:
    """The logarithm, continued below `floor` by its tangent, so that it always has a slope."""
    above = value > floor
    return jnp.where(
        above, jnp.log(jnp.where(above, value, 1.0)), np.log(floor) + (value - floor) / floor
    )


def spread(mask: Array, like: Array) -> Array:
    """A mask over (trajectory, time) for values with further axes."""
    return jnp.reshape(mask, mask.shape + (1,) * (like.ndim - mask.ndim))


def _scale(kind: str, label: str, values: np.ndarray, noise: Any) -> float:
    if isinstance(noise, Mapping):
        by_label = {k if isinstance(k, str) else expression_text(k): v for k, v in noise.items()}
        if label not in by_label:
            raise DataError(f"noise: no standard deviation is given for {label}")
        noise = by_label[label]
    if noise is not None:
        if not float(noise) > 0:
            raise DataError(f"noise: the standard deviation of {label} must be positive")
        return float(noise)
    if kind != "normal":
        return 1.0
    finite = values[np.isfinite(values)]
    deviation = float(np.std(finite)) if finite.size else 0.0
    return deviation if deviation > 0 else 1.0
