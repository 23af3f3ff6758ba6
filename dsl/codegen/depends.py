"""Which elements depend on which: sparse matrices, and what one knows of a value."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from .._errors import SciMLError

Matrix = Any  # scipy.sparse.csr_matrix of bool: elements of a value x elements of the argument

_MOST = 2**26  # entries of one matrix; beyond it they would fill the memory


class PatternError(SciMLError, ValueError):
    """A Jacobian is too dense for its pattern to be of use."""


class Value:
    """A value in a jaxpr: its shape, what it depends on, and its numbers if they are fixed."""

    def __init__(
        self,
        shape: tuple[int, ...],
        matrix: Matrix | None = None,
        compute: Callable[[], np.ndarray] | None = None,
        depth: int = 0,
    ) -> None:
        self.shape, self.matrix, self.depth = tuple(shape), matrix, depth
        self._compute = compute

    @property
    def fixed(self) -> bool:
        """Whether the numbers can be had."""
        return self._compute is not None

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """The numbers, computed when first asked for."""
        assert self._compute is not None
        return self._compute()

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True)
class Context:
    """What holds for the whole jaxpr: the length of the argument, and whether values count.

    Where `values` do not count, an operation with derivative zero cuts the dependence. They do
    within a function with a derivative of its own, which need not be that of its operations.
    """

    length: int
    values: bool = False


def matrix_of(value: Value, context: Context) -> Matrix:
    if value.matrix is not None:
        return value.matrix
    return scipy.sparse.csr_matrix((value.size, context.length), dtype=bool)


def union(matrices: Sequence[Matrix]) -> Matrix:
    first, *rest = {id(m): m for m in matrices}.values()
    for matrix in rest:
        first = first + matrix
    return first


def _guard(entries: Any) -> None:
    if entries > _MOST:
        raise PatternError(
            "the Jacobian is too dense for its pattern: some unknowns depend on all the others "
            f"(an intermediate has more than {_MOST} entries). Use a solver without a Jacobian."
        )


def picked(matrix: Matrix, numbers: np.ndarray) -> Matrix:
    """The rows of these numbers; empty for a negative one."""
    numbers = np.ravel(numbers).astype(np.int64)
    if len(numbers) == matrix.shape[0] and np.array_equal(numbers, np.arange(len(numbers))):
        return matrix
    lengths = np.append(np.diff(matrix.indptr), 0)  # -1 finds the last
    numbers = np.maximum(numbers, -1)
    counts = lengths[numbers]
    _guard(counts.sum())
    starts = np.concatenate([[0], np.cumsum(counts)])
    inside = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
    indices = matrix.indices[np.repeat(matrix.indptr[:-1][numbers], counts) + inside]
    values = np.ones(len(indices), bool)
    return scipy.sparse.csr_matrix(
        (values, indices, starts.astype(np.int32)), shape=(len(numbers), matrix.shape[1])
    )


def grouped(matrix: Matrix, groups: np.ndarray, count: int) -> Matrix:
    """Row k is the union of those whose group is k; a negative group is none."""
    groups = np.ravel(groups)
    kept = np.flatnonzero(groups >= 0)
    return combined(matrix, groups[kept], kept, count)


def combined(matrix: Matrix, targets: np.ndarray, sources: np.ndarray, count: int) -> Matrix:
    """Row ``targets[i]`` takes in row ``sources[i]`` of the matrix."""
    lengths = np.diff(matrix.indptr)
    _guard(min(lengths[sources].sum(), count * float(matrix.shape[1])))
    chosen = scipy.sparse.csr_matrix(
        (np.ones(len(sources), bool), (targets, sources)), shape=(count, matrix.shape[0])
    )
    return chosen @ matrix


def everything(inputs: Sequence[Value], shapes: Sequence[tuple], context: Context) -> list[Value]:
    """Each element of each result depends on all that any operand depends on."""
    row = scipy.sparse.csr_matrix(_all_of(inputs, context)[None])
    return [Value(s, picked(row, np.zeros(int(np.prod(s)), int))) for s in shapes]


def _all_of(inputs: Sequence[Value], context: Context) -> np.ndarray:
    found = np.zeros(context.length, bool)
    for value in inputs:
        if value.matrix is not None:
            found[value.matrix.indices] = True
    return found


def numbered(value: Value, offset: int = 0) -> np.ndarray:
    return np.arange(offset, offset + value.size, dtype=np.int32).reshape(value.shape)


def stacked(values: Sequence[Value], context: Context) -> Matrix:
    return scipy.sparse.vstack([matrix_of(v, context) for v in values], format="csr")
