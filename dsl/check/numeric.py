"""Given numbers: whether a value is one, of the right shape, finite and within bounds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import sympy
from jax.core import Tracer

from .._errors import Fault, ShapeError
from .._nodes import shape_of
from .describe import shown

Shape = tuple[int, ...]


def is_expression(value: Any) -> bool:
    """Whether a value is computed from other symbols."""
    return isinstance(value, sympy.Expr) and not value.is_number


def sound(value: Any, shape: Shape, bounds: tuple[float, float] | None) -> bool:
    """Whether nothing is wrong with a plain number; quick, as most values are plain numbers."""
    if shape or type(value) not in (int, float) or not math.isfinite(value):
        return False
    return bounds is None or bounds[0] <= value <= bounds[1]


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A value that is no number: what it is instead, why perhaps, and what to do."""

    received: str
    cause: str
    cure: str


def numbers(value: Any) -> np.ndarray | Misfit:
    """A value as an array of numbers, or else what it is instead."""
    if isinstance(value, sympy.Basic):
        return _number(value)
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return Misfit("rows of different lengths", "a row is incomplete", "give rows of one length")
    if array.dtype.kind == "O":
        return _listed(array)
    if array.dtype.kind == "c":
        return _complex(f"the complex number {value}" if not array.shape else "complex numbers")
    if array.dtype.kind in "USMmT":
        received = f"the text {value!r}" if isinstance(value, str) else f"text as '{array.flat[0]}'"
        return Misfit(received, "it was read from a file as text", "give a number, not in quotes")
    return np.asarray(value, float)


def _listed(array: np.ndarray) -> np.ndarray | Misfit:
    entries = [_number(entry) for entry in array.flat]
    wrong = next((entry for entry in entries if isinstance(entry, Misfit)), None)
    if wrong is not None:
        received = f"a list that holds {wrong.received}" if array.shape else wrong.received
        return dataclasses.replace(wrong, received=received)
    return np.reshape(np.array(entries, float), array.shape)


def _number(value: Any) -> np.ndarray | Misfit:
    if isinstance(value, sympy.Basic) and not getattr(value, "is_number", False):
        cure = "join numbers and expressions to an array by sm.stack([...])"
        return Misfit(f"the expression {shown(value)}", "expressions stand in a list", cure)
    try:
        return np.asarray(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, (sympy.Basic, complex)):
            return _complex(f"the complex number {shown(value)}")
    if value is None:
        return Misfit("None", "it is not known yet", "leave it out: sm.fit can estimate it")
    return Misfit(f"a {type(value).__name__}", "it is not a value", "give a number")


def _complex(received: str) -> Misfit:
    return Misfit(received, "it is the root of a negative number", "give a real number")


def number_fault(
    what: str,
    value: Any,
    shape: Shape,
    *,
    finite: bool,
    bounds: tuple[float, float] | None,
    where: dict[str, str],
) -> Fault | None:
    """The first thing that is wrong with the number or array `value`, called `what`."""
    if isinstance(value, Tracer):
        return shape_fault(what, value.shape, shape, where=where)
    array = numbers(value)
    if isinstance(array, Misfit):
        return Fault(
            f"{what} is not a number.",
            **where,
            expected=f"a number or an array of shape {shape}" if shape else "a real number",
            received=array.received,
            causes=[array.cause],
            cure=array.cure,
        )
    if fault := shape_fault(what, array.shape, shape, where=where):
        return fault
    bad = ~np.isfinite(array) if finite else np.isnan(array)
    if np.any(bad):
        known = "finite number" if finite else "number"
        act = "fill the gaps" if shape else f"give a {known}"
        return Fault(
            f"{what} is not {'finite' if finite else 'a number'}.",
            **where,
            expected=f"{known}s" if shape else f"a {known}",
            received=_first(array, bad),
            causes=["the data it was computed from have gaps", "it was divided by zero"],
            cure=f"{act}, or leave it out and let sm.fit estimate it",
        )
    return None if bounds is None else bounds_fault(what, array, bounds, where=where)


def shape_fault(what: str, received: Shape, shape: Shape, *, where: dict[str, str]) -> Fault | None:
    """The fault of a value whose shape does not broadcast to the declared one."""
    if _fits(received, shape):
        return None
    return Fault(
        f"{what} has the wrong shape.",
        **where,
        expected=f"shape {shape}, or one number for all elements" if shape else "one number",
        received=f"shape {received}",
        causes=["it belongs to another symbol", "the symbol was declared with another shape"],
        cure=f"declare it with shape={_short(received)}, or give a value of shape {shape}"
        if shape
        else f"declare it with shape={_short(received)}, or give one number",
    )


def expression_fault(
    what: str, value: sympy.Expr, shape: Shape, *, where: dict[str, str]
) -> Fault | None:
    """The fault of an expression whose shape does not broadcast to the declared one."""
    try:
        received = shape_of(value)
    except ShapeError as error:
        return Fault(
            f"{what} cannot be computed.",
            **where,
            received=str(error),
            cure="make the shapes in it agree",
        )
    return shape_fault(what, received, shape, where=where)


def bounds_fault(
    what: str, array: np.ndarray, bounds: tuple[float, float], *, where: dict[str, str]
) -> Fault | None:
    """The fault of a number outside its bounds."""
    lower, upper = bounds
    outside = (array < lower) | (array > upper)
    if not np.any(outside):
        return None
    return Fault(
        f"{what} is outside its bounds.",
        **where,
        expected=_range(lower, upper),
        received=_first(array, outside),
        causes=["it is given in another unit than the bounds"],
        cure="correct the value, or declare wider bounds",
    )


def _fits(received: Shape, shape: Shape) -> bool:
    try:
        return np.broadcast_shapes(received, shape) == shape
    except ValueError:
        return False


def _range(lower: float, upper: float) -> str:
    if np.isinf(lower):
        return f"at most {upper:g}"
    return f"at least {lower:g}" if np.isinf(upper) else f"from {lower:g} to {upper:g}"


def _short(shape: Shape) -> str:
    return str(shape[0] if len(shape) == 1 else shape)


def _first(array: np.ndarray, wrong: Any) -> str:
    """The first wrong element and its value."""
    if not array.shape:
        return f"{float(array):.6g}"
    places = np.argwhere(wrong)
    where = ", ".join(str(i) for i in places[0])
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{array[tuple(places[0])]:.6g} at [{where}]{more}"
