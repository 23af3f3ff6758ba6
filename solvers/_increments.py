"""Noise drawn step by step: independent increments, of which each belongs to one step."""

from __future__ import annotations

import math
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from sciml.dsl import DeclarationError


class Increments(dfx.AbstractBrownianPath):
    """A Brownian path at constant steps: the increment of a step is drawn from its number.

    One draw for each step, where a tree that can be asked at any time draws at all of its levels.
    Values between the ends of steps are not known, and another step is another path.

    Fields: `t0`, `t1` and the constant `step` in time; `key`; `size`, the number of components;
    `levy_area`, what is drawn with an increment.
    """

    t0: Array
    t1: Array
    step: Array
    key: PRNGKeyArray
    size: int = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        if t1 is None:
            raise DeclarationError(
                "noise that is drawn step by step has no value at a time: solve with "
                'noise="refinable"'
            )
        t0, t1 = (jax.lax.stop_gradient(jnp.asarray(t, self.step.dtype)) for t in (t0, t1))
        number = jnp.round((t0 - self.t0) / self.step).astype(jnp.int32)
        dt = t1 - t0
        count = {dfx.SpaceTimeLevyArea: 2, dfx.SpaceTimeTimeLevyArea: 3}.get(self.levy_area, 1)
        drawn = jax.random.normal(
            jax.random.fold_in(self.key, number), (count, self.size), self.step.dtype
        )
        spread = jnp.sqrt(dt)
        # increment, space-time and space-time-time Levy area: independent, of variances h, h/12
        # and h/720 (Foster, Lyons, Oberhauser 2020)
        parts = [spread / math.sqrt(by) * one for by, one in zip((1, 12, 720), drawn, strict=False)]
        return self.levy_area(dt, *parts) if use_levy else parts[0]
