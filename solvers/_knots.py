"""Steps that end at the knots of a path, where its rate jumps."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Real


class KnotSteps(dfx.AbstractStepSizeController):
    """One step for each stretch between two knots.

    A step ends at a knot, where the rate is still that before it, and the next one begins just
    behind it, so that each sees one rate. With ``diffrax.StepTo`` a method that evaluates the rate
    at the beginning of its step would there see that of the step before.

    Fields: `ts`, the knots, in increasing order. A first step `dt0` is not used.
    """

    ts: Real[Array, " knot"]

    def wrap(self, direction: Any) -> KnotSteps:
        return self

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, order: Any
    ) -> tuple[Any, Any]:
        place = jnp.searchsorted(self.ts.astype(t0.dtype), t0, side="right")
        return self._knot(place, t0.dtype), place

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> tuple[Any, Any, Any, Any, Any, dfx.RESULTS]:
        place = controller_state + 1
        jumped = jnp.asarray(True)  # of a plain True, diffrax 0.7 would keep the False of the start
        done = dfx.RESULTS.successful
        return True, _behind(t1), self._knot(place, t1.dtype), jumped, place, done

    def _knot(self, place: Array, dtype: Any) -> Array:
        return self.ts[jnp.minimum(place, len(self.ts) - 1)].astype(dtype)


def _behind(time: Array) -> Array:
    """The next number. Behind 0 it is the first that is not taken for 0 on CPUs and GPUs."""
    behind = jnp.nextafter(time, jnp.full_like(time, jnp.inf))
    behind = jnp.where(time == 0, jnp.finfo(time.dtype).tiny, behind)
    return time + jax.lax.stop_gradient(behind - time)
