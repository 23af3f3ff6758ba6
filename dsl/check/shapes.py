"""Shapes: what an equation joins broadcasts, and comes to the shape of its unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import Fault, ShapeError
from .._nodes import Index, shape_of
from .._show import text
from .._system import System
from .describe import listed, place
from .match import Match

Shape = tuple[int, ...]


def shape_faults(system: System, match: Match) -> list[Fault]:
    """Faults of shapes; nothing is looked at in a system without arrays."""
    if not system.survey.has_arrays:
        return []
    defined = {i: unknown for unknown, i in match.definitions.items() if i is not None}
    by_element = {i for places in match.elements.values() for i in places}
    faults = [_by_element(system, top, places) for top, places in match.elements.items()]
    for i, equation in enumerate(system.equations):
        if i in by_element:
            continue
        things = [defined[i]] if i in defined else match.tops.get(i, [])
        if match.implicit.get(i) is not None:
            things = [match.implicit[i]]
        fault = _equation_fault(system, equation, things)
        if fault is not None:
            faults.append(fault)
    for key, definition in system.observed.items():
        fault = _side_fault(definition, place(system, ("observed", key)))
        if fault is None and isinstance(key, AppliedUndef):
            fault = _observed_fault(system, key, shape_of(definition))
        if fault is not None:
            faults.append(fault)
    return faults


def _equation_fault(system: System, equation: Equation, things: list[Any]) -> Fault | None:
    """`things` are the highest derivatives, or the unknown, that the equation is for."""
    where = place(system, equation)
    for side in (equation.lhs, equation.rhs):
        if fault := _side_fault(side, where):
            return fault
    left, right = shape_of(equation.lhs), shape_of(equation.rhs)
    wanted = [shape_of(thing) for thing in things]
    whole = _joined(left, right)
    if whole is not None and (not wanted or whole in wanted):
        return None
    if equation.lhs in things:
        return _misfit(equation.lhs, left, equation.rhs, right, where)
    if equation.rhs in things:
        return _misfit(equation.rhs, right, equation.lhs, left, where)
    if whole is None:
        return Fault(
            "The two sides of this equation have shapes that do not broadcast.",
            **where,
            expected=f"on the right shape {left}, as {text(equation.lhs)} on the left",
            received=f"shape {right}, of {text(equation.rhs)}",
            causes=["one of the symbols was declared with another shape"],
            cure="make the shapes agree; a scalar goes with every shape",
        )
    return Fault(
        f"This equation does not have the shape of {listed(things)}.",
        **where,
        expected=f"shape {wanted[0]}, one equation for each element of {listed(things)}",
        received=f"shape {whole}",
        causes=["a sum, an index or a product reduces the unknown"],
        cure=f"write one equation of shape {wanted[0]} for {listed(things)}",
    )


def _misfit(alone: Any, shape: Shape, other: sympy.Expr, received: Shape, where: dict) -> Fault:
    unknown = alone.expr if isinstance(alone, sympy.Derivative) else alone
    name, culprit = text(unknown), _widest(other, received)
    expected = "a scalar, as the unknown was declared without a shape"
    cure = f"declare {name} with shape={_short(received)}, or reduce the expression to a scalar: "
    cure += "an index, sm.total, sm.mean or @"
    if shape:
        expected = f"shape {shape}, as the unknown was declared, or a scalar"
        cure = f"declare {name} with the shape of the expression, or give that the shape {shape}"
    return Fault(
        f"What determines {name} has shape {received}, but {name} "
        + (f"has shape {shape}." if shape else "is a scalar."),
        **where,
        culprit="" if culprit is None or culprit == other else text(culprit),
        expected=expected,
        received=f"shape {received}, of {text(other)}",
        causes=["a symbol was declared with another shape", "a sum or an index is missing"],
        cure=cure,
    )


def _observed_fault(system: System, key: Any, received: Shape) -> Fault | None:
    shape = getattr(key, "shape", ())
    if _joined(shape, received) == shape:
        return None
    definition = system.observed[key]
    where = place(system, ("observed", key))
    return _misfit(key, shape, definition, received, where)


def _side_fault(side: sympy.Expr, where: dict[str, str]) -> Fault | None:
    """The smallest expression of one side whose operands do not broadcast."""
    try:
        shape_of(side)
    except ShapeError:
        culprit, operands = _smallest(side)
        return Fault(
            f"The shapes in {text(culprit)} do not broadcast.",
            **where,
            culprit=text(culprit),
            expected="operands of one shape; scalars and axes of length 1 go with every shape",
            received=", ".join(f"{text(a)} of shape {shape_of(a)}" for a in operands),
            causes=[
                "one of the symbols was declared with another shape",
                "a matrix product A @ x was meant instead of A * x",
            ],
            cure="make the shapes agree, or insert an axis with an index, x[:, None]",
        )
    return None


def _smallest(expression: Any) -> tuple[Any, list[Any]]:
    """The innermost expression without a shape, reduced to two operands that clash."""
    for argument in expression.args:
        try:
            shape_of(argument)
        except ShapeError:
            return _smallest(argument)
    operands = [a for a in expression.args if shape_of(a)]
    if isinstance(expression, sympy.Piecewise):
        operands = [a.expr if shape_of(a.expr) else a.cond for a in operands]  # type: ignore[attr]
    for i, one in enumerate(operands):
        for two in operands[:i]:
            if _joined(shape_of(one), shape_of(two)) is None:
                pair = [two, one]
                if isinstance(expression, (sympy.Add, sympy.Mul)):
                    return expression.func(*pair), pair
                return expression, pair
    return expression, operands


def _widest(expression: Any, shape: Shape) -> Any:
    """The innermost expression that already has the whole shape, to be named as the culprit."""
    for argument in expression.args if not isinstance(expression, AppliedUndef) else ():
        if not isinstance(argument, sympy.Expr) or shape_of(argument) != shape:
            continue
        return _widest(argument, shape)
    return expression if shape else None


def _by_element(system: System, top: Any, places: list[int]) -> Fault:
    first = system.equations[places[0]]
    unknown = top.expr if isinstance(top, sympy.Derivative) else top
    return Fault(
        f"The elements of {text(unknown)} have equations of their own; arrays are kept whole.",
        **place(system, first),
        culprit=text(first.lhs if isinstance(first.lhs, Index) else first.rhs),
        expected=f"one equation of shape {shape_of(top)} for {text(top)}",
        received=f"{len(places)} for its elements",
        cure=f"write Eq({text(top)}, sm.stack([...])), or declare scalar unknowns",
    )


def _joined(one: Shape, two: Shape) -> Shape | None:
    try:
        return np.broadcast_shapes(one, two)
    except ValueError:
        return None


def _short(shape: Shape) -> str:
    return str(shape[0] if len(shape) == 1 else shape)
