"""As many equations as derivatives, linear in them, are solved for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy

from .._arrays import constant, index
from .._equations import Equation
from .._nodes import Matmul, SolveLinear, SolveMatrix, shape_of
from .eliminate import is_singular
from .linear import linear_parts

_CRAMER = 3  # blocks up to this size are solved in closed form, larger ones by LU at run time


class NotLinearError(Exception):
    """Equation number, and the derivative it is not linear in."""


class DependentError(Exception):
    """The equations of a block say the same about its derivatives."""


def solve_block(equations: list[Equation], tops: list[Any]) -> list[Any]:
    """The derivatives `tops` by as many equations: in closed form, or by LU at run time.

    Raises `NotLinearError`, and `DependentError` where the matrix of the derivatives is singular.
    """
    if len(tops) == 1 and shape_of(tops[0]):
        contracted = _solve_contraction(equations[0], tops[0])
        if contracted is not None:
            return [contracted]
    if len({shape_of(top) for top in tops}) > 1:
        raise NotLinearError(0, tops[0])
    matrix, right = [], []
    for i, equation in enumerate(equations):
        parts = linear_parts(equation.lhs - equation.rhs, tops)
        if parts is None:
            raise NotLinearError(i, tops[0])
        coefficients, rest = parts
        matrix.append([coefficients.get(top, sympy.S.Zero) for top in tops])
        right.append(-rest)
    if len(tops) == 1:
        if matrix[0][0].is_zero:
            raise NotLinearError(0, tops[0])
        return [right[0] / matrix[0][0]]
    if len(tops) <= _CRAMER:
        return _cramer(matrix, right)
    if is_singular(matrix):
        raise DependentError
    solution = SolveLinear(*(entry for row in matrix for entry in row), *right)
    return [solution[i] for i in range(len(tops))]


def _cramer(matrix: list[list], right: list) -> list[Any]:
    size = len(right)
    whole: Any = sympy.Matrix(matrix)
    determinant: Any = whole.det(method="berkowitz")
    numeric = all(entry.is_number for row in matrix for entry in row)
    if sympy.expand(determinant).is_zero or (numeric and is_singular(matrix)):
        raise DependentError
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
