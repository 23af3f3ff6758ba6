"""Elimination of a matrix of expressions: which combinations of its columns its rows hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.polys.matrices import DomainMatrix

_NOTHING = 1e-12  # of a row whose largest number is 1: what rounding leaves of a zero


@dataclasses.dataclass(frozen=True, eq=False)
class Echelon:
    """``transform @ matrix``: a unit in each pivot's column, rows of zeros at the end.

    Fields
      rows: those that are not zero, one for each of `pivots`, the columns of their units.
      transform: what makes them from the rows of the matrix, and below it what makes the zeros.
    """

    rows: list[list[Any]]
    pivots: list[int]
    transform: list[list[Any]]


def eliminated(matrix: Sequence[Sequence[Any]], last: Sequence[int] = ()) -> Echelon:
    """The reduced echelon form; the columns `last` have a pivot only if it must be.

    Of numbers it is found to rounding, of expressions exactly, as rational functions of what is
    none.
    """
    width = len(matrix[0])
    columns = [*(j for j in range(width) if j not in set(last)), *last]
    if all(entry.is_number for row in matrix for entry in row):
        return _of_numbers(np.array(matrix, float), columns, width - len(last))
    return _of_expressions(matrix, columns)


def is_singular(matrix: Sequence[Sequence[Any]]) -> bool:
    """Whether a square matrix has no inverse, whatever its symbols are: tried by two numbers each.

    False where its entries cannot be evaluated.
    """
    leaves = list({s: None for row in matrix for e in row for s in _leaves(e)})
    draw = np.random.default_rng(0)
    for _ in range(2):
        values = {s: sympy.Float(draw.uniform(0.5, 1.5)) for s in leaves}
        try:
            numbers = np.array([[float(e.xreplace(values)) for e in row] for row in matrix])
        except TypeError:  # arrays, networks: what is no number
            return False
        largest = np.max(np.abs(numbers), axis=1, keepdims=True)
        if np.all(largest > 0) and np.linalg.matrix_rank(numbers / largest) == len(matrix):
            return False
        if not leaves:
            break
    return True


def _leaves(entry: Any) -> set[Any]:
    rates = entry.atoms(sympy.Derivative)
    return rates | entry.atoms(AppliedUndef) | entry.atoms(sympy.Symbol)


def _of_numbers(matrix: np.ndarray, columns: list[int], first: int) -> Echelon:
    """Gauss and Jordan's elimination; the largest number left is the pivot."""
    rows, width = matrix.shape
    largest = np.max(np.abs(matrix), axis=1, keepdims=True)
    largest[largest == 0] = 1.0
    work = np.hstack([matrix, np.eye(rows)]) / largest
    pivots: list[int] = []
    for group in (columns[:first], columns[first:]):
        open_ones = list(group)
        while open_ones and len(pivots) < rows:
            k = len(pivots)
            sizes = np.abs(work[k:, open_ones])
            row, place = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
            if sizes[row, place] < _NOTHING:
                break
            column = open_ones.pop(int(place))
            work[[k, k + row]] = work[[k + row, k]]
            work[k] /= work[k, column]
            others = np.arange(rows) != k
            work[others] -= work[others, column, None] * work[k]
            pivots.append(column)
    work[np.abs(work) < _NOTHING * np.max(np.abs(work), axis=1, keepdims=True)] = 0.0
    numbers = [[_number(value) for value in row] for row in work]
    return Echelon(
        [row[:width] for row in numbers[: len(pivots)]], pivots, [row[width:] for row in numbers]
    )


def _number(value: float) -> Any:
    return sympy.Integer(int(value)) if value == int(value) else sympy.Float(value)


def _of_expressions(matrix: Sequence[Sequence[Any]], columns: list[int]) -> Echelon:
    size, width = len(matrix), len(columns)
    exact = [[sympy.nsimplify(row[j], rational=True) for j in columns] for row in matrix]
    unit = sympy.eye(size).tolist()
    whole = [[*row, *own] for row, own in zip(exact, unit, strict=True)]
    made = DomainMatrix.from_list_sympy(size, width + size, whole).to_field()
    reduced, found = made.rref()
    table = reduced.to_Matrix().tolist()
    pivots = [p for p in found if p < width]
    rows = []
    for row in table[: len(pivots)]:
        ordered: list[Any] = [sympy.S.Zero] * width
        for place, j in enumerate(columns):
            ordered[j] = row[place]
        rows.append(ordered)
    return Echelon(rows, [columns[p] for p in pivots], [row[width:] for row in table])
