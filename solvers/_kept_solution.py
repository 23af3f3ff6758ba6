"""A solution that was kept by its dense output, and the cotangents of what was saved of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .stepping._common import direction


class Kept(eqx.Module):
    """A solution as it was kept: the ends of its steps, infinite behind the last, dense output."""

    ts: Array
    infos: Any
    interpolation: Callable[..., Any] = eqx.field(static=True)

    def place(self, t: Array) -> Array:
        """The step with a time in it, or at its end."""
        found = jnp.searchsorted(self.ts, jax.lax.stop_gradient(t), side="left") - 1
        return jnp.clip(found, 0, len(self.ts) - 2)

    def back(self, origin: Array, passed: Array) -> Array:
        """The length of time to the beginning of a step, or of the one before where it is past."""
        place = self.place(origin - passed)
        before = jnp.maximum(place - 1, 0)
        left = origin - self.ts[place] - passed
        past = left < 1e-6 * (self.ts[place + 1] - self.ts[place])  # as times are rounded
        return jnp.where(past, origin - self.ts[before] - passed, left)

    def within(self, place: Array, t: Array) -> Any:
        """The state at a time in this step."""
        own = jax.tree.map(lambda info: info[place], self.infos)
        output = self.interpolation(t0=self.ts[place], t1=self.ts[place + 1], **own)
        return output.evaluate(t)

    def at(self, t: Array) -> Any:
        """The state at a time."""
        return self.within(self.place(t), t)


def rates(terms: Any, args: Any, t: Any, y: Any) -> Any:
    """The right side, in the direction in which time was gone through."""
    sign = direction(terms)
    rate = terms.vf(t, y, args)
    return jax.tree.map(lambda r: jnp.asarray(sign, jnp.result_type(r)) * r, rate)


class Rows(eqx.Module):
    """The saved times, and the cotangents of what was saved, in the order of time."""

    ts: Array
    of_ys: Any
    jump: Array  # whether there is any
    stop: Array  # until where to go back from there: the jump before, or the beginning
    start: Array  # the last jump


def rows_of(ts: Array, of_ys: Any, t0: Array) -> tuple[Rows, Any]:
    """The rows behind the beginning, and the cotangent of what was saved there.

    The rows that were not reached have times that are infinite, and count for nothing.
    """
    reached, first = jnp.isfinite(ts), ts <= t0

    def only(where: Array, of: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (of.ndim - 1)), of, 0)

    at_start = jax.tree.map(lambda of: jnp.sum(only(first, of), axis=0), of_ys)
    of_ys = jax.tree.map(lambda of: only(reached & ~first, of), of_ys)
    some = [jnp.any(of != 0, axis=range(1, of.ndim)) for of in jax.tree.leaves(of_ys)]
    jump = jnp.any(jnp.stack(some), axis=0)
    latest = jax.lax.cummax(jnp.where(jump, ts, t0))
    stop = jnp.concatenate([t0[None], latest[:-1]])
    return Rows(ts, of_ys, jump, stop, latest[-1]), at_start
