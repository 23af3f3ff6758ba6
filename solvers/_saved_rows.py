"""Cotangents of what a solve saved, handed out step by step on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ._reversible import plus


class Rows(eqx.Module):
    """How many rows, and of them how many at asked times, were saved before a moment."""

    saved: Int[Array, ""]
    at_times: Int[Array, ""]


class Saved(eqx.Module):
    """What was saved, in the order of Diffrax, and the cotangents of its rows."""

    what: dfx.SubSaveAt
    of_ys: Any

    def at_the_end(self, steps: Array, rows: Rows) -> tuple[Any, Rows]:
        """The cotangent of the last state, as it was saved at t1."""
        if not self.what.t1:
            return jax.tree.map(lambda of: jnp.zeros_like(of[0]), self.of_ys), rows
        every = self.what.steps
        alone = jnp.asarray(True) if not every else steps % every != 0
        return self._taken(rows, alone)

    def after(self, number: Array, rows: Rows) -> tuple[Any, Rows]:
        """The cotangent of the state after a step, by its number from 0, as one of the steps."""
        return self._taken(rows, (number + 1) % self.what.steps == 0)

    def within(
        self, number: Array, start: Array, interpolate: Callable, dense: Any, rows: Rows
    ) -> tuple[Any, Rows]:
        """The cotangent of a step's dense output, of which the states at some times were saved."""
        zeros, ts = jax.tree.map(jnp.zeros_like, dense), self.what.ts
        if ts is None:
            return zeros, rows
        since = jnp.where(number == 0, -jnp.inf, start)

        def more(carry: tuple) -> Array:
            _, rows = carry
            return (rows.at_times > 0) & (ts[rows.at_times - 1] > since)

        def add(carry: tuple) -> tuple:
            of_dense, rows = carry
            rows = Rows(rows.saved - 1, rows.at_times - 1)
            _, pull = jax.vjp(lambda dense: interpolate(dense, ts[rows.at_times]), dense)
            return plus(of_dense, *pull(self._row(rows.saved))), rows

        return jax.lax.while_loop(more, add, (zeros, rows))

    def at_the_start(self, steps: Array) -> Any:
        """The cotangent of the initial state, as saved at t0, or at all times if t1 is t0."""
        first = int(self.what.t0)
        found = jax.tree.map(lambda of: of[0] if first else jnp.zeros_like(of[0]), self.of_ys)
        if self.what.ts is None:
            return found
        rows = slice(first, first + self.what.ts.size)
        whole = jax.tree.map(lambda of: jnp.sum(of[rows], axis=0), self.of_ys)
        return plus(found, _only(steps == 0, whole))

    def _taken(self, rows: Rows, saved: Array) -> tuple[Any, Rows]:
        rows = Rows(rows.saved - saved.astype(rows.saved.dtype), rows.at_times)
        return _only(saved, self._row(rows.saved)), rows

    def _row(self, row: Array) -> Any:
        return jax.tree.map(lambda of: of[row], self.of_ys)


def _only(condition: Array, tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.where(condition, a, jnp.zeros_like(a)), tree)
