"""Paths of controls: data at times, joined to a path that can be evaluated and differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from sciml.dsl import DataError, DeclarationError, Model, name_of

from ._knots import KnotSteps
from ._results import is_traced

KINDS = ("hermite", "linear", "rectilinear", "cubic")


class Path(eqx.Module):
    """A path through data, made by `path`; value and rate at one time, stacked."""

    curve: dfx.AbstractPath
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, time: Float[Array, ""]) -> Float[Array, "2 *shape"]:
        """Value and rate at one time."""
        value, rate = self.curve.evaluate(time), self.curve.derivative(time)
        return jnp.stack([value, rate])

    @property
    def t0(self) -> Any:
        """Where the path begins."""
        return self.curve.t0

    @property
    def t1(self) -> Any:
        """Where it ends."""
        return self.curve.t1

    @property
    def times(self) -> Float[Array, " time"]:
        """The times between which it is one polynomial: those of the data."""
        curve: Any = self.curve
        return curve.ts

    @property
    def knots(self) -> Float[Array, " knot"] | None:
        """The times at which its rate jumps, both ends included; None if it is smooth."""
        return self.curve.ts if isinstance(self.curve, dfx.LinearInterpolation) else None

    def steps(self, controller: Any = None) -> dfx.AbstractStepSizeController:
        """A `stepsize_controller` whose steps end at the knots, and begin again behind them.

        Arguments
          controller: an adaptive one of Diffrax, whose steps are cut at the knots; without it there
            is one step for each stretch between two knots, of any solver.

        Raises `DeclarationError` for a smooth path, which has none.

        >>> import sciml as sm
        >>> x, X = sm.unknown("x"), sm.control("X")
        >>> line = sm.path([0, 1, 3], [0, 1, 0], kind="linear")
        >>> system = sm.System(sm.Eq(sm.D(x), x * sm.D(X)), initial={x: 1})
        >>> sol = sm.solve(system, (0, 3), controls={X: line}, stepsize_controller=line.steps())
        >>> int(sol.stats["num_steps"])
        2
        """
        if self.knots is None:
            raise DeclarationError(
                "the rate of this path does not jump, so that it has no knots to step to: leave "
                "stepsize_controller away"
            )
        if controller is None:
            return KnotSteps(self.knots)
        return dfx.ClipStepSizeController(controller, jump_ts=self.knots)


def path(times: Any, values: Any, *, kind: str = "hermite", name: str = "the path") -> Path:
    """A path through irregular, partially observed data.

    Missing entries are NaN; each channel is joined through what there is of it, and is constant
    before the first and behind the last of them.

    Arguments
      times: shape (n,), increasing.
      values: shape (n, ...).
      kind: "hermite" (cubic with backward differences, nothing of the future; Morrill et al. 2021),
        "linear", "rectilinear" (time, the first channel, moves, then the others: nothing of the
        future either), or "cubic" (natural spline, of concrete data). The rate of a linear path
        jumps at the knots: `Path.steps` is a controller that steps to them.
      name: for messages.

    Raises `DataError` for times that do not increase, and for a channel without any value.

    >>> import sciml as sm
    >>> sm.path([0.0, 1.0, 3.0], [0.0, 1.0, 0.0], kind="linear")(0.5).tolist()
    [0.5, 1.0]
    """
    if kind not in KINDS:
        raise DeclarationError(f"kind is one of {', '.join(map(repr, KINDS))}, not {kind!r}")
    if not is_traced(times, values):
        times, values = _checked(times, values, name)
    ts, xs = jnp.asarray(times), jnp.asarray(values)
    shape = xs.shape[1:]
    first = jnp.argmax(jnp.isfinite(xs), axis=0, keepdims=True)
    ends = {
        "fill_forward_nans_at_end": True,  # constant before the first known value and behind the
        "replace_nans_at_start": jnp.take_along_axis(xs, first, axis=0)[0],  # last, in each channel
    }
    if kind == "hermite":
        # Diffrax has no number for a channel that is known at the first time alone
        alone = ~jnp.any(jnp.isfinite(xs[1:]), axis=0)
        xs = xs.at[1].set(jnp.where(alone, xs[0], xs[1]))
        curve: Any = dfx.CubicInterpolation(ts, dfx.backward_hermite_coefficients(ts, xs, **ends))
    elif kind == "linear":
        curve = dfx.LinearInterpolation(ts, dfx.linear_interpolation(ts, xs, **ends))
    elif kind == "rectilinear":
        if xs.ndim != 2 or xs.shape[1] < 2:
            raise DataError(f'{name}: kind="rectilinear" wants time and one more channel')
        curve = dfx.LinearInterpolation(*_rectilinear(ts, xs))
    else:
        if is_traced(times, values):
            raise DeclarationError('kind="cubic" needs concrete data: make the path outside of jit')
        curve = dfx.CubicInterpolation(ts, _natural(np.asarray(times), np.asarray(values)))
    return Path(curve, shape)


def _checked(times: Any, values: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    times, values = np.asarray(times, float), np.asarray(values, float)
    if times.ndim != 1 or len(times) < 2 or values.shape[:1] != times.shape:
        raise DataError(
            f"{name} needs times of shape (n,) and values of shape (n, ...) with n >= 2, not "
            f"{times.shape} and {values.shape}"
        )
    wrong = np.flatnonzero(~(np.diff(times) > 0))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"{name}: the times must increase, and {times[i]:g} is followed by {times[i + 1]:g}: "
            "sort the rows, and join those of equal times"
        )
    empty = ~np.any(np.isfinite(values), axis=0)
    if np.any(empty):
        where = ", ".join(map(str, np.argwhere(np.atleast_1d(empty))[:, 0]))
        raise DataError(
            f"{name}: all values are missing in channel {where}: leave the channel away, or the "
            "series out"
        )
    return times, values


def _rectilinear(ts: Array, xs: Array) -> tuple[Array, Array]:
    """Time (the first channel) moves, then the others do: nothing of the future is used."""
    moved, filled = dfx.rectilinear_interpolation(xs[:, 0], xs[:, 1:])
    places = jnp.linspace(ts[0], ts[-1], len(moved), dtype=ts.dtype)
    return places, jnp.concatenate([moved[:, None], filled], axis=1)


def _natural(times: np.ndarray, values: np.ndarray) -> tuple[Array, Array, Array, Array]:
    """Coefficients (d, c, b, a) of natural cubic splines through the known values."""
    flat = values.reshape(len(times), -1)
    pieces = np.zeros((4, len(times) - 1, flat.shape[1]))
    for channel, column in enumerate(flat.T):
        known = np.isfinite(column)
        if np.sum(known) == 1:
            pieces[3, :, channel] = column[known][0]
            continue
        spline = CubicSpline(times[known], column[known], bc_type="natural")
        start = np.clip(times[:-1], times[known][0], times[known][-1])
        inside = (times[:-1] >= times[known][0]) & (times[1:] <= times[known][-1])
        for order, factor in enumerate((1, 1, 2, 6)):
            keep = inside if order else np.ones_like(inside)
            pieces[3 - order, :, channel] = np.where(keep, spline(start, order) / factor, 0.0)
    shaped = pieces.reshape(4, len(times) - 1, *values.shape[1:])
    cubic, square, slope, value = map(jnp.asarray, shaped)
    return cubic, square, slope, value


def with_controls(model: Model, controls: Mapping[Any, Any] | None) -> Model:
    """The model with the paths of its controls.

    Raises `DeclarationError` for a control without path, or of another shape.
    """
    wanted = model.program.paths
    given = {name_of(key): value for key, value in (controls or {}).items()}
    for name in given.keys() - wanted.keys():
        known = ", ".join(wanted) or "none"
        raise DeclarationError(f"{name} is no control of this system; it has {known}")
    networks = dict(model.networks)
    shapes = {name_of(x): x.shape for x in model.program.system.survey.controls}
    for name in wanted:
        if name in given:
            value = given[name]
            made = value if isinstance(value, Path) else path(*_pair(name, value), name=name)
            if made.shape != shapes[name]:
                raise DeclarationError(
                    f"{name} was declared with shape {shapes[name]}, and its path has values of "
                    f"shape {made.shape}: declare it as {_declaration(name, made.shape)}"
                )
            networks[name] = made
        elif not isinstance(networks[name], Path):
            raise DeclarationError(
                f"the control {name} has no path: give controls={{{name}: (times, values)}}, or "
                f"sm.path(times, values)"
            )
    return Model(model.parameters, model.initial, networks, model.program) if wanted else model


def _declaration(name: str, shape: tuple[int, ...]) -> str:
    what = f"channels={shape[0]}" if len(shape) == 1 else f"shape={shape}"
    return f'sm.control("{name}", {what})' if shape else f'sm.control("{name}")'


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    raise DeclarationError(
        f"controls: {name} is a pair (times, values) or a sm.path, not {value!r}"
    )
