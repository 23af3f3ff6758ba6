"""States and inputs of modules that a series drives: what their files share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float
from sympy.core.function import AppliedUndef

from sciml.dsl import (
    Control,
    DataError,
    DeclarationError,
    Eq,
    Equation,
    Model,
    ShapeError,
    System,
    compile,
    concatenate,
    forcing,
    index,
    name_of,
    shape_of,
    stack,
    t,
)


class Held(eqx.Module):
    """An input that stays what it is: the one of a step."""

    value: Float[Array, " channel"]

    def __call__(self, time: Float[Array, ""]) -> Float[Array, " channel"]:
        return self.value


class Line(eqx.Module):
    """An input that is linear between the times at which it is known, and constant beyond."""

    times: Float[Array, " time"]
    values: Float[Array, "time channel"]

    def __call__(self, time: Float[Array, ""]) -> Float[Array, " channel"]:
        def one(column: Array) -> Array:
            return jnp.interp(time, self.times, column)

        return jax.vmap(one, in_axes=1)(self.values)


class Squashed(eqx.Module):
    """A perceptron whose outputs a curve bounds, also without hidden layers.

    There `equinox.nn.MLP` leaves its final activation out.
    """

    net: eqx.nn.MLP
    curve: Callable = eqx.field(static=True)

    def __init__(
        self, ins: int, outs: int, curve: Callable, *, width: int = 1, depth: int = 0, key: Array
    ) -> None:
        self.net = eqx.nn.MLP(ins, outs, width, depth, jnp.tanh, key=key)
        self.curve = curve

    def __call__(self, inputs: Float[Array, " in"]) -> Float[Array, " out"]:
        return self.curve(self.net(inputs))


def symbols(given: Any, what: str) -> tuple[Any, ...]:
    """Unknowns of time, given as one or several: scalars, and vectors.

    Raises `DeclarationError` for what is none, for one that is given twice, and for a matrix.
    """
    found: tuple[Any, ...] = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if len(found) == 0:
        raise DeclarationError(f"{what}: none is given; declare one, sm.unknown('x', shape=8)")
    for symbol in found:
        if not isinstance(symbol, AppliedUndef):
            raise DeclarationError(
                f"{what}: {symbol!r} is no unknown; declare it, sm.unknown('x', shape=8)"
            )
        if len(shape_of(symbol)) > 1:
            raise DeclarationError(
                f"{what}: {symbol} has shape {shape_of(symbol)}; scalars and vectors are taken"
            )
    names = [name_of(symbol) for symbol in found]
    if len(set(names)) < len(names):
        raise DeclarationError(f"{what}: the names {', '.join(names)} must differ")
    return found


def single(given: Any, what: str) -> Any:
    """One scalar unknown of time.

    Raises `DeclarationError` for what is none.
    """
    first, *others = symbols(given, what)
    if others or shape_of(first):
        raise DeclarationError(f"{what}: {given} is no scalar; declare one, sm.unknown('u')")
    return first


def size(parts: Sequence[Any]) -> int:
    """How many numbers several symbols hold together."""
    return sum(int(np.prod(shape_of(part))) for part in parts)


def together(parts: Sequence[Any]) -> sympy.Expr:
    """Several symbols as one vector."""
    if len(parts) == 1 and shape_of(parts[0]):
        return parts[0]
    return concatenate([part if shape_of(part) else stack([part]) for part in parts])


def apart(parts: Sequence[Any], vector: sympy.Expr) -> list[sympy.Expr]:
    """The piece of a vector that belongs to each symbol."""
    if len(parts) == 1 and shape_of(parts[0]) == shape_of(vector):
        return [vector]
    pieces, place = [], 0
    for part in parts:
        count = size([part])
        whole = bool(shape_of(part)) and bool(shape_of(vector))
        pieces.append(index(vector, slice(place, place + count) if whole else place))
        place += count
    return pieces


def equations(lefts: Sequence[Any], parts: Sequence[Any], vector: sympy.Expr) -> list[Equation]:
    """One equation for each symbol: its left side equals its piece of the vector."""
    return [Eq(left, right) for left, right in zip(lefts, apart(parts, vector), strict=True)]


def relaxation(
    unknowns: Sequence[Any], decay: sympy.Expr, production: sympy.Expr, *, label: str
) -> System:
    """Declares ``x' = production - decay * x`` from 0 on, both observed by name, for `relaxed`."""
    rate = production - decay * together(unknowns)
    return System(
        *equations([sympy.Derivative(u, t) for u in unknowns], unknowns, rate),
        initial=dict.fromkeys(unknowns, 0.0),
        observed={f"{label}_decay": decay, f"{label}_production": production},
    )


