"""Weights of finite differences and of interpolation."""

from __future__ import annotations

import numpy as np


def weights(place: float | np.ndarray, nodes: np.ndarray, order: int) -> np.ndarray:
    """The weights of values at `nodes` in the derivative of some order at a place.

    Exact for polynomials of degree below the number of nodes; of order 0 it is interpolation.
    `place` has any shape (...), `nodes` the shape (..., n), and so has the result.

    >>> from sciml.dsl.lower.weights import weights
    >>> weights(0.0, np.array([-1.0, 0.0, 1.0]), 2)
    array([ 1., -2.,  1.])

    Source: Fornberg, Generation of finite difference formulas on arbitrarily spaced grids, Math.
    Comput. 51 (1988), section 2.
    """
    nodes = np.asarray(nodes, float)
    n = nodes.shape[-1]
    if order >= n:
        raise ValueError(f"a derivative of order {order} needs more than {n} nodes")
    table = np.zeros((*nodes.shape, order + 1))
    table[..., 0, 0] = 1.0
    before = np.ones(nodes.shape[:-1])
    near = nodes[..., 0] - place
    for i in range(1, n):
        product = np.ones(nodes.shape[:-1])
        last, near = near, nodes[..., i] - place
        for j in range(i):
            gap = nodes[..., i] - nodes[..., j]
            product = product * gap
            if j == i - 1:
                for k in range(min(i, order), -1, -1):
                    lower = k * table[..., i - 1, k - 1] if k else 0.0
                    table[..., i, k] = before * (lower - last * table[..., i - 1, k]) / product
            for k in range(min(i, order), -1, -1):
                lower = k * table[..., j, k - 1] if k else 0.0
                table[..., j, k] = (near * table[..., j, k] - lower) / gap
        before = product
    return table[..., order]
