"""Each equation is solved for a highest derivative, alone or in a linear block."""

from __future__ import annotations

import graphlib
from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching
from sympy.core.function import AppliedUndef

from .._arrays import constant, index
from .._equations import Equation
from .._errors import Fault, ModelError
from .._nodes import Matmul, SolveLinear, SolveMatrix, shape_of
from .._show import text
from .._system import System
from .linear import linear_parts

_CRAMER = 3  # blocks up to this size are solved in closed form, larger ones by LU at run time


def solve_for_highest(system: System) -> System:
    """Rewrites the equations as ``D(x, n) = ...``, one for each unknown, in the unknowns' order.

    A right-hand side may still name highest derivatives of other equations, never in a circle.
    Equations without a highest derivative follow, as they are.
    """
    system = _substitute_definitions(system)
    survey = system.survey
    highest = {survey.highest[x]: x for x in survey.unknowns if x in survey.highest}
    solved: dict[sympy.Expr, Equation] = {}
    rest: list[tuple[Equation, list[Any]]] = []
    algebraic: list[Equation] = []
    walked = zip(system.equations, survey.rates, survey.right_rates, strict=True)
    for equation, rates, on_right in walked:
        tops = [r for r in rates if r in highest]
        if not tops:
            algebraic.append(equation)
            continue
        if len(tops) == 1 and tops[0] not in solved:
            (top,) = tops
            if equation.lhs == top and top not in on_right:
                solved[top] = equation
                continue
            if equation.rhs == top and not equation.lhs.has(top):
                solved[top] = equation.replace(lhs=top, rhs=equation.lhs)
                continue
        rest.append((equation, tops))
    open_tops = [h for h in highest if h not in solved]
    if rest or open_tops:
        solved.update(_solve_blocks(system, rest, open_tops))
    equations = [*(solved[h] for h in highest), *algebraic]
    if all(new is old for new, old in zip(equations, system.equations, strict=True)):
        return system
    return system.replace(equations=equations)


def _substitute_definitions(system: System) -> System:
    """Definitions that hold highest derivatives are written out in the equations."""
    highest = frozenset(system.survey.highest.values())
    graph = {k: v.atoms(AppliedUndef) & system.observed.keys() for k, v in system.observed.items()}
    written: dict[Any, Any] = {}
    for symbol in graphlib.TopologicalSorter(graph).static_order():
        definition = system.observed[symbol].xreplace(written)
        if not highest.isdisjoint(definition.atoms(sympy.Derivative)):
            written[symbol] = definition
    if not written:
        return system
    equations = [
        e.replace(lhs=e.lhs.xreplace(written), rhs=e.rhs.xreplace(written))
        if not highest.isdisjoint(rates)
        else e
        for e, rates in zip(system.equations, system.survey.rates, strict=True)
    ]
    return system.replace(equations=equations)


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
        except _DependentError:
            faults.append(_dependent(equations, unknowns))
            continue
        for equation, unknown, solution in zip(equations, unknowns, solutions, strict=True):
            solved[unknown] = equation.replace(lhs=unknown, rhs=solution)
    if faults:
        raise ModelError(faults, system.name)
    return solved


class _NotLinearError(Exception):
    """Equation number, and the derivative it is not linear in."""


class _DependentError(Exception):
    """The equations of a block say the same about its derivatives."""


def _solve_block(equations: list[Equation], tops: list[Any]) -> list[Any]:
    if len(tops) == 1 and shape_of(tops[0]):
        contracted = _solve_contraction(equations[0], tops[0])
        if contracted is not None:
            return [contracted]
    if len({shape_of(top) for top in tops}) > 1:
        raise _NotLinearError(0, tops[0])
    matrix, right = [], []
    for i, equation in enumerate(equations):
        parts = linear_parts(equation.lhs - equation.rhs, tops)
        if parts is None:
            raise _NotLinearError(i, tops[0])
        coefficients, rest = parts
        matrix.append([coefficients.get(top, sympy.S.Zero) for top in tops])
        right.append(-rest)
    if len(tops) == 1:
        if matrix[0][0].is_zero:
            raise _NotLinearError(0, tops[0])
        return [right[0] / matrix[0][0]]
    if len(tops) <= _CRAMER:
        return _cramer(matrix, right)
    numeric = all(entry.is_Number for row in matrix for entry in row)
    if numeric and np.linalg.matrix_rank(np.array(matrix, float)) < len(tops):
        raise _DependentError
    solution = SolveLinear(*(entry for row in matrix for entry in row), *right)
    return [solution[i] for i in range(len(tops))]


def _cramer(matrix: list[list], right: list) -> list[Any]:
    size = len(right)
    whole: Any = sympy.Matrix(matrix)
    determinant: Any = whole.det(method="berkowitz")
    if sympy.expand(determinant).is_zero:
        raise _DependentError
    solutions = []
    for j in range(size):
        replaced = whole.copy()
        for i in range(size):
            replaced[i, j] = right[i]
        solutions.append(replaced.det(method="berkowitz") / determinant)
    return solutions


def _solve_contraction(equation: Equation, top: Any) -> Any:
    """``M @ (c D(x)) + k D(x) + ... = 0`` for D(x); None if the equation is not of this form."""
    shape: Any = shape_of(top)
    terms: Any = sympy.Add.make_args(sympy.expand_mul(equation.lhs - equation.rhs))
    if not any(product.has(top) for term in terms for product in term.atoms(Matmul)):
        return None
    matrices, rest = [], []
    for term in terms:
        if not term.has(top):
            rest.append(term)
            continue
        products: Any = [f for f in sympy.Mul.make_args(term) if isinstance(f, Matmul)]
        if products:
            (left, inner), factor = products[0].args, term / products[0]
        else:
            left, inner, factor = constant(np.eye(shape[0])), term, sympy.S.One
        parts = linear_parts(inner, [top])
        if parts is None or left.has(top) or factor.has(top):
            return None
        coefficient, remainder = parts[0][top], parts[1]
        if remainder != 0:
            rest.append(
                factor * (Matmul(left, _in_shape(remainder, shape)) if products else remainder)
            )
        vectors = [e for e in (factor, coefficient) if shape_of(e)]
        if len(shape_of(left)) != 2 or (vectors and len(shape) > 1):
            return None
        rows = index(factor, (slice(None), None)) if shape_of(factor) else factor
        matrices.append(rows * left * coefficient)  # scales rows, then columns
    return SolveMatrix(sympy.Add(*matrices), _in_shape(-sympy.Add(*rest), shape))


def _in_shape(expression: Any, shape: tuple[int, ...]) -> Any:
    return expression if shape_of(expression) == shape else expression + constant(np.zeros(shape))


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


def _dependent(equations: list[Equation], tops: list[Any]) -> Fault:
    first, *others = equations
    names = " and ".join(filter(None, (", ".join(map(text, tops[:-1])), text(tops[-1]))))
    return Fault(
        f"These equations do not determine {names} apart from each other.",
        equation=str(first),
        where=str(first.origin),
        culprit="; ".join(str(e) for e in others),
        expected=f"as many independent equations as there are highest derivatives, {len(tops)}",
        received="equations in which the same combination of them stands",
        causes=["one follows from the others", "they are constraints in disguise"],
        cure="replace one of them by what is missing, or by an algebraic definition",
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
