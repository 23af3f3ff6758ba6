"""Neural controlled equation: ``dz = F(z) dX``, F a network. Kidger et al. (2020), eq. 4."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import (
    Control,
    D,
    DeclarationError,
    Eq,
    Model,
    System,
    compile,
    matmul,
    name_of,
    neural,
    t,
)
from sciml.solvers import Path, Solution, solve, with_controls

from ._states import as_states, joined, parts, size_of, starting
from ._stepping import Stepping

_STEPPING = Stepping(rtol=1e-3, atol=1e-6)


class _Matrix(eqx.Module):
    """A perceptron whose output is a matrix of bounded entries."""

    net: eqx.nn.MLP
    channels: int = eqx.field(static=True)

    def __call__(self, z: Float[Array, " state"]) -> Float[Array, "state channel"]:
        return jnp.reshape(self.net(z), (-1, self.channels))


def neural_cde(
    states: Any, control: Any, *, width: int = 128, depth: int = 1, key: PRNGKeyArray
) -> System:
    """The system ``D(z) = F(z) @ D(X)``: the control X moves the state along a network's matrix.

    ``dz = F(z; theta) dX``, with a final tanh that bounds the entries of F

    Arguments
      states: one unknown or several, numbers and vectors.
      control: a vector from `sciml.control`; for series whose times matter, time is a channel of
        it: without, the solution does not depend on how the path is parametrised.
      width, depth: of the hidden layers.
      key: for the initial weights.

    Raises `DeclarationError` for a control that is none.

    >>> import jax, sciml as sm
    >>> z, X = sm.unknown("z", shape=4), sm.control("X", channels=3)
    >>> print(sm.nn.neural_cde(z, X, width=8, key=jax.random.key(0)).equations[0])
    D(z) = F(z) @ D(X)

    Source: Kidger, Morrill, Foster, Lyons, Neural controlled differential equations for irregular
    time series (2020), equation 4.
    """
    symbols, channels = as_states(states), _channels(control)
    size = size_of(symbols)
    net = eqx.nn.MLP(size, size * channels, width, depth, jax.nn.relu, jnp.tanh, key=key)
    rate = matmul(neural("F", _Matrix(net, channels))(joined(symbols)), D(control))
    equations = [Eq(D(z), part) for z, part in zip(symbols, parts(rate, symbols), strict=True)]
    return System(*equations, name="neural CDE")


def _channels(control: Any) -> int:
    if not isinstance(control, Control) or len(control.shape) != 1 or control.args != (t,):
        raise DeclarationError(
            f"{control} is no control of several channels: declare it, "
            'X = sm.control("X", channels=3)'
        )
    return int(np.prod(control.shape))


class NeuralCDE(eqx.Module):
    """A neural controlled equation with an affine map in and one out: a series in, numbers out.

    ``z(t0) = a(X(t0)); dz = F(z; theta) dX; output = b(z)``

    Fields: `model`, the compiled system; `encoder` and `readout`, the maps a and b. The arguments
    are those of `neural_cde`; `outputs` is the number of outputs. Along a long series it is solved
    in few steps as a neural rough equation, with a path from `sciml.log_path`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> z, X = sm.unknown("z", shape=4), sm.control("X", channels=2)
    >>> module = sm.nn.NeuralCDE(z, X, outputs=3, width=8, key=jax.random.key(0))
    >>> times = jnp.linspace(0, 1, 6)
    >>> module(sm.path(times, jnp.stack([times, times**2], axis=1))).shape
    (3,)

    Source: Kidger et al. (2020), equations 4 and 5.
    """

    model: Model
    encoder: eqx.nn.MLP
    readout: eqx.nn.Linear
    control: str = eqx.field(static=True)

    def __init__(
        self,
        states: Any,
        control: Any,
        *,
        outputs: int,
        width: int = 128,
        depth: int = 1,
        key: PRNGKeyArray,
    ) -> None:
        first, second, third = jax.random.split(key, 3)
        system = neural_cde(states, control, width=width, depth=depth, key=first)
        size, channels = size_of(as_states(states)), _channels(control)
        self.model = compile(system)
        self.encoder = eqx.nn.MLP(channels, size, width, depth, key=second)
        self.readout = eqx.nn.Linear(size, outputs, key=third)
        self.control = name_of(control)

    def __call__(self, series: Path, *, stepping: Stepping = _STEPPING) -> Float[Array, " output"]:
        """The outputs at the end of a path, which `sciml.path` makes of times and values."""
        sol = self.solve(series, saveat=jnp.stack([series.t1]), stepping=stepping)
        return self.readout(sol.ys[-1])

    def along(
        self, series: Path, times: Float[Array, " time"], *, stepping: Stepping = _STEPPING
    ) -> Float[Array, "time output"]:
        """The outputs at several times of a path."""
        return jax.vmap(self.readout)(self.solve(series, saveat=times, stepping=stepping).ys)

    def solve(
        self, series: Path, *, saveat: Any = None, stepping: Stepping = _STEPPING
    ) -> Solution:
        """A `Solution` over the whole path, indexed by the states and the control."""
        dtype = self.model.dtype
        driven = with_controls(self.model, {self.control: series})
        t0, t1 = jnp.asarray(series.t0, dtype), jnp.asarray(series.t1, dtype)
        state = self.encoder(series(t0)[0])
        return solve(
            starting(driven, state),
            (t0, t1),
            saveat=saveat,
            solver=stepping.solver,
            rtol=stepping.rtol,
            atol=stepping.atol,
            stepsize_controller=stepping.stepsize_controller,
            dt0=stepping.dt0,
            adjoint=stepping.adjoint,
            max_steps=stepping.max_steps,
        )

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
