"""Equations that hold fewer combinations of derivatives than there are derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import Fault, ModelError
from .._nodes import ArrayNode, ConstantArray
from .._open import state_below
from .._show import text
from .._symbols import t
from .._system import System
from .eliminate import Echelon, eliminated
from .linear import linear_parts


def couple(
    system: System,
    equations: Sequence[Equation],
    tops: Sequence[Any],
    algebraic: Sequence[Equation],
) -> tuple[dict[Any, Equation], list[Equation]]:
    """The combinations of derivatives that some equations give, and what they say besides.

    Of ``A D(x) = f``, with fewer independent rows than columns in A, elimination leaves
    ``D(x1) = g + sum(c * D(x2))``, one for each independent row, by x1; and algebraic equations,
    the combinations of rows in which the derivatives cancel. The rates of the x2 stay open.

    Arguments: the equations, linear in `tops` with coefficients that the caller has looked at;
    `algebraic`, the system's equations without derivatives.
    Raises `ModelError` where a coefficient c is no constant: the derivatives are then not those of
    fewer unknowns.
    """
    matrix, right = [], []
    for equation in equations:
        parts = linear_parts(equation.lhs - equation.rhs, tops)
        assert parts is not None
        matrix.append([parts[0].get(top, sympy.S.Zero) for top in tops])
        right.append(-parts[1])
    first = eliminated(matrix)
    fixed = _residuals(first, right)
    last = _wanted(fixed, algebraic, tops, len(tops) - len(first.pivots))
    echelon = eliminated(matrix, last) if last else first
    given: dict[Any, Equation] = {}
    faults = []
    for row, pivot, own in zip(echelon.rows, echelon.pivots, echelon.transform, strict=False):
        beside = {top: c for top, c in zip(tops, row, strict=True) if c != 0 and top != tops[pivot]}
        origin = _sources(own, equations)[0]
        if moving := {s for c in beside.values() for s in _varying(c)}:
            faults.append(_moving(origin, tops[pivot], beside, moving))
            continue
        rest = sympy.Add(*(-c * top for top, c in beside.items()))
        given[tops[pivot]] = origin.replace(lhs=tops[pivot], rhs=_combined(own, right) + rest)
    if faults:
        raise ModelError(faults, system.name)
    residuals = [
        _sources(own, equations)[-1].replace(lhs=sympy.S.Zero, rhs=_combined(own, right))
        for own in echelon.transform[len(echelon.pivots) :]
    ]
    return given, residuals


def settled(system: System, given: dict[Any, Equation], still_open: Sequence[Any]) -> System:
    """The system with `observed` written without open rates, where they cancel.

    Raises `ModelError` for what holds a derivative that stays open.
    """
    written = {top: equation.rhs for top, equation in given.items()}
    changed, faults = {}, []
    for symbol, definition in system.observed.items():
        if definition.atoms(sympy.Derivative).isdisjoint({*written, *still_open}):
            continue
        parts = linear_parts(definition.xreplace(written), still_open)
        left = list(still_open) if parts is None else [r for r, c in parts[0].items() if c.expand()]
        if parts is None or left:
            faults.append(_unknown_rate(symbol, definition, left))
        else:
            changed[symbol] = parts[1]
    if faults:
        raise ModelError(faults, system.name)
    return system.replace(observed=changed) if changed else system


def depends_on(expression: Any, state: Any, moved: dict[Any, Any]) -> bool:
    """Whether an expression changes with an open state, while the combinations stay.

    `moved` gives for the states that then change with it how much they do. Differentiated where
    that can be told at once; else by what stands in it.
    """
    moves = {state: sympy.S.One, **moved}
    found = expression.atoms(AppliedUndef, sympy.Derivative)
    if found.isdisjoint(moves):
        return False
    if expression.atoms(ArrayNode, ConstantArray) or expression.count_ops() > _LONG:
        return True
    marks = {s: sympy.Dummy() for s in sorted(found, key=text)}
    flat = expression.xreplace(marks)
    slope = sympy.Add(*(flat.diff(marks[s]) * c for s, c in moves.items() if s in marks))
    return sympy.expand(slope) != 0


_LONG = 400  # operations


def _residuals(echelon: Echelon, right: list[Any]) -> list[Any]:
    return [_combined(own, right) for own in echelon.transform[len(echelon.pivots) :]]


def _combined(weights: Sequence[Any], expressions: Sequence[Any]) -> Any:
    return sympy.Add(*(w * e for w, e in zip(weights, expressions, strict=True) if w != 0))


def _sources(weights: Sequence[Any], equations: Sequence[Equation]) -> list[Equation]:
    """The equations that a combination is made of."""
    return [e for w, e in zip(weights, equations, strict=True) if w != 0]


def _wanted(
    fixed: Sequence[Any], algebraic: Sequence[Equation], tops: Sequence[Any], count: int
) -> list[int]:
    """The columns whose rates had best stay open: those that the algebraic equations hold.

    Structures that eliminate without pivoting find these on the diagonal.
    """
    below = [state_below(top) for top in tops]
    rows = [*fixed, *(e.rhs - e.lhs for e in algebraic if len(fixed) < count)]
    pairs = [(i, j) for i, e in enumerate(rows) for j, s in enumerate(below) if _holds(e, s)]
    if not pairs:
        return []
    places = tuple(np.array(pairs, int).T)
    incidence = csr_array((np.ones(len(pairs)), places), shape=(len(rows), len(tops)))
    matched = maximum_bipartite_matching(incidence, perm_type="column")
    return [int(j) for j in matched if j >= 0][:count]


def _holds(expression: Any, state: Any) -> bool:
    return state in expression.atoms(type(state), AppliedUndef, sympy.Derivative)


def _varying(coefficient: Any) -> set[Any]:
    """What a coefficient holds that changes in time."""
    found = coefficient.atoms(AppliedUndef, sympy.Derivative)
    alone = coefficient.xreplace({symbol: sympy.Dummy() for symbol in found})
    return found | (alone.free_symbols & {t})


def _moving(equation: Equation, top: Any, beside: dict[Any, Any], moving: set[Any]) -> Fault:
    combination = top + sympy.Add(*(c * other for other, c in beside.items()))
    names = ", ".join(sorted(map(text, moving)))
    return Fault(
        f"The derivatives in this equation stand in a combination that changes with {names}, and "
        "no other equation gives them apart.",
        equation=str(equation),
        where=str(equation.origin),
        culprit=text(combination),
        expected="as many independent equations as there are derivatives in them, or fewer "
        "combinations of derivatives with constant coefficients",
        received=f"fewer, with {text(combination)}",
        causes=["it is the rate of a nonlinear quantity, such as a charge or a momentum"],
        cure="make that quantity an unknown q: write D(q) for its rate here, and "
        "Eq(0, q - ...) for what it is",
    )


def _unknown_rate(symbol: Any, definition: Any, rates: Sequence[Any]) -> Fault:
    names = ", ".join(sorted(map(text, rates)))
    return Fault(
        f"{text(symbol)} holds {names}, which no equation gives.",
        equation=f"{text(symbol)} = {text(definition)}",
        culprit=names,
        expected="combinations of derivatives that stand in equations",
        received=text(definition),
        cure=f"remove {text(symbol)}, or write it without the derivative",
    )
