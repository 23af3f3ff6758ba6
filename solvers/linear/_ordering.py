"""Orders of the unknowns in which a matrix has small blocks on three diagonals."""

from __future__ import annotations

import functools

import numpy as np
import scipy.sparse.csgraph

from sciml.dsl.codegen.pattern import Pattern

_WIDEST = 16  # up to this bandwidth it is worth a search for blocks smaller than it


@functools.lru_cache(maxsize=32)
def reverse_cuthill_mckee(pattern: Pattern) -> np.ndarray:
    """An order of small bandwidth: entry k is the unknown that comes k-th.

    Of the symmetrised pattern (Cuthill and McKee, Reducing the bandwidth of sparse symmetric
    matrices, Proc. 24th ACM National Conference (1969); reversed as by George and Liu (1981)).
    """
    matrix = pattern.to_scipy()
    matrix = (matrix + matrix.T).astype(np.int8).tocsr()
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(matrix, symmetric_mode=True)
    order.flags.writeable = False  # it is kept
    return order


def bandwidth(pattern: Pattern, order: np.ndarray) -> int:
    """The largest distance from the diagonal, when the unknowns are in that order."""
    place = np.argsort(order)
    return int(np.abs(place[pattern.rows] - place[pattern.cols]).max(initial=0))


def block_order(pattern: Pattern) -> tuple[np.ndarray, int, int]:
    """The order, size of blocks and empty places before the first unknown with smallest blocks.

    With these, every non-zero lies in a block on the diagonal or next to it. The declared order
    is kept unless the other has smaller blocks. Blocks of the size of the bandwidth always do, and
    smaller ones where unknowns come in groups.
    """
    declared = np.arange(pattern.shape[0], dtype=np.int32)
    orders = declared, reverse_cuthill_mckee(pattern)
    found = [(order, *_blocks(pattern, order)) for order in orders]
    return min(found, key=lambda choice: choice[1])


def _blocks(pattern: Pattern, order: np.ndarray) -> tuple[int, int]:
    place = np.argsort(order)
    rows, cols = place[pattern.rows], place[pattern.cols]
    widest = max(1, bandwidth(pattern, order))
    if widest > _WIDEST:
        return widest, 0
    for size in range(max(1, (widest + 1) // 2), widest):
        for offset in range(size):
            blocks = (rows + offset) // size - (cols + offset) // size
            if np.abs(blocks).max(initial=0) <= 1:
                return size, offset
    return widest, 0