def relaxed(
    model: Model,
    unknowns: Sequence[Any],
    y: Float[Array, " state"],
    dt: Float[Array, ""],
    *,
    label: str,
    implicit: bool,
) -> Float[Array, " state"]:
    """The state after a step of the length dt over which decay and production are held.

    ``(x + dt production) / (1 + dt decay)`` if `implicit`, ``x + dt x'`` if not.
    """
    where = places(model, unknowns)
    seen = model.observed(jnp.zeros((), y.dtype), y)
    decay, production = seen[f"{label}_decay"], seen[f"{label}_production"]
    if implicit:
        after = (y[where] + dt * production) / (1 + dt * decay)
    else:
        after = (1 - dt * decay) * y[where] + dt * production
    return y.at[where].set(after)


def places(model: Model, unknowns: Sequence[Any]) -> np.ndarray:
    """Where the elements of several unknowns lie in the state."""
    pieces = {
        piece.name: np.arange(piece.offset, piece.offset + piece.size) for piece in model.states
    }
    return np.concatenate([pieces[name_of(u)] for u in unknowns])


_SERIES = "series"


def driven(system: System, inputs: Sequence[Any]) -> Model:
    """The compiled model of a system whose inputs a series sets.

    Raises `DeclarationError` for a control, whose path is given to `solve`.
    """
    for symbol in inputs:
        if isinstance(symbol, Control):
            raise DeclarationError(
                f"inputs: {symbol} is a control, and a module sets its inputs itself, from the "
                f"series: declare it as an unknown, sm.unknown('{symbol}'), or solve the system"
            )
    series = forcing(_SERIES, Held(jnp.zeros(size(inputs))))(t)
    return compile(system + System(*equations(inputs, inputs, series)))


def held(model: Model, value: Float[Array, " channel"]) -> Model:
    """The model with one value of its inputs."""
    return model.replace(networks={_SERIES: Held(value)})


def interpolated(
    model: Model, times: Float[Array, " time"], series: Float[Array, "time channel"]
) -> Model:
    """The model with its inputs linear between the times of a series."""
    return model.replace(networks={_SERIES: Line(times, series)})


def check_series(series: Array, inputs: Sequence[Any], times: Array | None = None) -> None:
    """Raises `ShapeError` for a series that does not fit the inputs, or the times.

    And `DataError` for one of no time at all.
    """
    count, named = size(inputs), ", ".join(map(str, inputs))
    if series.ndim != 2 or series.shape[1] != count:
        raise ShapeError(
            f"the series of {named} has the shape (time, {count}), not {series.shape}; several "
            "series go through jax.vmap"
        )
    if series.shape[0] < (1 if times is None else 2):
        raise DataError(f"the series of {named} is too short: it has {series.shape[0]} times")
    if times is not None and times.shape != series.shape[:1]:
        raise ShapeError(
            f"there are times of shape {times.shape} for a series of {named} with "
            f"{series.shape[0]} rows"
        )


def march(
    step: Callable[[Array, Array, Array], Array], y: Array, dts: Array, series: Array
) -> Float[Array, "time state"]:
    """States after each of several steps ``y = step(y, dt, input)``."""

    def one(y: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        after = step(y, *given)
        return after, after

    return jax.lax.scan(one, y, (dts, series))[1]
