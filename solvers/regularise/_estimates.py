"""What a solver knows of one step: its error estimate, and the stiffness that it met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array

_DECIMALS = 4  # of the length of an interval of stability, as the published ones have


class Step(NamedTuple):
    """One step of a solver: from where to where, its error estimate, its dense output and state."""

    terms: Any
    t0: Any
    t1: Any
    y0: Any
    y1: Any
    args: Any
    error: Any
    dense: Any
    state: Any = None

    @property
    def dtype(self) -> Any:
        """The real type of the state."""
        return jnp.finfo(jnp.result_type(*jax.tree.leaves(self.y0))).dtype

    @property
    def size(self) -> Array:
        """|h|, in the type of the state."""
        return jnp.abs(jnp.asarray(self.t1 - self.t0, self.dtype))


class Scale(eqx.Module):
    """Tolerances that errors are measured by, and the norm; without tolerances as they are."""

    rtol: Any = None
    atol: Any = None
    norm: Callable = eqx.field(default=optx.rms_norm, static=True)

    def __call__(self, y0: Any, y1: Any, error: Any) -> Any:
        """``error / (atol + max(|y0|, |y1|) rtol)``.

        Written as Diffrax's step control writes it, so that XLA computes it once for both.
        """
        if self.rtol is None:
            return error

        def scaled(y0: Array, y1: Array, error: Array) -> Array:
            y1 = jnp.where(jnp.isnan(y1).any(), y0, y1)
            size = jnp.maximum(jnp.abs(y0), jnp.abs(y1))
            rtol, atol = jnp.asarray(self.rtol, size.dtype), jnp.asarray(self.atol, size.dtype)
            return error / (atol + size * rtol).astype(error.dtype)

        return jax.tree.map(scaled, y0, y1, error)


def error_size(step: Step, scale: Scale) -> tuple[Array, Array]:
    """The size of the error estimate, and whether it is a number.

    A rejected step may have none: its value is then 0, and so is its gradient.
    """
    error = jax.tree.map(lambda e: jnp.where(jnp.isnan(e), jnp.inf, e), step.error)
    sound = jnp.isfinite(scale.norm(scale(*jax.lax.stop_gradient((step.y0, step.y1, error)))))
    error = jax.tree.map(lambda e: jnp.where(sound, e, jnp.zeros_like(e)), error)
    return jnp.asarray(scale.norm(scale(step.y0, step.y1, error)), step.dtype), sound


def stiffness(step: Step, tableau: dfx.ButcherTableau) -> tuple[Array, Array]:
    """``RMS(k_x - k_y) / RMS(g_x - g_y)`` of two stages at one time, and whether it is defined.

    Source: Shampine, Stiffness and nonstiff differential equation solvers, II (1977).
    """
    pair = twin_stages(tableau)
    assert pair is not None
    x, y = pair
    between = stage_matrix(tableau)[x] - stage_matrix(tableau)[y]
    increments = step.dense["k"]  # the rates at the stages times the step
    rates = jax.tree.map(lambda k: k[x] - k[y], increments)
    gap = optx.rms_norm(jax.tree.map(lambda k: weighted(between, k), increments))
    rate = optx.rms_norm(rates)
    sound = (gap > 0) & (rate > 0) & jnp.isfinite(gap) & jnp.isfinite(rate)
    rate, gap = (jnp.where(sound, norm, jnp.ones_like(norm)) for norm in (rate, gap))
    ratio = rate / (gap * jnp.where(sound, step.size.astype(gap.dtype), jnp.ones_like(gap)))
    return jnp.where(sound, ratio, jnp.zeros_like(ratio)), sound


def weighted(weights: np.ndarray, stages: Array) -> Array:
    """The sum of stages with weights, or one for each row of a matrix of weights."""
    weights = jnp.asarray(weights, stages.dtype)  # type: ignore[assignment]
    return jnp.tensordot(weights, stages, axes=1, precision=jax.lax.Precision.HIGHEST)


def tableau_of(solver: Any) -> dfx.ButcherTableau | None:
    """The tableau of a Runge-Kutta method, if it has a single one, and its steps keep stages."""
    tableau = getattr(solver, "tableau", None)
    single = isinstance(solver, dfx.AbstractRungeKutta) and isinstance(tableau, dfx.ButcherTableau)
    return tableau if single else None


def stage_matrix(tableau: dfx.ButcherTableau) -> np.ndarray:
    """The square matrix of a tableau, with its diagonal: ``g = u + A k h``."""
    matrix = np.zeros((tableau.num_stages, tableau.num_stages))
    for row, entries in enumerate(tableau.a_lower, 1):
        matrix[row, :row] = entries
    if tableau.a_diagonal is not None:
        matrix += np.diag(tableau.a_diagonal)
    return matrix


def twin_stages(tableau: dfx.ButcherTableau) -> tuple[int, int] | None:
    """The last two different stages at one time: 7 and 6 of Tsit5, counted from 1."""
    times, matrix = np.asarray([tableau.c1, *tableau.c]), stage_matrix(tableau)
    for x in range(len(times) - 1, 0, -1):
        for y in range(x - 1, -1, -1):
            if times[x] == times[y] and not np.allclose(matrix[x], matrix[y]):
                return x, y
    return None


def stability(tableau: dfx.ButcherTableau) -> float:
    """Length of the interval of stability on the negative real axis; infinite without an end.

    With ``R(z) = 1 + z b (I - z A)^-1 1``, the largest r with ``|R(-s)| <= 1`` for all s <= r,
    to four decimals: 3.5068 for Tsit5, 3.3066 for Dopri5.
    """
    matrix, ones = stage_matrix(tableau), np.ones(tableau.num_stages)

    def grows(s: float) -> bool:
        inside = np.linalg.solve(np.eye(ones.size) + s * matrix, ones)
        return bool(abs(1 - s * tableau.b_sol @ inside) > 1 + 1e-9)

    low = high = 0.0
    while not grows(high):
        if high > _LONG:
            return float("inf")
        low, high = high, high + 0.01
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if grows(middle) else (middle, high)
    return round(low, _DECIMALS)


_LONG = 100.0  # explicit methods of a dozen stages reach 6
