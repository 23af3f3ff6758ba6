"""Neural SDE: ``dz = f(z, t) dt + g(z, t) dW`` with networks f and g. Kidger (2022), chapter 4."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import Brownian, D, DeclarationError, Eq, Model, System, brownian, compile, neural, t
from sciml.solvers import Solution, solve

from ._states import as_states, checked_times, joined, parts, size_of, starting


def neural_sde(
    states: Any,
    noise: Any = None,
    *,
    width: int = 64,
    depth: int = 2,
    key: PRNGKeyArray,
) -> System:
    """The system ``D(z) = f(z, t) + g(z, t) * D(W)`` of Ito, with diagonal noise.

    ``dz = f(z, t; theta) dt + g(z, t; theta) dW``

    Arguments
      states: one unknown or several, numbers and vectors.
      noise: the Brownian motion, of as many components as the states together; one of the name W
        if none is given.
      width, depth: of the hidden layers of both networks; g ends in a sigmoid, f in nothing.
      key: for the initial weights.

    Raises `DeclarationError` for noise of another shape.

    >>> import jax, sciml as sm
    >>> z = sm.unknown("z", shape=2)
    >>> print(sm.nn.neural_sde(z, width=8, key=jax.random.key(0)).equations[0])
    D(z) = D(W)*g(z, t) + f(z, t)

    Source: Kidger, On neural differential equations (2022), section 4.2.
    """
    symbols = as_states(states)
    size = size_of(symbols)
    driver = as_noise(noise, size)
    first, second = jax.random.split(key)
    f = neural("f", eqx.nn.MLP(size + 1, size, width, depth, jax.nn.silu, key=first))
    g = neural(
        "g", eqx.nn.MLP(size + 1, size, width, depth, jax.nn.silu, jax.nn.sigmoid, key=second)
    )
    z = joined(symbols)
    drift, spread = (parts(net(z, t), symbols) for net in (f, g))
    shocks = parts(D(driver), symbols)
    return System(
        *(Eq(D(x), a + b * w) for x, a, b, w in zip(symbols, drift, spread, shocks, strict=True)),
        name="neural SDE",
    )


def as_noise(noise: Any, size: int) -> Any:
    """A Brownian motion with one component for each of the state."""
    if noise is None:
        return brownian("W", shape=size)
    if not isinstance(noise, Brownian) or int(np.prod(noise.shape)) != size:
        raise DeclarationError(
            f"{noise} is no Brownian motion of {size} components, one for each of the state: "
            f'declare it, W = sm.brownian("W", shape={size})'
        )
    return noise


class NeuralSDE(eqx.Module):
    """A neural SDE as a module: key, times and initial state in, one path out.

    ``dz = f(z, t; theta) dt + g(z, t; theta) dW``

    Fields: `model`, the compiled system; its networks are what is trained. The arguments are those
    of `neural_sde`. For many paths, map over keys by `jax.vmap`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> z = sm.unknown("z", shape=2)
    >>> module = sm.nn.NeuralSDE(z, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2), dt0=0.1, key=jax.random.key(1)).shape
    (5, 2)

    Source: Kidger (2022), section 4.2.
    """

    model: Model

    def __init__(
        self,
        states: Any,
        noise: Any = None,
        *,
        width: int = 64,
        depth: int = 2,
        key: PRNGKeyArray,
    ) -> None:
        self.model = compile(neural_sde(states, noise, width=width, depth=depth, key=key))

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        dt0: Any,
        key: PRNGKeyArray,
        solver: Any = None,
        noise: str = "stepwise",
    ) -> Float[Array, "time state"]:
        """One path at `times`, from the state at the first of them, in steps `dt0`.

        Its noise is drawn step by step, or "refinable", as `sciml.solve` says.
        """
        options = {"dt0": dt0, "key": key, "solver": solver, "noise": noise}
        return path_through(self.model, times, initial, **options).ys

    def solve(self, t: Any, *, key: PRNGKeyArray, initial: Any = None, **options: Any) -> Solution:
        """A `Solution` over ``t = (t0, t1)``; options as those of `sciml.solve`."""
        return solve(self.model, t, key=key, initial=initial, **options)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system


def path_through(
    model: Model,
    times: Any,
    initial: Any,
    *,
    dt0: Any,
    key: PRNGKeyArray,
    solver: Any = None,
    controls: Any = None,
    noise: str = "stepwise",
) -> Solution:
    """One path at `times`, from the state at the first of them."""
    times = checked_times(times, model.dtype)
    return solve(
        starting(model, initial),
        (times[0], times[-1]),
        saveat=times,
        dt0=dt0,
        key=key,
        solver=solver,
        controls=controls,
        noise=noise,
    )
