"""Readout: a declared system between a series and numbers. Kidger et al. (2020), equations 4, 5.

``z(t0) = a(X(t0)); z' = ... of the system, driven by X; output = b(z(t1))``
"""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import DeclarationError, Model, System, compile, name_of, shape_of
from sciml.solvers import KnotSteps, Path, Solution, path, with_controls

from ._states import starting, unpadded
from ._stepping import Stepping

_STEPS = 50  # of a system with noise, over a series


class Readout(eqx.Module):
    """A system that a series drives, with a map into its initial state and one out of its last.

    ``z(t0) = a(X(t0)); output = b(z(t1))``, and in between what the system says

    The channels of its one control X are, by how many it was declared with, for a series of n
    channels: n, the values; n + 1, the time and the values; 2 n + 1, the time, the values, and for
    each how often it was measured until then, as a share of the times of the series.

    Fields: `model`, the compiled system; `encoder`, the map a into the initial values that the
    system does not give (None where it gives all); `readout`, the affine map b.

    Arguments
      system: with one control; ordinary, controlled or with noise.
      outputs: how many numbers are read out.
      read: expressions of what b takes; by default the whole state.
      interpolation: of the series, a kind of `sciml.path`.
      width, depth: of the hidden layers of the encoder.
      steps: how many constant steps a system with noise takes over a series.
      stepping: how one without noise is solved; by default in one step of the third order between
        any two times of a series, which is part of what is learned, and not of any accuracy.

    Raises `DeclarationError` for a system without control, or with several.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> z, X = sm.unknown("z", shape=4), sm.control("X", channels=2)
    >>> system = sm.nn.neural_cde(z, X, width=8, key=jax.random.key(0))
    >>> module = sm.nn.Readout(system, 3, key=jax.random.key(1))
    >>> module(jnp.array([0.0, 0.5, 1.0]), jnp.array([[1.0], [jnp.nan], [2.0]])).shape
    (3,)

    Source: Kidger, Morrill, Foster, Lyons, Neural controlled differential equations for irregular
    time series (2020), equations 4 and 5; their appendix A for the counts.
    """

    model: Model
    encoder: eqx.nn.MLP | None
    readout: eqx.nn.Linear
    control: str = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    missing: tuple[int, ...] = eqx.field(static=True)
    read: tuple = eqx.field(static=True)
    interpolation: str = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    stepping: Stepping | None = eqx.field(static=True)

    def __init__(
        self,
        system: System | Model,
        outputs: int,
        *,
        read: Any = None,
        interpolation: str = "hermite",
        width: int = 32,
        depth: int = 1,
        steps: int = _STEPS,
        stepping: Stepping | None = None,
        key: PRNGKeyArray,
    ) -> None:
        self.model = compile(system) if isinstance(system, System) else system
        control = only_control(self.model)
        self.control, self.channels = name_of(control), int(np.prod(control.shape))
        unknown = ~np.isfinite(np.asarray(self.model.initial))
        expressed = self.model.program.initial_expressions
        for piece in self.model.states:
            unknown[piece.slice] &= piece.name not in expressed
        self.missing = tuple(np.flatnonzero(unknown).tolist())
        first, second = jax.random.split(key)
        dtype, count = self.model.dtype, len(self.missing)
        self.encoder = None
        if count:
            self.encoder = eqx.nn.MLP(self.channels, count, width, depth, dtype=dtype, key=first)
        self.read = _expressions(read)
        size = sum(int(np.prod(shape_of(self.model.expression(e)))) for e in self.read)
        size = size if self.read else self.model.program.size
        self.readout = eqx.nn.Linear(size, outputs, dtype=dtype, key=second)
        self.interpolation, self.steps, self.stepping = interpolation, steps, stepping

    def __call__(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, " output"]:
        """The outputs at the end of a series.

        Missing values are NaN. A series may be filled up by repeating its last time, with rows
        without any value. A system with noise needs the key of its path. Where the solve fails, the
        outputs are not finite; `solve` says why.
        """
        sol = self.solve(times, values, key=key, throw=False)
        if not len(sol.ts):  # outside of jit, rows that were not reached are left away
            return jnp.full((self.readout.out_features,), jnp.nan, self.model.dtype)
        if not self.read:
            return self.readout(sol.ys[-1])
        seen = [jnp.ravel(sol[expression][-1]) for expression in self.read]
        return self.readout(jnp.concatenate(seen))

    def solve(
        self,
        times: Float[Array, " time"],
        values: Float[Array, "time channel"],
        *,
        key: PRNGKeyArray | None = None,
        saveat: Any = None,
        throw: bool = True,
    ) -> Solution:
        """A `Solution` over the time of a series, by default at its end."""
        dtype = self.model.dtype
        series, end = driving_path(
            jnp.asarray(times, dtype),
            jnp.asarray(values, dtype),
            self.channels,
            self.control,
            self.interpolation,
        )
        t0 = jnp.asarray(times[0], dtype)
        model = with_controls(self.model, {self.control: series})
        if self.encoder is not None:
            at = jnp.asarray(self.missing)
            model = starting(model, model.state().at[at].set(self.encoder(series(t0)[0])))
        stepping = self._stepping(series, (end - t0) / self.steps)
        noisy = model.program.noise is not None and stepping.adjoint is None
        return stepping.solve(
            model,
            (t0, end),
            saveat=end[None] if saveat is None else saveat,
            key=key,
            throw=throw,
            noise="stepwise" if noisy else "refinable",
        )

    def _stepping(self, series: Path, step: Float[Array, ""]) -> Stepping:
        """How a series is solved."""
        given = self.stepping
        if self.model.program.noise is not None:
            solver, adjoint = (given.solver, given.adjoint) if given else (None, None)
            return Stepping(solver=solver, adjoint=adjoint, dt0=step, max_steps=self.steps + 2)
        if given is not None:
            return given
        times = series.times
        return Stepping(
            solver=dfx.Bosh3(), stepsize_controller=KnotSteps(times), max_steps=len(times) + 1
        )

    @property
    def system(self) -> System:
        """The declared system."""
        return self.model.system


