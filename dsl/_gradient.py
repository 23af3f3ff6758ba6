"""The gradient of an expression by a symbol, as an expression: reverse accumulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from ._arrays import as_expression, index, matmul, roll, total
from ._derivative import NeuralDerivative, derivative_of
from ._errors import DeclarationError, ShapeError
from ._neural import NeuralCall
from ._nodes import (
    ArrayNode,
    Concatenate,
    ConstantArray,
    Index,
    Matmul,
    Roll,
    Scatter,
    Shape,
    Stack,
    Static,
    Sum,
    shape_of,
)

Pull = Iterator[tuple[Any, Any]]  # operands, each with its share of the adjoint


def gradient(expression: Any, symbol: Any) -> sympy.Expr:
    """The derivative of a scalar expression by a symbol, of the symbol's shape.

    Other symbols are held fixed, so ``gradient(L, D(q))`` is the momentum of a Lagrangian. It goes
    through sums, products, elementary functions, array operations and networks.

    Arguments: a scalar `expression`; `symbol`, an unknown, a rate ``D(q)`` or a parameter.

    Raises `ShapeError` for an expression with a shape, and `DeclarationError` where `symbol` is
    none, or an operation has no derivative here.

    >>> import sciml as sm
    >>> q = sm.unknown("q", shape=3)
    >>> sm.gradient(sm.total(q**2) / 2 + q[0], q)
    q + scatter(1, 0, (3,))
    """
    expression, symbol = as_expression(expression), as_expression(symbol)
    if not isinstance(symbol, (sympy.Symbol, AppliedUndef, sympy.Derivative)):
        raise DeclarationError(
            f"gradient: {symbol} is no symbol; give an unknown, D(q) or a parameter"
        )
    if shape_of(expression):
        raise ShapeError(
            f"gradient: {expression} has shape {shape_of(expression)}, and a gradient is of a "
            "scalar: sum it by sm.total"
        )
    below = _below(expression, symbol)
    shares: dict[Any, list[Any]] = {expression: [sympy.S.One]}
    for item in reversed(below):
        if item == symbol or item not in shares:
            continue
        adjoint = sympy.Add(*shares.pop(item))
        for operand, share in _pulled(item, adjoint, below):
            if share != 0:
                shares.setdefault(operand, []).append(share)
    return _whole(sympy.Add(*shares.get(symbol, [])), shape_of(symbol))


def _below(expression: Any, symbol: Any) -> dict[Any, None]:
    """Expressions that depend on the symbol, operands first."""
    order: dict[Any, bool] = {}

    def visit(e: Any) -> bool:
        if e not in order:
            leaf = isinstance(e, (AppliedUndef, sympy.Derivative)) or not e.args
            found = [visit(a) for a in ([] if leaf else e.args)]
            order[e] = e == symbol or any(found)
        return order[e]

    visit(expression)
    return {e: None for e, depends in order.items() if depends}


def _pulled(e: Any, g: Any, below: Any) -> Pull:
    """What each operand in `below` gets of the adjoint `g` of an expression.

    An adjoint may have fewer axes than its expression: it then is the same at every element.
    """
    if isinstance(e, ArrayNode):
        yield from _pulled_array(e, g, below)
        return
    for position, operand in enumerate(e.args):
        if isinstance(operand, sympy.Expr) and operand in below:
            yield operand, _reduced(g * _slope(e, position), shape_of(e), shape_of(operand))
        elif not isinstance(operand, sympy.Expr):  # a branch of Piecewise
            value, condition = operand.args
            if value in below:
                taken = [(sympy.S.Zero, c) for _, c in e.args[:position]]
                share = sympy.Piecewise(*taken, (g, condition), (sympy.S.Zero, True))
                yield value, _reduced(share, shape_of(e), shape_of(value))


def _slope(e: Any, position: int) -> Any:
    """The partial derivative of an elementwise operation by one of its operands."""
    if e.is_Add:
        return sympy.S.One
    if e.is_Mul:
        return e.func(*(a for i, a in enumerate(e.args) if i != position))
    if e.is_Pow and position == 0:
        return e.exp * e.base ** (e.exp - 1)
    stands = [sympy.Dummy(real=True) for _ in e.args]
    slope = e.func(*stands).diff(stands[position])
    slope = slope.replace(sympy.DiracDelta, lambda *_: sympy.S.Zero)  # of jumps, as jax has it
    return slope.xreplace(dict(zip(stands, e.args, strict=True)))


def _pulled_array(e: Any, g: Any, below: Any) -> Pull:
    if isinstance(e, (NeuralCall, NeuralDerivative)):
        yield from _pulled_network(e, g, below)
        return
    if not isinstance(e, (Index, Matmul, Sum, Roll, Stack, Concatenate)):
        raise DeclarationError(f"gradient: the derivative of {e} by its operands is not known here")
    for position, operand in enumerate(e.operands):
        if operand in below:
            yield operand, _share(e, position, operand, g)


def _share(e: Any, position: int, operand: Any, g: Any) -> Any:
    """The adjoint of one operand of an array operation that is linear in it."""
    shape = shape_of(operand)
    if isinstance(e, Index):
        return Scatter(_whole(g, e.shape), Static(e.settings[0]), Static(shape))
    if isinstance(e, Matmul):
        return _of_product(e, position, _whole(g, e.shape))
    if isinstance(e, Sum):
        (axis,) = e.settings
        if axis is None or not shape_of(g):
            return g
        key = [slice(None)] * len(e.shape)
        key.insert(axis % len(shape), None)  # type: ignore[arg-type]
        return _whole(index(_whole(g, e.shape), tuple(key)), shape)
    if isinstance(e, Roll):
        shift, axis = e.settings
        return roll(_whole(g, shape), -shift, axis=axis) if shape_of(g) else g
    if isinstance(e, Stack):
        return _reduced(index(_whole(g, e.shape), position), e.shape[1:], shape)
    start = sum(shape_of(a)[0] for a in e.operands[:position])
    return index(_whole(g, e.shape), slice(start, start + shape[0]))


def _of_product(e: Any, position: int, g: Any) -> Any:
    left, right = e.operands
    ranks = len(shape_of(left)), len(shape_of(right))
    if ranks == (1, 1):
        return g * (right, left)[position]
    if ranks == (2, 1):
        return _outer(g, right) if position == 0 else matmul(g, left)
    if ranks == (1, 2):
        return matmul(right, g) if position == 0 else _outer(left, g)
    raise DeclarationError(
        f"gradient: {e} is a product of arrays with {ranks[0]} and {ranks[1]} axes, whose "
        "derivative is not known here; write it with vectors"
    )


def _outer(one: Any, other: Any) -> Any:
    return index(one, (slice(None), None)) * index(other, (None, slice(None)))


def _pulled_network(e: Any, g: Any, below: Any) -> Pull:
    call, which = (e, ()) if isinstance(e, NeuralCall) else (e.call, e.which)
    for position, operand in enumerate(call.operands):
        if operand not in below:
            continue
        slope = derivative_of(call, *which, position)
        if call.network.pointwise:
            yield operand, _reduced(g * slope, e.shape, shape_of(operand))
        elif len(e.shape) == 1 and len(slope.shape) <= 2:
            yield operand, matmul(_whole(g, e.shape), slope)
        else:
            key = (Ellipsis, *[None] * len(shape_of(operand)))
            share = index(_whole(g, e.shape), key) * slope if e.shape else g * slope
            for _ in e.shape:
                share = total(share, axis=0)
            yield operand, share


def _whole(e: Any, shape: Shape) -> Any:
    """The expression in full shape."""
    return e if shape_of(e) == shape else e + ConstantArray(np.zeros(shape))


def _reduced(g: Any, shape: Shape, wanted: Shape) -> Any:
    """An adjoint of the given shape, summed over the axes along which an operand was broadcast."""
    if shape == wanted:
        return g
    if not shape_of(g):
        return g * (int(np.prod(shape)) // max(int(np.prod(wanted)), 1))
    g = _whole(g, shape)
    if not wanted:
        return total(g)
    for _ in range(len(shape) - len(wanted)):
        g = total(g, axis=0)
    for axis, length in enumerate(wanted):
        if length == 1 and shape_of(g)[axis] != 1:
            key = (*[slice(None)] * axis, None)
            g = index(total(g, axis=axis), key)
    return g
