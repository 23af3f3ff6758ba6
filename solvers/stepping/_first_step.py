"""The first step of an implicit stepper."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..linear._mass import rates


def is_ours(solver: Any) -> bool:
    """Whether a solver is one of the implicit steppers of this package."""
    return "structure" in {field.name for field in dataclasses.fields(solver)}


def first_stiff_step(
    terms: Any, t0: Any, t1: Any, y: Array, args: Any, controller: Any, mass: Any
) -> Array:
    """The first step of an implicit stepper; Diffrax's own rule comes to 0.01 always.

    Source: Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I (1993), section
    II.4, for a method of order 1, from which BDF starts.
    """
    span = t1 - t0
    scale = controller.atol + controller.rtol * jnp.abs(y)

    def size(x: Array) -> Array:
        return controller.norm(x / scale)

    rate = rates(mass, terms.vf(t0, y, args))
    small = (size(y) < 1e-5) | (size(rate) < 1e-5)
    trial = jnp.where(small, 1e-6, 0.01 * size(y) / jnp.where(small, 1.0, size(rate)))
    trial = jnp.minimum(trial.astype(span.dtype), 1e-3 * span)
    ahead = y + trial.astype(y.dtype) * rate
    later = rates(mass, terms.vf(t0 + trial, ahead, args))
    bend = size(later - rate) / trial.astype(y.dtype)
    most = jnp.maximum(size(rate), bend)
    step = jnp.where(most > 1e-15, jnp.sqrt(0.01 / jnp.where(most > 1e-15, most, 1.0)), jnp.inf)
    step = jnp.where(jnp.isfinite(step) | (most <= 1e-15), step.astype(span.dtype), trial)
    return jax.lax.stop_gradient(jnp.minimum(jnp.minimum(100 * trial, step), span))
