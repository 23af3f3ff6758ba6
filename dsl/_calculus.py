"""Ito's and Stratonovich's calculus: conversion, and change of variables by Ito's formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sympy

from ._errors import DeclarationError, Fault, ModelError
from ._nodes import ArrayNode, shape_of
from ._noise import Noise, find_noise, white
from ._show import name_of, text
from ._split import slope_by, split
from ._symbols import D, Unknown, t
from ._system import System
from .check import check
from .simplify import simplify


def to_ito(system: System) -> System:
    """The same stochastic process, declared in Ito's calculus.

    ``dX_i = f_i dt + sum_a g_ia o dW_a`` is ``dX_i = (f_i + c_i) dt + sum_a g_ia dW_a`` with
    ``c_i = 1/2 sum_a sum_j g_ja dg_ia/dX_j`` (Kloeden and Platen 1992, eq. 4.9.11). A system that
    is in Ito's calculus already is returned as it is.

    Raises `ModelError` where the noise holds a term that cannot be differentiated, a network.

    >>> import sciml as sm
    >>> x, W = sm.unknown("x"), sm.brownian("W")
    >>> system = sm.System(sm.Eq(sm.D(x), x * sm.D(W)), calculus="stratonovich")
    >>> sm.to_ito(system).equations
    (Eq(D(x), x*D(W) + x/2),)
    """
    return system if system.calculus == "ito" else _converted(system, 1)


def to_stratonovich(system: System) -> System:
    """The same stochastic process, declared in Stratonovich's calculus; see `to_ito`.

    >>> import sciml as sm
    >>> x, W = sm.unknown("x"), sm.brownian("W")
    >>> system = sm.System(sm.Eq(sm.D(x), x * sm.D(W)))
    >>> sm.to_stratonovich(system).equations
    (Eq(D(x), x*D(W) - x/2),)
    """
    return system if system.calculus == "stratonovich" else _converted(system, -1)


def _converted(system: System, sign: int) -> System:
    check(system)
    other = "ito" if sign > 0 else "stratonovich"
    if not system.survey.noises:
        return system.replace(calculus=other)
    solved = simplify(system)
    noise = find_noise(solved)
    correction = _correction(solved, noise)
    equations = [
        e.replace(rhs=e.rhs + sign * correction[e.lhs] / 2) if e.lhs in correction else e
        for e in solved.equations
    ]
    return solved.replace(equations=equations, calculus=other)


def _correction(system: System, noise: Noise) -> dict[Any, Any]:
    """``sum_a sum_j g_ja dg_ia/dX_j`` for each equation whose noise depends on the state."""
    if noise.kind == "additive":
        return {}
    parts = {top: _inlined(system, part) for top, part in noise.noise.items()}
    corrections = {}
    for top, part in parts.items():
        if part == 0:
            continue
        _refuse_opaque(system, top, part)
        terms = [_term(system, top, w, parts) for w in noise.brownians]
        corrections[top] = sympy.expand(sympy.Add(*terms))
    return {top: c for top, c in corrections.items() if c != 0}


def _term(system: System, top: Any, w: Any, parts: Mapping[Any, Any]) -> Any:
    """``sum_j g_j dg/dX_j`` for one Brownian motion; arrays element by element."""
    shared = {shape_of(other) for other, part in parts.items() if part.has(white(w))}
    if getattr(w, "correlation", None) is not None:
        raise _unsupported(system, top, f"{name_of(w)} is correlated: write its independent parts")
    if len(shared) > 1 or (w.shape and shared and shared != {w.shape}):
        raise _unsupported(system, top, f"{name_of(w)} is joined to arrays of other shapes")
    mine = _coefficient(parts[top], w)
    result = sympy.S.Zero
    for other, part in parts.items():
        state = other.expr if other.derivative_count == 1 else sympy.Derivative(
            other.expr, (t, other.derivative_count - 1)
        )  # fmt: skip
        if mine.has(state) and part.has(white(w)):
            result += _coefficient(part, w) * slope_by(mine, state)
    return result


def _coefficient(part: Any, w: Any) -> Any:
    """The coefficient of one Brownian motion's rate."""
    linear, _ = split(part, [white(w)])  # type: ignore[misc]
    mark = sympy.Dummy("w", real=True)
    return sympy.expand(linear.xreplace({white(w): mark})).coeff(mark)


def _inlined(system: System, part: Any) -> Any:
    for _ in range(len(system.observed) + 1):
        part = part.xreplace({k: v for k, v in system.observed.items() if not isinstance(k, str)})
    return part


def _refuse_opaque(system: System, top: Any, part: Any) -> None:
    nodes = [node for node in part.atoms(ArrayNode) if node.atoms(Unknown)]
    if nodes:
        raise _unsupported(system, top, f"{text(nodes[0])} cannot be differentiated symbolically")


