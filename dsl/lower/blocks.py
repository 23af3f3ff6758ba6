"""Blocks of arrays in expressions: cut out, joined, weighed and summed, a matrix along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy

from .._nodes import ConstantArray, Index, Matmul, Pad, Static, Sum, Update, shape_of


def contracted(matrix: np.ndarray, array: sympy.Expr, place: int) -> sympy.Expr:
    """A matrix applied along one axis of an array."""
    rank = len(shape_of(array))
    if place == rank - 1 and rank > 1:
        return Matmul(array, ConstantArray(matrix.T))
    if place >= rank - 2:
        return Matmul(ConstantArray(matrix), array)
    whole = ("slice", None, None, None)
    moved = Index(array, Static((*[whole] * place, None, *[whole] * (rank - place))))
    factors = matrix.reshape(*[1] * place, *matrix.shape, *[1] * (rank - place - 1))
    return Sum(ConstantArray(factors) * moved, Static(place + 1))


def joined(arrays: Sequence[Any], place: int) -> sympy.Expr:
    """Arrays one after the other along an axis; None for those that are empty."""
    found = [array for array in arrays if array is not None]
    if len(found) == 1:
        return found[0]
    first, *rest = found
    before = shape_of(first)[place]
    total = before + sum(shape_of(array)[place] for array in rest)
    widths: list[tuple[int, int]] = [(0, 0)] * len(shape_of(first))
    widths[place] = 0, total - before
    whole: sympy.Expr = Pad(first, Static(tuple(widths)))
    for array in rest:
        starts = [0] * len(widths)
        starts[place] = before
        whole = Update(whole, array, Static(tuple(starts)))
        before += shape_of(array)[place]
    return whole


def cut(array: sympy.Expr, place: int, first: int, last: int) -> sympy.Expr:
    """A stretch of one axis; a slice of a slice is one slice."""
    shape = shape_of(array)
    if not shape or shape[place] == 1 or (first, last) == (0, shape[place]):
        return array
    ranges = [(0, n) for n in shape]
    if isinstance(array, Index) and _is_sliced(array.settings[0]):
        ranges = [(k[1], k[2]) for k in array.settings[0]]
        array = array.operands[0]
    start = ranges[place][0]
    ranges[place] = start + first, start + last
    return block(array, ranges)


def block(array: sympy.Expr, ranges: list[tuple[int, int]]) -> sympy.Expr:
    """A block of an array; the array itself, if it is all of it."""
    if ranges == [(0, n) for n in shape_of(array)]:
        return array
    return Index(array, Static(tuple(("slice", first, last, None) for first, last in ranges)))


def _is_sliced(key: tuple) -> bool:
    return all(isinstance(k, tuple) and None not in k[1:3] for k in key)


def weighed(numbers: np.ndarray, arrays: Sequence[Any]) -> sympy.Expr:
    """The sum of arrays with weights, without those that are zero."""
    return sympy.Add(*(as_number(w) * v for w, v in zip(numbers, arrays, strict=True) if w))


def as_number(value: float) -> sympy.Expr:
    """A floating number with all its digits."""
    return sympy.Float(value, 17)
