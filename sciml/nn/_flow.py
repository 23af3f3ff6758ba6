"""Continuous normalising flow: a density carried along by ``dz/dt = f(z, t)``.

``d log p(z(t)) / dt = -tr(df/dz)``: Grathwohl et al. (2018), equation 2.
"""

from __future__ import annotations

from collections.abc import Callable
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
    Neural,
    System,
    compile,
    constant,
    neural,
    parameter,
    shape_of,
    t,
    total,
    unknown,
)
from sciml.dsl._derivative import derivative_of
from sciml.solvers import Solution

from ._states import as_states, joined, parts, size_of, starting
from ._stepping import ADAPTIVE, Stepping

END = 1.0  # the base distribution is at t = 0, the data are at t = END
TRACES = ("exact", "hutchinson")


def continuous_flow(
    states: Any,
    *,
    trace: str = "exact",
    width: int = 64,
    depth: int = 2,
    activation: Callable = jax.nn.tanh,
    key: PRNGKeyArray,
) -> System:
    """The flow from a base distribution at t = 0 to the data at t = 1, with its log-density.

    ``dz/dt = f(z, t), d log p/dt = -tr(df/dz)``

    The change of the log-density since t = 0 is one more unknown, ``log_density``.

    Arguments
      states: one unknown or several, the coordinates of the data.
      trace: "exact", from the Jacobian; or "hutchinson", ``e . (df/dz) e`` with a random e, which
        is the parameter ``probe``: unbiased, and as cheap as f in any dimension.
      width, depth, activation: of the hidden layers of f.
      key: for the initial weights.

    Raises `DeclarationError` for another `trace`, and what `neural_ode` raises.

    >>> import jax, sciml as sm
    >>> z = sm.unknown("z", shape=2)
    >>> print(sm.nn.continuous_flow(z, trace="hutchinson", key=jax.random.key(0)).equations[1])
    D(log_density) = -probe @ D(f(z, t), z) @ probe

    Source: Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, FFJORD (2018), equations 2 and 3, and
    section 3.1 for the estimate.
    """
    symbols = as_states(states)
    size = size_of(symbols)
    f = neural("f", eqx.nn.MLP(size + 1, size, width, depth, activation, key=key))
    return _declared(symbols, f, trace, backwards=False)


def _declared(symbols: tuple, f: Neural, trace: str, *, backwards: bool) -> System:
    """The flow, or the same run from t = END to 0, with time counted from END."""
    if trace not in TRACES:
        raise DeclarationError(f'trace is "exact" or "hutchinson", not {trace!r}')
    change = unknown("log_density")
    as_states([*symbols, change])
    velocity = f(joined(symbols), END - t if backwards else t)
    slope, size = derivative_of(velocity, 0), size_of(symbols)
    if trace == "exact":
        divergence = total(slope * constant(np.eye(size)) if size > 1 else slope)
    else:
        probe = parameter("probe", shape=size)
        moved = slope @ probe
        divergence = probe @ moved if shape_of(moved) else probe[0] * moved
    sign = -1 if backwards else 1
    flow = [Eq(D(z), sign * v) for z, v in zip(symbols, parts(velocity, symbols), strict=True)]
    return System(
        *flow, Eq(D(change), -divergence), initial={change: 0.0}, name="continuous normalising flow"
    )


class ContinuousFlow(eqx.Module):
    """A continuous normalising flow as a module: log-densities of points, and samples.

    ``log p(x) = log N(z(0)) - integral of tr(df/dz) from 0 to 1, z(1) = x``

    Fields: `model`, the compiled flow, whose network is trained; `backwards`, the program of the
    same equations run from the data to the base; `trace`. The arguments are those of
    `continuous_flow`; the base distribution is the standard normal one.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> flow = sm.nn.ContinuousFlow(sm.unknown("z", shape=2), width=8, key=jax.random.key(0))
    >>> jax.vmap(flow)(jnp.zeros((5, 2))).shape
    (5,)

    Source: Grathwohl et al. (2018), equation 4 for the way back.
    """

    model: Model
    backwards: Any = eqx.field(static=True)
    trace: str = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        *,
        trace: str = "exact",
        width: int = 64,
        depth: int = 2,
        activation: Callable = jax.nn.tanh,
        key: PRNGKeyArray,
    ) -> None:
        system = continuous_flow(
            states, trace=trace, width=width, depth=depth, activation=activation, key=key
        )
        (f,) = system.networks
        self.model = compile(system)
        back = _declared(as_states(states), f, trace, backwards=True)
        self.backwards = compile(back).program
        self.trace = trace

    def __call__(
        self,
        point: Float[Array, " state"],
        *,
        key: PRNGKeyArray | None = None,
        stepping: Stepping = ADAPTIVE,
    ) -> Float[Array, ""]:
        """The log-density of a point; the key draws the probe of an estimated trace."""
        model = Model(
            self.model.parameters, self.model.initial, self.model.networks, self.backwards
        )
        base, change = self._carried(model, point, key, stepping)
        size = base.size
        return -jnp.sum(base**2) / 2 - size * np.log(2 * np.pi) / 2 + change

    def transform(
        self,
        base: Float[Array, " state"],
        *,
        key: PRNGKeyArray | None = None,
        stepping: Stepping = ADAPTIVE,
    ) -> tuple[Float[Array, " state"], Float[Array, ""]]:
        """Where a point of the base goes, and by how much its log-density changes."""
        return self._carried(self.model, base, key, stepping)

    def sample(self, *, key: PRNGKeyArray, stepping: Stepping = ADAPTIVE) -> Float[Array, " state"]:
        """One sample; several by ``jax.vmap`` over keys."""
        drawn, probe = jax.random.split(key)
        base = jax.random.normal(drawn, (self.model.initial.size - 1,), self.model.dtype)
        return self._carried(self.model, base, probe, stepping)[0]

    def _carried(
        self, model: Model, point: Any, key: PRNGKeyArray | None, stepping: Stepping
    ) -> tuple[Array, Array]:
        point = jnp.asarray(point, model.dtype)
        size = model.initial.size - 1
        if point.shape != (size,):
            raise DataError(
                f"a point has shape ({size},), not {point.shape}; map over several by jax.vmap"
            )
        if self.trace == "hutchinson":
            if key is None:
                raise DeclarationError("an estimated trace is random: give key=...")
            probe = jax.random.rademacher(key, (size,), model.dtype)
            model = model.replace(values={"probe": probe})
        state = jnp.append(point, jnp.zeros((), model.dtype))
        end = stepping.solve(starting(model, state), (0.0, END), saveat=[END]).ys[0]
        return end[:size], end[size]

    def solve(
        self, t: Any, *, initial: Any = None, saveat: Any = None, stepping: Stepping = ADAPTIVE
    ) -> Solution:
        """A `Solution` of the flow from initial values by symbol; t = 0 is the base, 1 the data."""
        return stepping.solve(self.model, t, initial=initial, saveat=saveat)

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