def _unsupported(system: System, top: Any, reason: str) -> ModelError:
    equation = next(e for e in system.equations if e.lhs == top)
    fault = Fault(
        "The noise of this equation cannot be brought to the other calculus.",
        equation=str(equation),
        where=str(equation.origin),
        received=reason,
        expected="coefficients that are expressions of scalars, or of arrays element by element",
        cure="take a solver of the system's own calculus, or write the correction into the drift",
    )
    return ModelError([fault], system.name)


def change_variables(system: System, variables: Mapping[Any, Any]) -> System:
    """The same process in other unknowns, by Ito's formula; the old ones become observed.

    ``x = p(y)`` for each pair ``{x: p(y)}``: ``dy = ((f - p''(y) g^2 / 2) dt + g dW) / p'(y)`` in
    Ito's calculus (the second term is absent in Stratonovich's, and without noise), where f and g
    are drift and diffusion of x (Oksendal 2003, theorem 4.1.2). So a geometric Brownian motion is
    solved in its logarithm, ``{x: exp(y)}``, and cannot become negative.

    Raises `DeclarationError` for what is no function of one new unknown, or has no inverse at the
    initial value.

    >>> import sciml as sm, sympy
    >>> x, y, W = sm.unknown("x"), sm.unknown("y"), sm.brownian("W")
    >>> geometric = sm.System(sm.Eq(sm.D(x), x / 5 + x * sm.D(W)), initial={x: 1})
    >>> sm.change_variables(geometric, {x: sympy.exp(y)}).equations
    (Eq(D(y), D(W) - 3/10),)
    """
    check(system)
    solved = simplify(system)
    noise = find_noise(solved)
    pairs = {x: (_new_unknown(solved, x, p), p) for x, p in variables.items()}
    forward = {x: p for x, (_, p) in pairs.items()}
    equations = []
    for equation in solved.equations:
        top: Any = equation.lhs
        x = top.expr
        if x not in pairs:
            equations.append(equation.replace(rhs=equation.rhs.xreplace(forward)))
            continue
        if top.derivative_count > 1:
            raise DeclarationError(f"{name_of(x)} is of second order: change only first-order ones")
        y, p = pairs[x]
        slope, bend = p.diff(y), p.diff(y, 2)
        drift, part = noise.drift[equation.lhs], noise.noise[equation.lhs]
        if part != 0 and solved.calculus == "ito":
            squares = sum(_coefficient(part, w) ** 2 for w in noise.brownians if part.has(white(w)))
            drift = drift - bend * squares / slope**2 / 2
        rhs = sympy.expand(((drift + part) / slope).xreplace(forward))
        if not rhs.atoms(ArrayNode):
            rhs = sympy.expand(sympy.simplify(rhs))
        equations.append(equation.replace(lhs=D(y), rhs=rhs))
    initial = {k: v for k, v in solved.initial.items() if k not in pairs}
    initial |= {y: _inverse(solved, x, y, p) for x, (y, p) in pairs.items() if x in solved.initial}
    observed = {k: v.xreplace(forward) for k, v in solved.observed.items()}
    return System(
        *equations,
        initial=initial,
        values=solved.values,
        observed={**observed, **forward},
        name=solved.name,
        origin=solved.origin,
        calculus=solved.calculus,
    )


def _new_unknown(system: System, x: Any, p: Any) -> Any:
    """The one unknown that an expression is a function of."""
    if x not in system.survey.orders:
        raise DeclarationError(f"{text(x)} is no unknown of this system that has an equation")
    found = [u for u in p.atoms(Unknown) if u not in system.survey.unknowns]
    if len(found) != 1 or p.atoms(Unknown) != {found[0]}:
        raise DeclarationError(
            f"{name_of(x)} = {text(p)}: give it as a function of one new unknown, "
            f"y = sm.unknown('y') and {{{name_of(x)}: sympy.exp(y)}}"
        )
    return found[0]


def _inverse(system: System, x: Any, y: Any, p: Any) -> Any:
    """The new unknown at the start."""
    value, mark = system.initial[x], sympy.Dummy("y", real=True)
    start = sympy.Dummy("x", real=True) if np.ndim(value) else sympy.sympify(value)
    solutions = sympy.solve(p.xreplace({y: mark}) - start, mark)
    if not solutions or solutions[0].is_real is False:
        raise DeclarationError(
            f"{name_of(x)} = {text(p)} does not take the initial value {text(start)}"
        )
    if not np.ndim(value):
        return solutions[0]
    found = sympy.lambdify(start, solutions[0], "numpy")(np.asarray(value, float))
    if not np.all(np.isfinite(found)):
        raise DeclarationError(
            f"{name_of(x)} = {text(p)} does not take all of its initial values, {value}"
        )
    return found
