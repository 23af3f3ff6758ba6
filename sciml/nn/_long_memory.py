r"""Long expressive memory.

.. math::

   \dot z &= \sigma_z(y, u)\,\bigl(\tanh(W_z y + V_z u + b_z) - z\bigr) \\
   \dot y &= \sigma_y(y, u)\,\bigl(\tanh(W_y z + V_y u + b_y) - y\bigr)

Source: Rusch, Mishra, Erichson and Mahoney, "Long expressive memory for sequence modeling" (2022),
equations 2 (the system) and 3 (its discretisation).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError, Model, System, neural
from sciml.solvers import Solution, solve

from ._driven import (
    Squashed,
    check_series,
    driven,
    held,
    interpolated,
    march,
    places,
    relaxation,
    relaxed,
    size,
    symbols,
)


def long_expressive_memory(
    fast: Any, slow: Any, inputs: Any, *, name: str = "lem", key: Array
) -> System:
    r"""Declares a long expressive memory, whose inputs something else determines.

    .. math::

       \dot z &= \sigma(W_1 y + V_1 u + b_1)\,\bigl(\tanh(W_z y + V_z u + b_z) - z\bigr) \\
       \dot y &= \sigma(W_2 y + V_2 u + b_2)\,\bigl(\tanh(W_y z + V_y u + b_y) - y\bigr)

    The two gates are learned time scales between 0 and 1, each in units of the step.

    Arguments
      fast, slow: unknowns z and y, scalars or vectors, with as many elements each.
      inputs: unknowns u, which another equation gives: ``system + sm.System(sm.Eq(u, ...))``.
      name: what the names of the four networks begin with.
      key: of the random weights.

    Returns the `System`, which starts at 0. Raises `DeclarationError` for what is no unknown, and
    where z and y differ in size.
    Source: Rusch et al. (2022), equation 2.

    >>> import jax, sciml as sm
    >>> z, y, u = sm.unknown("z", shape=4), sm.unknown("y", shape=4), sm.unknown("u")
    >>> system = sm.nn.long_expressive_memory(z, y, u, key=jax.random.key(0))
    >>> [n.name for n in system.networks]
    ['lem_z_gate', 'lem_z_target', 'lem_y_gate', 'lem_y_target']
    """
    fast, slow = symbols(fast, "fast"), symbols(slow, "slow")
    inputs = symbols(inputs, "inputs")
    count, ins = size(fast), size(fast) + size(inputs)
    if size(slow) != count:
        raise DeclarationError(
            f"{', '.join(map(str, fast))} and {', '.join(map(str, slow))} have {count} and "
            f"{size(slow)} elements: give them as many"
        )
    parts = []
    for label, own, other, one in zip(
        _labels(name), (fast, slow), (slow, fast), jax.random.split(key), strict=True
    ):
        first, second = jax.random.split(one)
        gate = neural(f"{label}_gate", Squashed(ins, count, jax.nn.sigmoid, key=first))
        target = neural(f"{label}_target", Squashed(ins, count, jnp.tanh, key=second))
        decay = gate(*slow, *inputs)
        parts.append(relaxation(own, decay, decay * target(*other, *inputs), label=label))
    return (parts[0] + parts[1]).replace(name=name)


class LongExpressiveMemory(eqx.Module):
    r"""A long expressive memory that a series drives, with a linear readout of y.

    Called, it takes one step of the declared discretisation for each entry of the series, first of
    z, then of y with the new z,

    .. math::

       z &\leftarrow z + \Delta t\,\sigma_1 (\tanh(W_z y + V_z u + b_z) - z) \\
       y &\leftarrow y + \Delta t\,\sigma_2 (\tanh(W_y z + V_y u + b_y) - y)

    so that z and y stay between -1 and 1 for any input.

    Arguments: `dt`, the step, at most 1; `outputs`, how many numbers are read out at each time; the
    others as for `long_expressive_memory`. Fields: `model` and `readout`, which are trained;
    `system`.
    Raises `DeclarationError` for what is no unknown or no such step, and `ShapeError` for a series
    that does not fit the inputs.
    Source: Rusch et al. (2022), equation 3.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> z, y, u = sm.unknown("z", shape=4), sm.unknown("y", shape=4), sm.unknown("u")
    >>> net = sm.nn.LongExpressiveMemory(z, y, u, outputs=2, key=jax.random.key(0))
    >>> net(jnp.ones((10, 1))).shape
    (10, 2)
    """

    model: Model
    readout: eqx.nn.Linear
    fast: tuple[Any, ...] = eqx.field(static=True)
    slow: tuple[Any, ...] = eqx.field(static=True)
    inputs: tuple[Any, ...] = eqx.field(static=True)
    dt: float = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        fast: Any,
        slow: Any,
        inputs: Any,
        *,
        outputs: int = 1,
        dt: float = 1.0,
        name: str = "lem",
        key: Array,
    ) -> None:
        if not 0 < dt <= 1:
            raise DeclarationError(f"dt = {dt}: the step is above 0 and at most 1")
        inner, outer = jax.random.split(key)
        system = long_expressive_memory(fast, slow, inputs, name=name, key=inner)
        self.fast, self.slow = symbols(fast, "fast"), symbols(slow, "slow")
        self.inputs = symbols(inputs, "inputs")
        self.model = driven(system, self.inputs)
        self.readout = eqx.nn.Linear(size(self.slow), outputs, key=outer)
        self.dt, self.name = float(dt), name

    def __call__(self, series: Float[Array, "time channel"]) -> Float[Array, "time output"]:
        """What is read out after each entry of a series."""
        where = places(self.model, self.slow)
        return jax.vmap(self.readout)(self.states(series)[:, where])

    def states(self, series: Float[Array, "time channel"]) -> Float[Array, "time state"]:
        """The states after each entry of a series, in the order of ``model.states``."""
        check_series(series, self.inputs)
        y0 = self.model.state()

        def step(y: Array, dt: Array, u: Array) -> Array:
            model = held(self.model, u)
            for unknowns, label in zip((self.fast, self.slow), _labels(self.name), strict=True):
                y = relaxed(model, unknowns, y, dt, label=label, implicit=False)
            return y

        dts = jnp.full(series.shape[:1], self.dt, y0.dtype)
        return march(step, y0, dts, series.astype(y0.dtype))

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


def _labels(name: str) -> tuple[str, str]:
    return f"{name}_z", f"{name}_y"
