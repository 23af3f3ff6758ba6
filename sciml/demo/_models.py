"""The models that the demo compares, each declared in a few lines.

They know less and less: the mechanistic model all, the universal one births and deaths alone, the
neural ODEs only that a population changes in proportion to itself, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import sciml as sm
from sciml import D

SCALE = 30  # thousands of pelts: what a network takes for one
_UNIT = "thousands of pelts"
_SPREAD = 0.3  # of the logarithms of starts over the seeds

x, y = sm.unknowns("x y", bounds=(0, None), unit=_UNIT)
a, b, c, d = sm.parameters("a b c d", bounds=(0, None))
lost, gained = sm.unknowns("lost gained", unit=f"{_UNIT} a year")


def _identity(value: Array) -> Array:
    return value


def mechanistic(key: Array | None = None) -> sm.System:
    """The model of Lotka and Volterra; its starts are round values, spread by the key."""
    factors = np.ones(4)
    if key is not None:
        factors = np.exp(_SPREAD * np.asarray(jax.random.normal(key, (4,))))
    starts = zip((a, b, c, d), factors * (1.0, 0.03, 1.0, 0.03), strict=True)
    return sm.System(
        sm.Eq(D(x), a * x - b * x * y),
        sm.Eq(D(y), d * x * y - c * y),
        values=dict(starts),
        observed={lost: b * x * y, gained: d * x * y},
        name="mechanistic",
    )


def universal(key: Array) -> sm.System:
    """What a hare risks and what a lynx gains are unknown: a network of both populations."""
    f = sm.neural("f", network(32, key=key, final_activation=jax.nn.softplus))
    risk, gain = f(x / SCALE, y / SCALE)
    return sm.System(
        sm.Eq(D(x), a * x - risk * x),
        sm.Eq(D(y), gain * y - c * y),
        values={a: 1.0, c: 1.0},
        observed={lost: risk * x, gained: gain * y},
        name="universal",
    )


def neural_ode(key: Array) -> sm.System:
    """Both rates are a network of both populations."""
    f = sm.neural("f", network(64, key=key))
    rise = f(x / SCALE, y / SCALE)
    return sm.System(sm.Eq(D(x), SCALE * rise[0]), sm.Eq(D(y), SCALE * rise[1]), name="neural ODE")


def neural_ode_per_head(key: Array) -> sm.System:
    """Both rates per head are a network: a neural ODE for the logarithms of the populations."""
    f = sm.neural("f", network(8, key=key))
    rise = f(x / SCALE, y / SCALE)
    return sm.System(sm.Eq(D(x), rise[0] * x), sm.Eq(D(y), rise[1] * y), name="neural ODE per head")


def network(width: int, *, key: Array, final_activation: Callable = _identity) -> eqx.nn.MLP:
    """A network of two inputs and two outputs with one hidden layer."""
    return eqx.nn.MLP(
        2, 2, width, 1, activation=jnp.tanh, final_activation=final_activation, key=key
    )
