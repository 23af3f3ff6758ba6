"""SDE-GAN: a neural SDE that learns the law of a set of series. Kidger et al. (2021).

The generator makes a path out of noise, ``dz = f(z, t) dt + g(z, t) o dW``; the discriminator is a
neural controlled equation that reads a series and gives it a score. A series is read along the
numbers of its rows, with time as its first channel, so that it may be of any times, and a row that
repeats the one before changes nothing.
"""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.dsl import DataError, DeclarationError, Model, System, compile
from sciml.solvers import Path, Solution, solve

from ._sde_gan_halves import (
    SERIES,
    bounded,
    lipswish,
    refuse_sizes,
    sde_gan_discriminator,
    sde_gan_generator,
)
from ._states import as_states, checked_times, joined, size_of, starting


class Generator(eqx.Module):
    """Half of an `SDEGAN`: a compiled `model`, and `start`, from noise to its first state."""

    model: Model
    start: eqx.nn.MLP


class Discriminator(eqx.Module):
    """Half of an `SDEGAN`: a compiled `model`, and `start`, from first time and values to h."""

    model: Model
    start: eqx.nn.MLP


class SDEGAN(eqx.Module):
    """An SDE-GAN as a module: paths drawn, series scored, and the loss of both for training.

    ``v ~ N(0, 1), z(t0) = a(v), dz = f(z, t) dt + g(z, t) o dW, x = readout(z)``,
    ``X = (pace t, x), h(t0) = b(X(t0)), dh = F(h, pace t) dX, score = m . h(t1)``

    Fields: `generator` and `discriminator`, each with a compiled `model` of the declared system and
    its `start`, the maps a and b; `pace`. The arguments are those of `sde_gan_generator` and
    `sde_gan_discriminator`, `initial`, the size of v, and `pace`, how many units of time pass for
    the discriminator in one: as its rates are bounded, it tells apart what differs within 1/pace,
    about the gap between two times of a series. Series are of order 1, over times of order 1; what
    trains the module keeps the discriminator within its bounds by `clipped`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> module = sm.nn.SDEGAN(sm.unknown("x"), key=jax.random.key(0))
    >>> times, values = jnp.array([0.0, 0.5, 1.0]), jnp.array([[1.0], [jnp.nan], [0.5]])
    >>> module.sample(times, dt0=0.1, key=jax.random.key(1)).shape
    (3, 1)
    >>> module.score(times, values).shape
    ()

    Source: Kidger et al. (2021), section 3; Kidger, Foster, Li, Lyons, Efficient and accurate
    gradients for neural SDEs (2021), section 5, for the bounds.
    """

    generator: Generator
    discriminator: Discriminator
    symbols: tuple = eqx.field(static=True)
    pace: float = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        noise: Any = 3,
        *,
        latent: int = 8,
        hidden: int = 16,
        initial: int = 4,
        width: int = 16,
        depth: int = 1,
        pace: float = 16.0,
        key: PRNGKeyArray,
    ) -> None:
        refuse_sizes(initial=initial)
        if not pace > 0:
            raise DeclarationError(f"pace = {pace}: time runs forward for the discriminator, too")
        keys = jax.random.split(key, 4)
        sizes: Any = {"width": width, "depth": depth}
        makes = compile(sde_gan_generator(states, noise, latent=latent, **sizes, key=keys[0]))
        reads = compile(sde_gan_discriminator(states, hidden=hidden, **sizes, key=keys[1]))
        self.symbols = as_states(states)
        channels = 1 + size_of(self.symbols)
        dtype = makes.dtype
        first = eqx.nn.MLP(initial, latent, width, depth, lipswish, dtype=dtype, key=keys[2])
        other = eqx.nn.MLP(channels, hidden, width, depth, lipswish, dtype=dtype, key=keys[3])
        self.generator = Generator(makes, first)
        self.discriminator = bounded(Discriminator(reads, other))
        self.pace = float(pace)

    def sample(
        self, times: Float[Array, " time"], *, dt0: Any, key: PRNGKeyArray, solver: Any = None
    ) -> Float[Array, "time channel"]:
        """One path of the states at `times`, from the first of them on, in steps `dt0`.

        Between steps it is joined linearly: a step should not be longer than a gap between times.
        """
        times = checked_times(times, self.model.dtype)
        span = (times[0], times[-1])
        options = {"saveat": times, "dt0": dt0, "solver": solver, "noise": "stepwise"}
        return self.solve(span, key=key, **options)[joined(self.symbols)]

    def score(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        mask: Bool[Array, "time channel"] | None = None,
    ) -> Float[Array, ""]:
        """The discriminator's score of a series: it learns to give more to what is generated.

        What `mask` leaves out is not looked at; without it, that is what is not a number. Each
        channel is joined linearly in time through what there is of it, and is constant before and
        behind; one without any value is 0. Series of different lengths can be filled up by
        repeating the last time.

        Raises `DataError` for values of another shape, and for a series without any.
        """
        return self._score(*self._series(times, values, mask))

    def loss(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        dt0: Any,
        key: PRNGKeyArray,
        mask: Bool[Array, "time channel"] | None = None,
        solver: Any = None,
    ) -> Float[Array, ""]:
        """``score(generated) - score(measured)``, of one path at the times of a series.

        The generator makes its mean over many series small, the discriminator makes it large. What
        was not measured is left out of the path, too: otherwise the two could be told apart by
        that.
        """
        times, values, mask = self._series(times, values, mask)
        drawn = self.sample(times, dt0=dt0, key=key, solver=solver)
        return self._score(times, drawn, mask) - self._score(times, values, mask)

    def solve(
        self,
        t: Any,
        *,
        key: PRNGKeyArray,
        initial: Any = None,
        saveat: Any = None,
        dt0: Any = None,
        solver: Any = None,
        noise: str = "refinable",
    ) -> Solution:
        """One path as a `Solution` over ``t = (t0, t1)``, indexed by the states.

        Its first latent state is drawn, unless ``initial={"latent": ...}`` gives one. The other
        options are those of `sciml.solve`.
        """
        first, second = jax.random.split(key)
        size: Any = self.generator.start.in_size
        state = self.generator.start(jax.random.normal(first, (size,), self.model.dtype))
        return solve(
            starting(self.model, state),
            t,
            initial=initial,
            saveat=saveat,
            dt0=dt0,
            key=second,
            solver=solver,
            noise=noise,
        )

    def clipped(self) -> SDEGAN:
        """The same with a discriminator whose linear maps have Lipschitz constants of at most 1.

        That is so in the largest component, where of n inputs no weight is above 1/n. As the
        activations have slopes of at most 1, it holds for each entry of F, too.
        """
        return eqx.tree_at(lambda m: m.discriminator, self, bounded(self.discriminator))

    @property
    def model(self) -> Model:
        """The compiled generator."""
        return self.generator.model

    @property
    def system(self) -> System:
        """The declared generator; that of the other half is ``discriminator.model.system``."""
        return self.model.system

    def _score(self, times: Array, values: Array, mask: Array) -> Array:
        model, start = self.discriminator.model, self.discriminator.start
        clock = self.pace * times[:, None]
        knots = jnp.concatenate([clock, filled(times, values, mask)], axis=1)
        unit = jnp.arange(2, dtype=knots.dtype)

        def step(h: Array, ends: Array) -> tuple[Array, None]:
            """Heun's, along one piece: its rate, which jumps between pieces, is constant."""
            piece = Path(dfx.LinearInterpolation(unit, ends), knots.shape[1:])
            along = model.replace(networks={SERIES: piece})
            first = along.vector_field(0.0, h)
            return h + (first + along.vector_field(1.0, h + first)) / 2, None

        last, _ = jax.lax.scan(step, start(knots[0]), jnp.stack([knots[:-1], knots[1:]], axis=1))
        return model.networks["measure"](last)

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
        if not isinstance(mask, Tracer) and not np.any(mask):
            raise DataError("the series has no value: leave it out")
        return times, values, mask


def filled(times: Array, values: Array, mask: Array) -> Array:
    """Values with what `mask` leaves out joined linearly in time, constant before and behind.

    A column that has nothing is 0.
    """
    count = times.size
    rows = jnp.arange(count)[:, None]
    before = jax.lax.cummax(jnp.where(mask, rows, -1), axis=0)
    after = jax.lax.cummin(jnp.where(mask, rows, count), axis=0, reverse=True)
    left = jnp.clip(jnp.where(before < 0, after, before), 0, count - 1)
    right = jnp.clip(jnp.where(after == count, before, after), 0, count - 1)
    known = jnp.where(mask, values, 0.0)
    low, high = (jnp.take_along_axis(known, place, axis=0) for place in (left, right))
    gap = times[right] - times[left]
    part = jnp.where(gap > 0, (times[:, None] - times[left]) / jnp.where(gap > 0, gap, 1.0), 0.0)
    return low + part * (high - low)
