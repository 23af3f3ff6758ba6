"""Second-order neural ODE: ``x'' = f(x, x')``. Norcliffe et al. (2020), section 3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import D, Eq, Model, System, compile, neural
from sciml.solvers import Solution

from ._states import as_states, joined, parts, size_of
from ._stepping import ADAPTIVE, Stepping


def second_order_neural_ode(
    states: Any,
    *,
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    key: PRNGKeyArray,
) -> System:
    """The system ``D(x, 2) = f(x, D(x))``: the network is an acceleration.

    ``d2x/dt2 = f(x, dx/dt; theta)``

    Arguments: `states`, one unknown or several, the positions; `width`, `depth`, `activation` of
    the hidden layers; `key` for the initial weights.

    Raises what `neural_ode` raises.

    >>> import jax, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> print(sm.nn.second_order_neural_ode(x, key=jax.random.key(0)).equations[0])
    D(x, 2) = f(x, D(x))

    Source: Norcliffe, Bodnar, Day, Simidjievski, Lio, On second order behaviour in augmented neural
    ODEs (2020), section 3.
    """
    symbols = as_states(states)
    size = size_of(symbols)
    f = neural("f", eqx.nn.MLP(2 * size, size, width, depth, activation, key=key))
    output = f(joined(symbols), joined([D(x) for x in symbols]))
    accelerations = parts(output, symbols)
    equations = [Eq(D(x, 2), a) for x, a in zip(symbols, accelerations, strict=True)]
    return System(*equations, name="second-order neural ODE")


class SecondOrderNeuralODE(eqx.Module):
    """A second-order neural ODE as a module: positions and rates in, positions out.

    ``d2x/dt2 = f(x, dx/dt; theta)``

    Fields: `model`, the compiled system. The arguments are those of `second_order_neural_ode`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.unknown("x", shape=2)
    >>> module = sm.nn.SecondOrderNeuralODE(x, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2), jnp.zeros(2)).shape
    (5, 2)

    Source: Norcliffe et al. (2020), section 3.
    """

    model: Model

    def __init__(
        self,
        states: Any,
        *,
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        key: PRNGKeyArray,
    ) -> None:
        system = second_order_neural_ode(
            states, width=width, depth=depth, activation=activation, key=key
        )
        self.model = compile(system)

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        rates: Float[Array, " state"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time state"]:
        """The positions at `times`, from positions and rates at the first of them."""
        initial = jnp.asarray(initial, self.model.dtype)
        whole = jnp.concatenate([initial, jnp.asarray(rates, self.model.dtype)])
        size = self.model.initial.size // 2
        return stepping.through(self.model, times, whole).ys[:, :size]

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from initial values of ``x`` and ``D(x)``."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
