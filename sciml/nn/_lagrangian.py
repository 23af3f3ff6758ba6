"""Lagrangian systems: ``d/dt dL/dv = dL/dq`` with v = dq/dt. Cranmer et al. (2020), equation 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import (
    D,
    DeclarationError,
    Eq,
    Model,
    System,
    compile,
    gradient,
    neural,
    shape_of,
    t,
    total,
)
from sciml.solvers import Solution

from ._states import as_states, size_of
from ._stepping import ADAPTIVE, Stepping


def lagrangian(
    coordinates: Any,
    *,
    function: Any = None,
    values: Mapping[Any, Any] | None = None,
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.softplus,
    key: PRNGKeyArray | None = None,
) -> System:
    """The equations of motion of a Lagrangian, declared, neural, or in part.

    ``d/dt dL/dv = dL/dq, v = dq/dt``

    They are linear in the accelerations, for which the compiler solves. The energy
    ``v . dL/dv - L`` is observed under the name ``energy``.

    Arguments
      coordinates: the unknowns q, numbers and vectors.
      function: the Lagrangian, an expression of ``q`` and ``D(q)``; if not given, a network of both
        plus ``v . v / 2``, so that there is a mass to begin with.
      values: of parameters in it.
      width, depth, activation, key: of that network; without `function` the key is required. The
        activation needs a second derivative.

    Raises `DeclarationError` where a key is missing.

    >>> import sciml as sm, sympy
    >>> q = sm.unknown("q")
    >>> sm.nn.lagrangian(q, function=sm.D(q) ** 2 / 2 + sympy.cos(q)).equations
    (Eq(D(q, 2), -sin(q)),)

    Source: Cranmer, Greydanus, Hoyer, Battaglia, Spergel, Ho, Lagrangian neural networks (2020),
    equation 6.
    """
    symbols = as_states(coordinates)
    speeds = [D(q) for q in symbols]
    if function is None:
        if key is None:
            raise DeclarationError("a neural Lagrangian needs a key for its weights: give key=...")
        net = eqx.nn.MLP(2 * size_of(symbols), "scalar", width, depth, activation, key=key)
        if len(symbols) > 1 and any(q.shape for q in symbols):
            raise DeclarationError(
                "the coordinates of a neural Lagrangian are numbers, or one vector: join them in "
                "one, q = sm.unknown('q', shape=...)"
            )
        squares = [total(v**2) if q.shape else v**2 for q, v in zip(symbols, speeds, strict=True)]
        function = neural("L", net)(*symbols, *speeds) + sum(squares[1:], squares[0]) / 2
    momenta = [gradient(function, v) for v in speeds]
    equations = [
        Eq(p.diff(t), gradient(function, q)) for p, q in zip(momenta, symbols, strict=True)
    ]
    products = [
        total(v * p) if shape_of(p) else v * p for v, p in zip(speeds, momenta, strict=True)
    ]
    energy = sum(products[1:], products[0]) - function
    return System(*equations, values=values, observed={"energy": energy}, name="Lagrangian")


class Lagrangian(eqx.Module):
    """A Lagrangian system as a module: coordinates and rates in, both out, one after the other.

    ``d/dt dL/dv = dL/dq, v = dq/dt``

    Fields: `model`, the compiled system. The arguments are those of `lagrangian`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> q = sm.unknown("q", shape=2)
    >>> module = sm.nn.Lagrangian(q, width=8, key=jax.random.key(0))
    >>> module(jnp.linspace(0, 1, 5), jnp.ones(2), jnp.zeros(2)).shape
    (5, 4)

    Source: Cranmer et al. (2020), equation 6.
    """

    model: Model

    def __init__(
        self,
        coordinates: Any,
        *,
        function: Any = None,
        values: Mapping[Any, Any] | None = None,
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.softplus,
        key: PRNGKeyArray | None = None,
    ) -> None:
        system = lagrangian(
            coordinates,
            function=function,
            values=values,
            width=width,
            depth=depth,
            activation=activation,
            key=key,
        )
        self.model = compile(system)

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " coordinate"],
        rates: Float[Array, " coordinate"],
        *,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, "time state"]:
        """Coordinates and rates at `times`, from those at the first of them."""
        pieces = [jnp.asarray(part, self.model.dtype) for part in (initial, rates)]
        return stepping.through(self.model, times, jnp.concatenate(pieces)).ys

    def accelerations(
        self, initial: Float[Array, " coordinate"], rates: Float[Array, " coordinate"]
    ) -> Float[Array, " coordinate"]:
        """The second derivatives of the coordinates at one state, to train on."""
        state = jnp.concatenate([initial, rates])
        return self.model.vector_field(0.0, state)[initial.size :]

    def energy(
        self, initial: Float[Array, " coordinate"], rates: Float[Array, " coordinate"]
    ) -> Float[Array, ""]:
        """The energy ``v . dL/dv - L`` of one state."""
        return self.model.observed(0.0, jnp.concatenate([initial, rates]))["energy"]

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` over ``t = (t0, t1)`` from initial values of ``q`` and ``D(q)``."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
