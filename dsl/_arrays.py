"""Whole-array operations as the user calls them, and numbers and arrays as expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import sympy
from jax.core import Tracer

from ._errors import DeclarationError, ShapeError
from ._nodes import (
    Concatenate,
    ConstantArray,
    Index,
    Matmul,
    Roll,
    Stack,
    Static,
    Sum,
    key_text,
    shape_of,
)


def constant(array: Any, name: str = "") -> ConstantArray:
    """A fixed array of numbers, to be used inside equations.

    >>> import sciml as sm
    >>> sm.constant([[0, 1], [-1, 0]], "J") @ sm.unknown("x", shape=2)
    J @ x
    """
    return ConstantArray(array, name)


def as_expression(value: Any) -> sympy.Expr:
    """A number, array or expression as an expression."""
    if isinstance(value, str):
        raise DeclarationError(
            f"{value!r} is text: write the expression with symbols, not in quotation marks"
        )
    if isinstance(value, (list, tuple)) and _holds_expressions(value):
        raise DeclarationError(
            f"{value!r} is a list of expressions: join them with sm.stack([...])"
        )
    if isinstance(value, (np.ndarray, jax.Array)):
        return _numeric(value)
    if isinstance(value, (list, tuple)):
        return constant(value)
    expression = sympy.sympify(value)
    if not isinstance(expression, sympy.Expr):
        raise DeclarationError(f"{value!r} is not an expression of symbols and numbers")
    return expression


def _numeric(array: Any) -> sympy.Expr:
    """An array of numpy or jax as an expression."""
    if isinstance(array, Tracer):
        raise DeclarationError(
            "a value that jax is tracing cannot stand in an equation: put a parameter there, and "
            "give its value by model.replace(values={...})"
        )
    array = np.asarray(array)
    if array.dtype == object:
        raise DeclarationError(
            f"numpy made {array.size} expressions of an expression times an array: write the array "
            "as sm.constant(array), and it stays whole"
        )
    if not array.ndim:
        return sympy.sympify(array.item())
    if array.dtype.kind == "c":
        return constant(array.real) + sympy.I * constant(array.imag)
    return constant(array)


def _holds_expressions(items: Sequence[Any]) -> bool:
    return any(
        _holds_expressions(item)
        if isinstance(item, (list, tuple))
        else isinstance(item, sympy.Expr) and not item.is_number
        for item in items
    )


def index(array: Any, key: Any) -> sympy.Expr:
    """``array[key]`` for any expression with a shape: integers, slices, ``None``, ``...``.

    >>> import sciml as sm
    >>> x = sm.unknown("x", shape=3)
    >>> sm.index(2 * x, 0), x[1:]
    ((2*x)[0], x[1:])
    """
    expression = as_expression(array)
    if expression.is_Number:
        raise ShapeError(f"{expression} is a number: it has no elements")
    if not shape_of(expression) and getattr(expression, "single_output", False) and key == 0:
        return expression  # f(x)[0] of a network with one output is that output
    return Index(expression, Static(_freeze_key(expression, key)))


def matmul(left: Any, right: Any) -> sympy.Expr:
    """Matrix product of two expressions with shapes, as ``numpy.matmul``.

    >>> import sciml as sm
    >>> A, x = sm.parameter("A", shape=(2, 3)), sm.unknown("x", shape=3)
    >>> sm.matmul(A, x + 1)
    A @ (x + 1)
    """
    return Matmul(as_expression(left), as_expression(right))


def total(array: Any, *, axis: int | None = None) -> sympy.Expr:
    """Sum of an array expression over one `axis`, or over all of them.

    >>> import sciml as sm
    >>> sm.total(sm.unknown("x", shape=3) ** 2)
    total(x**2)
    """
    return Sum(as_expression(array), Static(axis))


def mean(array: Any, *, axis: int | None = None) -> sympy.Expr:
    """Mean of an array expression over one `axis`, or over all of them.

    >>> import sciml as sm
    >>> sm.mean(sm.unknown("x", shape=4))
    total(x)/4
    """
    expression = as_expression(array)
    shape = shape_of(expression)
    summed = total(expression, axis=axis)
    return summed / int(np.prod(shape if axis is None else shape[axis]))


def roll(array: Any, shift: int, *, axis: int = 0) -> sympy.Expr:
    """Periodic shift along an axis, as ``numpy.roll``: the neighbour on a ring.

    >>> import sciml as sm
    >>> sm.roll(sm.unknown("u", shape=8), 1)
    roll(u, 1)
    """
    return Roll(as_expression(array), Static(int(shift)), Static(int(axis)))


def stack(arrays: Sequence[Any]) -> sympy.Expr:
    """Expressions of equal shape along a new first axis.

    >>> import sciml as sm
    >>> x, y = sm.unknowns("x y")
    >>> sm.stack([x, -y]).shape
    (2,)
    """
    return Stack(*(as_expression(a) for a in arrays))


def concatenate(arrays: Sequence[Any]) -> sympy.Expr:
    """Array expressions one after the other along their first axis.

    >>> import sciml as sm
    >>> x = sm.unknown("x", shape=3)
    >>> sm.concatenate([x, x[:1]]).shape
    (4,)
    """
    return Concatenate(*(as_expression(a) for a in arrays))


def _freeze_key(operand: sympy.Expr, key: Any) -> tuple:
    items = key if isinstance(key, tuple) else (key,)
    frozen: list[Any] = []
    for item in items:
        if isinstance(item, slice):
            parts = (item.start, item.stop, item.step)
            if any(not (part is None or isinstance(part, (int, np.integer))) for part in parts):
                raise DeclarationError(_index_text(operand, key_text((("slice", *parts),))))
            frozen.append(("slice", *(None if part is None else int(part) for part in parts)))
        elif item is None or item is Ellipsis:
            frozen.append(item)
        elif isinstance(item, (int, np.integer, sympy.Integer)):
            frozen.append(int(item))
        else:
            raise DeclarationError(_index_text(operand, repr(item)))
    return tuple(frozen)


def _index_text(operand: sympy.Expr, key: str) -> str:
    return (
        f"{operand}[{key}]: an index is a whole number, a slice of them, None or ...; "
        "several elements that are no slice are taken with sm.stack"
    )
