"""Neural ODE: ``dx/dt = f(x, t)`` with a network f. Chen et al. (2018), equation 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import D, Eq, Model, System, compile, neural, t
from sciml.solvers import Solution

from ._states import as_states, joined, parts, size_of
from ._stepping import ADAPTIVE, Stepping


def neural_ode(
    states: Any,
    *,
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    time: bool = False,
    key: PRNGKeyArray,
) -> System:
    """The system ``D(x) = f(x)`` with a multilayer perceptron f as its whole right-hand side.

    ``dx/dt = f(x, t; theta)``

    Arguments
      states: one unknown or several, numbers and vectors.
      width, depth, activation: of the hidden layers.
      time: whether f also takes the time, ``f(x, t)``.
      key: for the initial weights.

    Raises `DeclarationError` and `ShapeError` for a state that is no unknown, or has two axes.

    >>> import jax, sciml as sm
    >>> x, y = sm.unknowns("x y")
    >>> print(sm.nn.neural_ode([x, y], width=8, key=jax.random.key(0)).equations[1])
    D(y) = f(stack(x, y))[1]

    Source: Chen, Rubanova, Bettencourt, Duvenaud, Neural ordinary differential equations (2018),
    equation 2.
    """
    symbols = as_states(states)
    size = size_of(symbols)
    net = eqx.nn.MLP(size + time, size, width, depth, activation, key=key)
    f = neural("f", net)
    rates = parts(f(joined(symbols), *[t] * time), symbols)
    equations = [Eq(D(x), rate) for x, rate in zip(symbols, rates, strict=True)]
    return System(*equations, name="neural ODE")


class NeuralODE(eqx.Module):
    """A neural ODE as a module: initial state and times in, states out.

    ``dx/dt = f(x, t; theta)``

    Fields: `model`, the compiled system; its network is what is trained. The arguments are those of
    `neural_ode`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> module = sm.nn.NeuralODE(x, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2)).shape
    (5, 2)

    Source: Chen et al. (2018), equation 2.
    """

    model: Model

    def __init__(
        self,
        states: Any,
        *,
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        time: bool = False,
        key: PRNGKeyArray,
    ) -> None:
        system = neural_ode(
            states, width=width, depth=depth, activation=activation, time=time, key=key
        )
        self.model = compile(system)

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time state"]:
        """The states at `times`, from the state at the first of them."""
        return stepping.through(self.model, times, initial).ys

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from initial values by symbol."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
