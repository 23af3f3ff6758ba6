"""Each equation is solved for a highest derivative, alone or in a linear block."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from .._arrays import ArrayNode, Matmul, SolveLinear, SolveMatrix, shape_of
from .._equations import Equation
from .._errors import Fault, ModelError
from .._show import text
from .._symbols import t
from .._system import System

_CRAMER = 3  # blocks up to this size are solved in closed form, larger ones by LU at run time


def solve_for_highest(system: System) -> System:
    """Rewrites the equations as ``D(x, n) = ...``, one for each unknown, in the unknowns' order.

    A right-hand side may still name highest derivatives of other equations, never in a circle.
    """
    survey = system.survey
    orders = survey.orders
    highest = {sympy.Derivative(x, (t, orders[x])): x for x in survey.unknowns if x in orders}
    solved: dict[sympy.Expr, Equation] = {}
    rest: list[tuple[Equation, list[Any]]] = []
    for equation, rates in zip(system.equations, survey.rates, strict=True):
        tops = [r for r in rates if r in highest]
        if len(tops) == 1 and tops[0] not in solved:
            (top,) = tops
            if equation.lhs == top and not equation.rhs.has(top):
                solved[top] = equation
                continue
            if equation.rhs == top and not equation.lhs.has(top):
                solved[top] = equation.replace(lhs=top, rhs=equation.lhs)
                continue
        rest.append((equation, tops))
    if rest:
        open_tops = [h for h in highest if h not in solved]
        solved.update(_solve_blocks(system, rest, open_tops))
    return system.replace(equations=[solved[h] for h in highest])


def _solve_blocks(system: System, rest: list, tops: list) -> dict[sympy.Expr, Equation]:
    """Matching of equations to derivatives, then one linear solve for each strong component."""
    column = {top: j for j, top in enumerate(tops)}
    pairs = [(i, column[h]) for i, (_, found) in enumerate(rest) for h in found if h in column]
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    incidence = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(rest), len(tops)))
    match = maximum_bipartite_matching(incidence, perm_type="column")
    if len(rest) != len(tops) or np.any(match < 0):
        raise ModelError([_unsolvable(rest[i][0]) for i in np.flatnonzero(match < 0)], system.name)
    owner = {int(j): i for i, j in enumerate(match)}
    links = csr_array(
        (np.ones(len(pairs)), (rows, [owner[int(j)] for j in columns])), shape=incidence.shape
    )
    count, label = connected_components(links, connection="strong")
    solved, faults = {}, []
    for block in range(count):
        members = np.flatnonzero(label == block)
        equations = [rest[i][0] for i in members]
        unknowns = [tops[match[i]] for i in members]
        try:
            solutions = _solve_block(equations, unknowns)
        except _NotLinearError as error:
            faults.append(_nonlinear(equations[error.args[0]], error.args[1]))
            continue
        for equation, unknown, solution in zip(equations, unknowns, solutions, strict=True):
            solved[unknown] = equation.replace(lhs=unknown, rhs=solution)
    if faults:
        raise ModelError(faults, system.name)
    return solved


class _NotLinearError(Exception):
    """Equation number, and the derivative it is not linear in."""


def _solve_block(equations: list[Equation], tops: list[sympy.Expr]) -> list[sympy.Expr]:
    if len(tops) == 1 and shape_of(tops[0]):
        contracted = _solve_contraction(equations[0], tops[0])
        if contracted is not None:
            return [contracted]
    marks = [sympy.Dummy(f"h{j}", real=True) for j in range(len(tops))]
    marking = dict(zip(tops, marks, strict=True))
    erase = dict.fromkeys(marks, sympy.S.Zero)
    matrix, right = [], []
    for i, equation in enumerate(equations):
        residual: Any = (equation.lhs - equation.rhs).xreplace(marking)
        if any(node.has(*marks) for node in residual.atoms(ArrayNode)):
            raise _NotLinearError(i, tops[0])
        row = [residual.diff(mark) for mark in marks]
        for top, coefficient in zip(tops, row, strict=True):
            if coefficient.has(*marks):
                coefficient = sympy.cancel(coefficient)
                if coefficient.has(*marks):
                    raise _NotLinearError(i, top)
        matrix.append(row)
        right.append(-residual.xreplace(erase))
    if len(tops) == 1:
        if matrix[0][0].is_zero:
            raise _NotLinearError(0, tops[0])
        return [right[0] / matrix[0][0]]
    if len(tops) <= _CRAMER:
        return _cramer(matrix, right)
    solution = SolveLinear(*(entry for row in matrix for entry in row), *right)
    return [solution[i] for i in range(len(tops))]


def _cramer(matrix: list[list], right: list) -> list[sympy.Expr]:
    size = len(right)
    whole: Any = sympy.Matrix(matrix)
    determinant = whole.det(method="berkowitz")
    solutions = []
    for j in range(size):
        replaced = whole.copy()
        for i in range(size):
            replaced[i, j] = right[i]
        solutions.append(replaced.det(method="berkowitz") / determinant)
    return solutions


def _solve_contraction(equation: Equation, top: sympy.Expr) -> sympy.Expr | None:
    """``c M @ D(x) + rest = 0`` for x; None if the equation is not of this form."""
    difference: Any = equation.lhs - equation.rhs
    terms: tuple[Any, ...] = sympy.Add.make_args(sympy.expand_mul(difference))
    inside = [term for term in terms if term.has(top)]
    if len(inside) != 1:
        return None
    products: list[Any] = [f for f in sympy.Mul.make_args(inside[0]) if isinstance(f, Matmul)]
    if len(products) != 1:
        return None
    (product,) = products
    factor: Any = inside[0] / product
    left, right = product.args
    if right != top or left.has(top) or factor.has(top):
        return None
    rest = sympy.Add(*(term for term in terms if not term.has(top)))
    return SolveMatrix(left, -rest / factor)


def _nonlinear(equation: Equation, top: sympy.Expr) -> Fault:
    return Fault(
        f"This equation cannot be solved for its highest derivative {text(top)}.",
        equation=str(equation),
        where=str(equation.origin),
        culprit=text(top),
        expected=f"an equation that is linear in {text(top)}",
        received="a nonlinear one, or one in which it cancels out",
        causes=[
            "the derivative stands inside a power, a function or a network",
            "its coefficient is zero",
        ],
        cure=f"solve it by hand, and write Eq({text(top)}, ...)",
    )


def _unsolvable(equation: Equation) -> Fault:
    return Fault(
        "This equation determines no highest derivative that another equation leaves open.",
        equation=str(equation),
        where=str(equation.origin),
        expected="one highest derivative for each equation",
        causes=["it is an algebraic constraint between unknowns"],
        cure="write an algebraic equation as a definition, Eq(z, ...) with z never differentiated",
    )
