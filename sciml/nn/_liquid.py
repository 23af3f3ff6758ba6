r"""Liquid time-constant networks.

.. math:: \dot x = -\Bigl(\frac1\tau + f(x, u)\Bigr) x + f(x, u) A

Source: Hasani, Lechner, Amini, Rus and Grosu, "Liquid time-constant networks" (2021), equations 1
(the system) and 3 (the fused step), theorems 1 and 2 (the bounds).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import sympy
from jaxtyping import Array, Float

from sciml.dsl import Model, System, neural, parameter
from sciml.solvers import Solution, solve

from ._driven import (
    Squashed,
    check_series,
    driven,
    held,
    interpolated,
    march,
    relaxation,
    relaxed,
    size,
    symbols,
)


def liquid_time_constant(
    states: Any,
    inputs: Any,
    *,
    width: int = 16,
    depth: int = 0,
    name: str = "ltc",
    key: Array,
) -> System:
    r"""Declares a liquid time-constant network, whose inputs something else determines.

    .. math:: \dot x = -\Bigl(\frac1\tau + f(x, u)\Bigr) x + f(x, u) A

    with the gate :math:`f = w\,\sigma(\mathrm{MLP}(x, u))` between 0 and w. Time constants τ and
    gains w are positive, as their logarithms are the parameters. Observed, as ``"ltc_tau"``: the
    effective time constants :math:`1/(1/\tau + f)`, between :math:`\tau/(1 + \tau w)` and τ.

    Arguments
      states: unknowns x, scalars or vectors: one neuron for each element.
      inputs: unknowns u, which another equation gives: ``system + sm.System(sm.Eq(u, ...))``.
      width, depth: of the hidden layers of the gate; depth 0 is one layer, as in the paper.
      name: what the names of parameters and network begin with.
      key: of the random weights, and of A, standard normal.

    Returns the `System`, which starts at 0. Raises `DeclarationError` for what is no unknown.
    Source: Hasani et al. (2021), equation 1.

    >>> import jax, sciml as sm
    >>> x, u = sm.unknown("x", shape=4), sm.unknown("u")
    >>> system = sm.nn.liquid_time_constant(x, u, key=jax.random.key(0))
    >>> sorted(p.name for p in system.parameters)
    ['ltc_A', 'ltc_log_gain', 'ltc_log_tau']
    """
    states, inputs = symbols(states, "states"), symbols(inputs, "inputs")
    count, ins = size(states), size(states) + size(inputs)
    weights, reversal = jax.random.split(key)
    net = Squashed(ins, count, jax.nn.sigmoid, width=width, depth=depth, key=weights)
    gate = neural(f"{name}_gate", net)(*states, *inputs)
    zeros, most = [0.0] * count, jax.random.normal(reversal, (count,)).tolist()
    tau = parameter(f"{name}_log_tau", zeros, description="logarithms of the time constants")
    gain = parameter(f"{name}_log_gain", zeros, description="logarithms of the gains of the gate")
    A = parameter(f"{name}_A", most, description="what an open gate leads to")
    opened = sympy.exp(gain) * gate
    decay = sympy.exp(-tau) + opened
    system = relaxation(states, decay, opened * A, label=name)
    return system.replace(observed={f"{name}_tau": 1 / decay}, name=name)


class LiquidTimeConstant(eqx.Module):
    r"""A liquid time-constant network that a series drives.

    Called, it takes one fused step from each time to the next, with the input of the latter,

    .. math:: x \leftarrow \frac{x + \Delta t\, f(x, u) A}{1 + \Delta t\,(1/\tau + f(x, u))},

    which keeps x between min(0, A) and max(0, A) for any step and any input, and is of first order.

    Arguments: as for `liquid_time_constant`. Fields: `model`, whose leaves are trained; `system`.
    Raises `DeclarationError` for what is no unknown, and `ShapeError` for a series that does not
    fit the inputs.
    Source: Hasani et al. (2021), equation 3.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x, u = sm.unknown("x", shape=4), sm.unknown("u")
    >>> net = sm.nn.LiquidTimeConstant(x, u, key=jax.random.key(0))
    >>> net(jnp.linspace(0, 1, 5), jnp.ones((5, 1))).shape
    (5, 4)
    """

    model: Model
    states: tuple[Any, ...] = eqx.field(static=True)
    inputs: tuple[Any, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        inputs: Any,
        *,
        width: int = 16,
        depth: int = 0,
        name: str = "ltc",
        key: Array,
    ) -> None:
        options = {"width": width, "depth": depth, "name": name, "key": key}
        system = liquid_time_constant(states, inputs, **options)
        self.states, self.inputs = symbols(states, "states"), symbols(inputs, "inputs")
        self.model, self.name = driven(system, self.inputs), name

    def __call__(
        self, times: Float[Array, " time"], series: Float[Array, "time channel"]
    ) -> Float[Array, "time state"]:
        """States at the times, from the initial state of the model on, by fused steps."""
        check_series(series, self.inputs, times)
        y0 = self.model.state()

        def step(y: Array, dt: Array, u: Array) -> Array:
            model = held(self.model, u)
            return relaxed(model, self.states, y, dt, label=self.name, implicit=True)

        dtype = y0.dtype
        dts, inputs = jnp.diff(times).astype(dtype), series[1:].astype(dtype)
        return jnp.concatenate([y0[None], march(step, y0, dts, inputs)])

    def solve(
        self, times: Float[Array, " time"], series: Float[Array, "time channel"], **options: Any
    ) -> Solution:
        """The solution at the times by an ODE solver, the series linear between them.

        `options` are those of `solve`.
        """
        check_series(series, self.inputs, times)
        model = interpolated(self.model, times, series)
        return solve(model, (times[0], times[-1]), **{"saveat": times, **options})

    @property
    def system(self) -> System:
        """What was declared, with the series as the equation of the inputs."""
        return self.model.system
