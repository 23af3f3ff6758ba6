r"""Generalised teacher forcing: predictions from one measurement to the next, held to the data.

.. math:: \tilde z_n = (1 - \alpha) z_n + \alpha d_n, \qquad z_{n+1} = F(\tilde z_n)

The slope of :math:`z_n` by :math:`z_0` is the product of :math:`(1 - \alpha) J`, J the Jacobians of
F, so that α keeps it from growing where the system is chaotic.
Source: Hess, Monfared, Brenner and Durstewitz, "Generalized teacher forcing for learning chaotic
dynamics" (2023), equations 7 to 13.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sciml.dsl import FitError, Model

from ._data import Dataset
from ._strategies import TeacherForcing

Flow = Callable[[Array, Array, Array], Array]  # of a state from one time to another


class Forcing(eqx.Module):
    """What holds predictions to the data.

    `states`, what was measured, interpolated where it was not; `known`, where it was; `pairs`,
    which intervals of time are trained on; `strength`, α, or NaN where it follows by `rule` from
    the Jacobians, in units of `scale`.
    """

    states: Float[Array, "row time state"]
    known: Bool[Array, "row time state"]
    pairs: Bool[Array, "row interval"]
    strength: Float[Array, ""]
    scale: Float[Array, " state"]
    rule: str = eqx.field(static=True)

    @property
    def automatic(self) -> bool:
        """Whether the strength follows from the Jacobians."""
        return self.rule != "given"

    def predict(
        self, flow: Flow, start: Array, y0: Array, times: Array, row: Array, strength: Array
    ) -> Float[Array, "time state"]:
        """Predictions at the times of a trajectory, each from the forced one before."""

        def step(z: Array, given: tuple) -> tuple[Array, Array]:
            data, known, now, then = given
            held = jnp.where(known, z + strength * (data - z), z)
            after = flow(now, held, then)
            return after, after

        first = flow(start, y0, times[0])
        given = (self.states[row, :-1], self.known[row, :-1], times[:-1], times[1:])
        return jnp.concatenate([first[None], jax.lax.scan(step, first, given)[1]])

    def estimate(self, flow: Flow, times: Array, row: Array) -> Float[Array, " interval"]:
        """Spectral norms of the Jacobians of each interval, 1 where nothing is trained on."""

        def norm(now: Array, state: Array, then: Array) -> Array:
            jacobian = jax.jacfwd(flow, argnums=1)(now, state, then)
            return jnp.linalg.norm(jacobian * self.scale[None] / self.scale[:, None], 2)

        norms = jax.vmap(norm)(times[:-1], self.states[row, :-1], times[1:])
        return jnp.where(self.pairs[row], norms, 1.0)


def forcing_strength(
    norms: Float[Array, "row interval"], pairs: Bool[Array, "row interval"], *, rule: str
) -> Float[Array, ""]:
    """The smallest strength that keeps products of forced Jacobians from growing.

    With the rule "max", from the largest norm, the norm of every such product is at most 1; with
    "mean", from the geometric mean of each trajectory, that of the whole one.
    """
    if rule == "max":
        size = jnp.max(jnp.where(pairs, norms, 0.0))
    else:
        count = jnp.maximum(jnp.sum(pairs, axis=1), 1).astype(norms.dtype)
        logarithms = jnp.where(pairs, jnp.log(jnp.where(pairs, norms, 1.0)), 0.0)
        size = jnp.max(jnp.exp(jnp.sum(logarithms, axis=1) / count))
    return jnp.where(size > 1, 1 - 1 / jnp.maximum(size, 1.0), 0.0)


def build_forcing(
    model: Model, data: Dataset, strategy: TeacherForcing, scale: np.ndarray
) -> Forcing:
    """What holds predictions to the data that are trained on.

    Raises `FitError` where no unknown is measured, or for an automatic strength not all are.
    """
    given = strategy.strength
    automatic = isinstance(given, str)
    states = np.zeros((*data.times.shape, model.program.size))
    known = np.zeros(states.shape, bool)
    for piece in model.states:
        if piece.name not in data.observed:
            if automatic:
                raise FitError(
                    f"an automatic strength needs every unknown to be measured; {piece.name} is "
                    "not: measure it, or give a number, TeacherForcing(0.2)"
                )
            continue
        columns = data.trained(piece.name).reshape(*data.times.shape, -1)
        seen = np.isfinite(columns)
        known[..., piece.slice] = seen
        for row, column in np.ndindex(len(columns), columns.shape[-1]):
            at, times = seen[row, :, column], data.times[row]
            if at.any():
                filled = np.interp(times, times[at], columns[row, at, column])
                states[row, :, piece.offset + column] = filled
    if not known.any():
        raise FitError("teacher forcing needs an unknown that is measured itself; there is none")
    dtype = model.dtype
    return Forcing(
        states=jnp.asarray(states, dtype),
        known=jnp.asarray(known),
        pairs=jnp.asarray(data.training[:, :-1] & data.training[:, 1:]),
        strength=jnp.asarray(np.nan if automatic else given, dtype),
        scale=jnp.asarray(scale, dtype),
        rule={"auto": "mean", "max": "max"}.get(str(given), "given"),
    )
