"""Latent ODE: irregular series explained by hidden dynamics. Rubanova et al. (2019), section 3.2.

``z(t0) ~ q(z | series), dz/dt = f(z), x(t) ~ N(readout(z(t)), noise^2)``, where q comes from an
ODE-RNN that reads the series backwards in time (their algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.dsl import (
    D,
    DataError,
    DeclarationError,
    Eq,
    Model,
    System,
    compile,
    neural,
    parameter,
    unknown,
)
from sciml.solvers import Solution, read_costs, weighted_cost

from ._states import as_states, checked_times, joined, parts, size_of, starting
from ._stepping import ADAPTIVE, Stepping

LATENT, HIDDEN, GAP = "latent", "hidden", "gap"
# Two steps of the encoder's state for each gap: it is a summary, and need not be accurate.
_BETWEEN = Stepping(
    solver=dfx.Midpoint(), stepsize_controller=dfx.ConstantStepSize(), dt0=0.5, max_steps=4
)


def latent_ode(
    states: Any,
    *,
    latent: int = 4,
    width: int = 32,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    key: PRNGKeyArray,
) -> System:
    """Hidden dynamics of `latent` dimensions, and the user's states read out from them.

    ``dz/dt = f(z), x = readout(z)``

    Arguments: `states`, the unknowns that are measured; `latent`, the size of z, which is an
    unknown of the name ``latent``; `width`, `depth`, `activation` of the hidden layers of both
    networks; `key` for the initial weights.

    Raises what `neural_ode` raises.

    >>> import jax, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> system = sm.nn.latent_ode(x, latent=3, key=jax.random.key(0))
    >>> system.equations, system.observed[x]
    ((Eq(D(latent), f(latent)),), readout(latent))

    Source: Rubanova, Chen, Duvenaud, Latent ODEs for irregularly-sampled time series (2019),
    section 3.2.
    """
    symbols = as_states(states)
    z = unknown(LATENT, shape=latent)
    as_states([*symbols, z])
    inside, out = jax.random.split(key)
    size = size_of(symbols)
    f = neural("f", eqx.nn.MLP(latent, latent, width, depth, activation, key=inside))
    readout = neural("readout", eqx.nn.MLP(latent, size, width, 1, activation, key=out))
    (rate,) = parts(f(z), [z])
    observed = dict(zip(symbols, parts(readout(z), symbols), strict=True))
    return System(Eq(D(z), rate), observed=observed, name="latent ODE")


def _encoder(width: int, activation: Callable, key: PRNGKeyArray) -> System:
    """The hidden state of the encoder over a gap between two measurements, in time 0 to 1."""
    h, gap = unknown(HIDDEN, shape=width), parameter(GAP)
    g = neural("g", eqx.nn.MLP(width, width, width, 1, activation, key=key))
    return System(Eq(D(h), gap * g(h)), name="encoder")


class LatentODE(eqx.Module):
    """A latent ODE as a module: series in, their reconstruction and the variational loss out.

    ``loss = -E log p(x | z) + KL(q(z | x) || N(0, 1))``

    Fields: `model`, the compiled latent dynamics and readout; `encoder`, the compiled dynamics of
    the encoder between measurements; `cell`, its update at one; `head`, from its last state to mean
    and logarithmic deviation of z at the first time; `noise`, the standard deviation of a
    measurement. The arguments are those of `latent_ode`, and `noise`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> module = sm.nn.LatentODE(x, width=8, key=jax.random.key(0))
    >>> times, values = jnp.array([0.0, 0.3, 1.0]), jnp.array([[1.0, 2.0], [jnp.nan, 1.0], [0, 0]])
    >>> module(times, values).shape
    (3, 2)

    Source: Rubanova et al. (2019), section 3.2, algorithm 1 for the encoder.
    """

    model: Model
    encoder: Model
    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear
    noise: float = eqx.field(static=True)
    symbols: tuple = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        *,
        latent: int = 4,
        width: int = 32,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        noise: float = 0.1,
        key: PRNGKeyArray,
    ) -> None:
        if not noise > 0:
            raise DeclarationError(f"noise = {noise}: a standard deviation is a positive number")
        keys = jax.random.split(key, 4)
        system = latent_ode(
            states, latent=latent, width=width, depth=depth, activation=activation, key=keys[0]
        )
        self.model = compile(system)
        self.encoder = compile(_encoder(width, activation, keys[1]))
        self.symbols = as_states(states)
        dtype = self.model.dtype
        self.cell = eqx.nn.GRUCell(2 * size_of(self.symbols), width, dtype=dtype, key=keys[2])
        self.head = eqx.nn.Linear(width, 2 * latent, dtype=dtype, key=keys[3])
        self.noise = noise

    def encode(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        mask: Bool[Array, "time channel"] | None = None,
    ) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """Mean and standard deviation of the latent state at the first time.

        What `mask` leaves out is not looked at; without it, that is what is not a number. Rows
        without any measurement do not matter, so that series of different lengths can be filled up
        by repeating the last time.
        """
        times, values, mask = self._series(times, values, mask)
        gaps = jnp.append(jnp.diff(times), 0.0).astype(times.dtype)
        inputs = jnp.concatenate([values, mask.astype(values.dtype)], axis=1)

        def step(hidden: Array, row: tuple) -> tuple[Array, None]:
            gap, given, seen = row
            model = starting(self.encoder.replace(values={GAP: gap}), hidden)
            hidden = _BETWEEN.solve(model, (0.0, 1.0), saveat=[1.0]).ys[0]
            return jnp.where(seen, self.cell(given, hidden), hidden), None

        start = jnp.zeros(self.cell.hidden_size, times.dtype)
        rows = (gaps, inputs, jnp.any(mask, axis=1))
        last, _ = jax.lax.scan(step, start, rows, reverse=True)
        mean, log_deviation = jnp.split(self.head(last), 2)
        return mean, jnp.exp(log_deviation)

    def decode(
        self,
        times: Float[Array, " time"],
        latent: Float[Array, " latent"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time channel"]:
        """The states at `times`, from the latent state at the first of them."""
        return stepping.through(self.model, times, latent)[joined(self.symbols)]

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        mask: Bool[Array, "time channel"] | None = None,
        at: Float[Array, " wanted"] | None = None,
        key: PRNGKeyArray | None = None,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "wanted channel"]:
        """The states at the times `at` (those of the series if not given, the first one or later).

        With a key, of one draw of the latent state; without, of its mean.
        """
        mean, deviation = self.encode(times, values, mask=mask)
        if key is not None:
            mean = mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)
        times = checked_times(times, mean.dtype)
        if at is None:
            return self.decode(times, mean, stepping=stepping)
        wanted = jnp.append(times[:1], jnp.asarray(at, times.dtype))
        return self.decode(wanted, mean, stepping=stepping)[1:]

    def loss(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        mask: Bool[Array, "time channel"] | None = None,
        weight: float | Float[Array, ""] = 1.0,
        key: PRNGKeyArray,
        stepping: Stepping = ADAPTIVE,
        regularise: Any = None,
        step: Any = 0,
    ) -> Float[Array, ""]:
        """An estimate of minus the evidence lower bound, from one draw of the latent state.

        `weight` multiplies the divergence from the prior; it is raised to 1 as training goes on.
        `regularise`, of `sciml.solver_cost`, is added, with its weight at a `step` of training.
        """
        times, values, mask = self._series(times, values, mask)
        mean, deviation = self.encode(times, values, mask=mask)
        costs, elsewhere = read_costs(regularise), jax.random.fold_in(key, 1)
        latent = mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)
        sol = stepping.through(self.model, times, latent, regularise=costs, key=elsewhere)
        residuals = (sol[joined(self.symbols)] - values) / self.noise
        constant = np.log(self.noise) + np.log(2 * np.pi) / 2
        misfit = jnp.sum(jnp.where(mask, residuals**2 / 2 + constant, 0.0))
        cost = weighted_cost(costs, sol.stats.get("cost", ()), step, misfit.dtype)
        return misfit + weight * divergence(mean, deviation) + cost

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from ``{"latent": ...}``, indexed by the states."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared latent dynamics."""
        return self.model.system

    def _series(self, times: Any, values: Any, mask: Any) -> tuple[Array, Array, Array]:
        times = checked_times(times, self.model.dtype)
        values = jnp.asarray(values, self.model.dtype)
        wanted = (times.size, size_of(self.symbols))
        if values.shape != wanted or (mask is not None and jnp.shape(mask) != wanted):
            names = ", ".join(map(str, self.symbols))
            raise DataError(
                f"values of {names} have shape {values.shape}, and the mask is of the same; "
                f"expected {wanted}, a row for each time; map over several series by jax.vmap"
            )
        mask = jnp.isfinite(values) if mask is None else jnp.asarray(mask, bool)
        return times, jnp.where(mask, values, 0.0), mask


def divergence(mean: Array, deviation: Array) -> Array:
    """The Kullback-Leibler divergence of a diagonal normal distribution from the standard one."""
    return jnp.sum((deviation**2 + mean**2 - 1) / 2 - jnp.log(deviation))
