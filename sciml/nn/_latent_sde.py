"""Latent SDE: series explained by hidden stochastic dynamics. Li et al. (2020), section 5.

``dz = f(z) dt + g(z) dW`` is the prior, and ``dz = h(z, c(t)) dt + g(z) dW`` the posterior, where
the context c is read from the series. Their divergence is ``E int |(h - f) / g|^2 / 2 dt``, an
unknown of the declared system.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import (
    D,
    DataError,
    DeclarationError,
    Eq,
    Model,
    System,
    brownian,
    compile,
    control,
    neural,
    total,
    unknown,
)
from sciml.solvers import Solution, path

from ._neural_sde import path_through
from ._states import as_states, size_of, unpadded

LATENT, CONTEXT, DIVERGENCE = "latent", "context", "divergence"


def latent_sde(
    *, latent: int = 4, context: int = 4, width: int = 32, depth: int = 1, key: PRNGKeyArray
) -> System:
    """The posterior dynamics, with their divergence from the prior as an unknown.

    ``dz = h(z, c(t)) dt + g(z) dW, d(divergence) = |(h(z, c(t)) - f(z)) / g(z)|^2 / 2 dt``

    Arguments: `latent` and `context`, the sizes of z and c, which are an unknown and a control of
    the names ``latent`` and ``context``; `width`, `depth` of the hidden layers of the networks
    ``prior`` f, ``posterior`` h and ``spread`` g; `key` for the initial weights.

    >>> import jax, sciml as sm
    >>> print(sm.nn.latent_sde(latent=2, width=8, key=jax.random.key(0)).equations[0])
    D(latent) = D(W)*spread(latent) + posterior(latent, context)

    Source: Li, Wong, Chen, Duvenaud, Scalable gradients for stochastic differential equations
    (2020), section 5.
    """
    z, c = unknown(LATENT, shape=latent), control(CONTEXT, channels=context)
    f, h, g = _terms(latent, context, width, depth, key)
    noise, divergence = brownian("W", shape=latent), unknown(DIVERGENCE)
    gap = (h(z, c) - f(z)) / g(z)
    return System(
        Eq(D(z), h(z, c) + g(z) * D(noise)),
        Eq(D(divergence), total(gap**2) / 2),
        initial={divergence: 0},
        name="latent SDE",
    )


def prior_sde(f: Any, g: Any, *, latent: int) -> System:
    """The prior dynamics ``dz = f(z) dt + g(z) dW``, of the networks of a latent SDE."""
    z, noise = unknown(LATENT, shape=latent), brownian("W", shape=latent)
    return System(
        Eq(D(z), neural("prior", f)(z) + neural("spread", g)(z) * D(noise)), name="prior SDE"
    )


class _Spread(eqx.Module):
    """A positive network of the state, neither near zero nor large."""

    net: eqx.nn.MLP

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, " latent"]:
        return 0.05 + jax.nn.softplus(self.net(z))


class _Along(eqx.Module):
    """The whole vector of a network of one output, too."""

    net: eqx.nn.MLP

    def __call__(self, *inputs: Array) -> Array:
        return self.net(jnp.concatenate(inputs))


def _terms(latent: int, context: int, width: int, depth: int, key: PRNGKeyArray) -> tuple:
    one, two, three = jax.random.split(key, 3)
    f = eqx.nn.MLP(latent, latent, width, depth, jnp.tanh, key=one)
    h = eqx.nn.MLP(latent + context, latent, width, depth, jnp.tanh, key=two)
    g = _Spread(eqx.nn.MLP(latent, latent, width, depth, jnp.tanh, key=three))
    return neural("prior", f), neural("posterior", _Along(h)), neural("spread", g)


class LatentSDE(eqx.Module):
    """A latent SDE as a module: its loss for training, and paths drawn from the prior.

    Fields: `model`, the compiled posterior; `encoder`, a recurrent network that reads a series
    backwards in time; `start`, from the first context to mean and logarithm of the deviation of the
    first latent state; `prior_start`, the same of the prior; `readout`, from latent state to
    channels; `noise`, the standard deviation of the measurements; `dt0`, the step in time where a
    method is given none (too large a step makes the posterior, and so the learned spread, narrow).

    In a series, missing values are NaN, and it may be filled up by repeating its last time.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.unknown("x")
    >>> module = sm.nn.LatentSDE(x, latent=2, width=8, noise=0.1, key=jax.random.key(0))
    >>> module.sample(jnp.linspace(0, 1, 5), dt0=0.1, key=jax.random.key(1)).shape
    (5, 1)

    Source: Li et al. (2020), section 5; the reversed encoder is that of their section 7.3.
    """

    model: Model
    encoder: eqx.nn.GRUCell
    summary: eqx.nn.Linear
    start: eqx.nn.Linear
    prior_start: Float[Array, "2 latent"]
    readout: eqx.nn.Linear
    noise: float = eqx.field(static=True)
    dt0: float = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    prior: System = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        *,
        latent: int = 4,
        context: int = 4,
        width: int = 32,
        depth: int = 1,
        noise: float = 0.1,
        dt0: float = 0.01,
        key: PRNGKeyArray,
    ) -> None:
        if not noise > 0:
            raise DataError(f"noise is the positive standard deviation of a measurement: {noise}")
        if not dt0 > 0:
            raise DeclarationError(f"dt0 is a positive step in time, not {dt0}")
        keys = jax.random.split(key, 5)
        system = latent_sde(latent=latent, context=context, width=width, depth=depth, key=keys[0])
        self.model = compile(system)
        self.channels = size_of(as_states(states))
        self.encoder = eqx.nn.GRUCell(2 * self.channels + 1, width, key=keys[1])
        self.summary = eqx.nn.Linear(width, context, key=keys[2])
        self.start = eqx.nn.Linear(width, 2 * latent, key=keys[3])
        self.prior_start = jnp.zeros((2, latent))
        self.readout = eqx.nn.Linear(latent, self.channels, key=keys[4])
        self.noise, self.dt0 = float(noise), float(dt0)
        networks = self.model.networks
        self.prior = prior_sde(networks["prior"], networks["spread"], latent=latent)

    def encode(
        self, times: Float[Array, " time"], values: Float[Array, "time channel"]
    ) -> tuple[Float[Array, "time context"], Float[Array, "2 latent"]]:
        """The context at each time, and mean and log deviation of the first latent state."""
        gaps = jnp.diff(times, append=times[-1:])
        mask = jnp.isfinite(values)
        filled = jnp.where(mask, values, 0.0)
        inputs = jnp.concatenate([filled, mask.astype(values.dtype), gaps[:, None]], axis=1)

        def read(hidden: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
            given, seen = row
            hidden = jnp.where(seen, self.encoder(given, hidden), hidden)
            return hidden, hidden

        zero = jnp.zeros((self.encoder.hidden_size,), values.dtype)
        last, hidden = jax.lax.scan(read, zero, (inputs, jnp.any(mask, axis=1)), reverse=True)
        return jax.vmap(self.summary)(hidden), jnp.reshape(self.start(last), (2, -1))

    def loss(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        dt0: Any = None,
        key: PRNGKeyArray,
        weight: float | Float[Array, ""] = 1.0,
    ) -> Float[Array, ""]:
        """An estimate of minus the evidence lower bound, from one path of the posterior.

        `weight` multiplies the divergences from the prior; it is raised to 1 as training goes on.
        """
        first, second = jax.random.split(key)
        context, (mean, logarithm) = self.encode(times, values)
        deviation = jnp.exp(logarithm)
        z0 = mean + deviation * jax.random.normal(first, mean.shape, mean.dtype)
        sol = self.posterior(times, context, z0, dt0=dt0, key=second)
        shown = jax.vmap(self.readout)(sol[LATENT])
        mask = jnp.isfinite(values)
        residuals = (shown - jnp.where(mask, values, 0.0)) / self.noise
        constant = np.log(self.noise) + np.log(2 * np.pi) / 2
        middle, spread = self.prior_start[0], jnp.exp(self.prior_start[1])
        ratio = (deviation / spread) ** 2
        at_start = jnp.sum(ratio + ((mean - middle) / spread) ** 2 - 1 - jnp.log(ratio)) / 2
        divergence = at_start + sol[DIVERGENCE][-1]
        misfit = jnp.sum(jnp.where(mask, residuals**2 / 2 + constant, 0.0))
        return misfit + weight * divergence

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        dt0: Any = None,
        key: PRNGKeyArray,
    ) -> Float[Array, "time channel"]:
        """The series as the posterior understands it: one path, without the noise."""
        first, second = jax.random.split(key)
        context, (mean, logarithm) = self.encode(times, values)
        z0 = mean + jnp.exp(logarithm) * jax.random.normal(first, mean.shape, mean.dtype)
        sol = self.posterior(times, context, z0, dt0=dt0, key=second)
        return jax.vmap(self.readout)(sol[LATENT])

    def posterior(
        self,
        times: Float[Array, " time"],
        context: Float[Array, "time context"],
        latent: Float[Array, " latent"],
        *,
        dt0: Any = None,
        key: PRNGKeyArray,
    ) -> Solution:
        """One path of the posterior at `times`, with its divergence from the prior."""
        start = jnp.concatenate([latent, jnp.zeros((1,), latent.dtype)])
        curve = path(unpadded(times)[0], context, kind="linear", name=CONTEXT)
        step = self.dt0 if dt0 is None else dt0
        return path_through(self.model, times, start, dt0=step, key=key, controls={CONTEXT: curve})

    def sample(
        self, times: Float[Array, " time"], *, dt0: Any = None, key: PRNGKeyArray
    ) -> Float[Array, "time channel"]:
        """One path of the prior, without the noise of measurements."""
        first, second = jax.random.split(key)
        networks = {name: self.model.networks[name] for name in ("prior", "spread")}
        model = compile(self.prior).replace(networks=networks)
        mean, logarithm = self.prior_start
        z0 = mean + jnp.exp(logarithm) * jax.random.normal(first, mean.shape, mean.dtype)
        step = self.dt0 if dt0 is None else dt0
        sol = path_through(model, times, z0, dt0=step, key=second)
        return jax.vmap(self.readout)(sol[LATENT])

    @property
    def system(self) -> System:
        """The declared posterior dynamics."""
        return self.model.system
