"""Stable neural SDEs: Langevin, linear noise and geometric. Oh, Lim and Kim (2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import sympy
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import (
    D,
    DeclarationError,
    Eq,
    Model,
    System,
    brownian,
    change_variables,
    compile,
    name_of,
    neural,
    t,
    unknown,
)
from sciml.solvers import Path, Solution

from ._neural_sde import as_noise, path_through
from ._states import as_states, size_of

KINDS = ("langevin", "linear noise", "geometric")


def stable_sde(
    state: Any,
    kind: str,
    *,
    control: Any = None,
    noise: Any = None,
    drift: Callable | None = None,
    diffusion: Callable | None = None,
    width: int = 64,
    depth: int = 2,
    key: PRNGKeyArray,
) -> System:
    """A neural SDE whose form keeps it stable, driven by data where there is a control.

    ``dz = c(z, X) dt + s(t) dW`` ("langevin"), ``dz = c(t, z, X) dt + s(t) z dW`` ("linear noise"),
    ``dz / z = c(t, z, X) dt + s(t) dW`` ("geometric": solved in its logarithm, always positive)

    Arguments
      state: one unknown, a number or a vector.
      kind: of the form, as above.
      control: from `sciml.control`, whose value the drift also takes.
      noise: the Brownian motion, as in `neural_sde`.
      drift, diffusion: callables in place of the networks c and s, of the same arguments, each in
        one vector.
      width, depth: of the hidden layers.
      key: for the initial weights.

    Raises `DeclarationError` for another kind, or several states.

    >>> import jax, sciml as sm
    >>> z = sm.unknown("z", shape=2)
    >>> print(sm.nn.stable_sde(z, "linear noise", width=8, key=jax.random.key(0)).equations[0])
    D(z) = z*D(W)*spread(t) + drift(t, z)

    Source: Oh, Lim, Kim, Stable neural stochastic differential equations in analyzing irregular
    time series data (2024), equations 4 to 6.
    """
    if kind not in KINDS:
        raise DeclarationError(f"kind is one of {', '.join(map(repr, KINDS))}, not {kind!r}")
    (z,) = _single(state)
    size = size_of([z])
    driver = _noise_of(z, noise, size)
    given = [z] if kind == "langevin" else [t, z]
    given += [] if control is None else [control]
    total = size + (kind != "langevin") + (0 if control is None else size_of([control]))
    first, second = jax.random.split(key)
    out = size if z.shape else "scalar"
    inner = eqx.nn.MLP(total, out, width, depth, jax.nn.silu, jnp.tanh, key=first)
    c = neural("drift", inner if drift is None else drift)
    spread = eqx.nn.MLP("scalar", out, width, 1, jax.nn.silu, jax.nn.sigmoid, key=second)
    s = neural("spread", spread if diffusion is None else diffusion)
    shock = s(t) * D(driver)
    if kind == "langevin":
        return System(Eq(D(z), c(*given) + shock), name="Langevin SDE")
    if kind == "linear noise":
        return System(Eq(D(z), c(*given) + z * shock), name="linear-noise SDE")
    plain = System(Eq(D(z), z * c(*given) + z * shock), name="geometric SDE")
    return change_variables(plain, {z: sympy.exp(logarithm_of(z))})


def _noise_of(z: Any, noise: Any, size: int) -> Any:
    """A Brownian motion of the shape of the state."""
    if noise is None:
        return brownian("W", shape=z.shape)
    if noise.shape != z.shape:
        raise DeclarationError(f"{noise} has shape {noise.shape}, and {z} has {z.shape}")
    return as_noise(noise, size)


def logarithm_of(z: Any) -> Any:
    """The unknown in which a geometric equation is solved."""
    return unknown(f"log_{name_of(z)}", shape=z.shape)


def _single(state: Any) -> tuple[Any, ...]:
    symbols = as_states(state)
    if len(symbols) != 1:
        raise DeclarationError("a stable SDE has one state: declare it as a vector, shape=2")
    return symbols


class StableSDE(eqx.Module):
    """A stable neural SDE as a module: key, times and initial state in, one path out.

    Fields: `model`, the compiled system; `state`, the name of the state; `is_geometric`. The
    arguments are those of `stable_sde`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> z = sm.unknown("z", shape=2)
    >>> module = sm.nn.StableSDE(z, "geometric", width=8, key=jax.random.key(0))
    >>> times = jnp.linspace(0, 1, 5)
    >>> bool(jnp.all(module(times, jnp.ones(2), dt0=0.1, key=jax.random.key(1)) > 0))
    True

    Source: Oh et al. (2024).
    """

    model: Model
    state: str = eqx.field(static=True)
    control: str | None = eqx.field(static=True)
    is_geometric: bool = eqx.field(static=True)

    def __init__(
        self,
        state: Any,
        kind: str,
        *,
        control: Any = None,
        noise: Any = None,
        drift: Callable | None = None,
        diffusion: Callable | None = None,
        width: int = 64,
        depth: int = 2,
        key: PRNGKeyArray,
    ) -> None:
        system = stable_sde(
            state,
            kind,
            control=control,
            noise=noise,
            drift=drift,
            diffusion=diffusion,
            width=width,
            depth=depth,
            key=key,
        )
        self.model = compile(system)
        self.state = name_of(_single(state)[0])
        self.control = None if control is None else name_of(control)
        self.is_geometric = kind == "geometric"

    def __call__(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        dt0: Any,
        key: PRNGKeyArray,
        series: Path | None = None,
        solver: Any = None,
    ) -> Float[Array, "time state"]:
        """One path at `times`, from the state at the first of them, in steps `dt0`."""
        sol = self.solve(times, initial, dt0=dt0, key=key, series=series, solver=solver)
        values = sol[self.state]
        return values.reshape(values.shape[0], -1)

    def solve(
        self,
        times: Float[Array, " time"],
        initial: Float[Array, " state"],
        *,
        dt0: Any,
        key: PRNGKeyArray,
        series: Path | None = None,
        solver: Any = None,
    ) -> Solution:
        """A `Solution` at `times`, indexed by the state and the control."""
        start = jnp.log(initial) if self.is_geometric else initial
        controls = {} if self.control is None else {self.control: series}
        return path_through(
            self.model, times, start, dt0=dt0, key=key, solver=solver, controls=controls
        )

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system