def only_control(model: Model) -> Any:
    """The control of a model that has one. Raises `DeclarationError` for another number."""
    controls = model.program.system.survey.controls
    if len(controls) != 1:
        names = ", ".join(map(name_of, controls)) or "none"
        raise DeclarationError(
            f"a series drives a system through its one control, and this one has {names}: declare "
            'one for all channels, X = sm.control("X", channels=3)'
        )
    return next(iter(controls))


def driving_path(
    times: Float[Array, " time"],
    values: Float[Array, "time channel"],
    channels: int,
    name: str,
    kind: str,
) -> tuple[Path, Float[Array, ""]]:
    """The path of a control through a series, and where the series ends.

    A channel without any value is 0. Raises `DeclarationError` where the control has a number of
    channels that is none of those of `Readout`.
    """
    count = values.shape[1]
    if channels not in (count, count + 1, 2 * count + 1):
        raise DeclarationError(
            f"the control {name} has {channels} channels for a series of {count}: declare it with "
            f"channels={count} for the values, {count + 1} with the time before them, or "
            f"{2 * count + 1} with counts of measurements behind them"
        )
    moments, last = unpadded(times)
    end = times[last]
    known = jnp.isfinite(values)
    empty = ~jnp.any(known, axis=0, keepdims=True)
    filled = jnp.where(empty, 0.0, values)
    parts = [filled]
    if channels > count:
        parts.insert(0, jnp.minimum(times, end)[:, None])
    if channels > count + 1:
        seen = jnp.cumsum(known.astype(times.dtype), axis=0)
        parts.append(seen / (last + 1).astype(times.dtype))
    return path(moments, jnp.concatenate(parts, axis=1), kind=kind, name=name), end


def _expressions(read: Any) -> tuple:
    if read is None:
        return ()
    return tuple(read) if isinstance(read, tuple | list) else (read,)
