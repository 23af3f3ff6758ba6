"""Derivatives of networks in the expression graph, each network differentiated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._derivative import NeuralDerivative
from .._nodes import Matmul, shape_of
from .graph import Graph


def derivative_node(graph: Graph, e: NeuralDerivative, operands: Sequence[int]) -> int:
    """The node of a derivative: a part of that by all arguments, which others can share."""
    call, order = e.call, len(e.which)
    pointwise = call.network.pointwise
    static = (call.network.name, call.convention, pointwise, call.shape, order)
    count = len(call.operands) if pointwise else sum(_sizes(e))
    shape = (*call.shape, *[count] * order)
    whole = graph.add("derivative", *operands, static=static, shape=shape)
    if pointwise:
        key = (Ellipsis, *e.which)
        return graph.add("index", whole, static=(key,), shape=e.shape)
    return _part(graph, whole, e, e.which)


def product_with_derivative(graph: Graph, e: Matmul, build: Callable[[Any], int]) -> int | None:
    """The node of a derivative times a vector, for which the derivative itself is not formed."""
    operands: Any = e.operands
    left, right = operands
    if _is_whole(left) and len(shape_of(right)) == 1:
        call, which = left.call, left.which
        if len(shape_of(call.operands[which[-1]])) != 1:
            return None
        order = len(which) - 1
        static = (call.network.name, call.convention, call.shape, order, which[-1])
        numbers = [build(a) for a in (*call.operands, right)]
        shape = (*call.shape, *[sum(_sizes(left))] * order)
        node = graph.add("tangent", *numbers, static=static, shape=shape)
        return _part(graph, node, left, which[:-1])
    if _is_whole(right) and len(shape_of(left)) == len(right.call.shape) == len(right.which) == 1:
        call = right.call
        static = (call.network.name, call.convention, call.shape)
        numbers = [build(a) for a in (*call.operands, left)]
        node = graph.add("cotangent", *numbers, static=static, shape=(sum(_sizes(right)),))
        return _part(graph, node, right, right.which, leading=())
    return None


def _is_whole(e: Any) -> bool:
    return isinstance(e, NeuralDerivative) and not e.network.pointwise


def _sizes(e: NeuralDerivative) -> list[int]:
    """Number of elements of each argument."""
    return [int(np.prod(shape_of(a))) for a in e.call.operands]


def _part(
    graph: Graph, whole: int, e: NeuralDerivative, which: Sequence[int], leading: Any = None
) -> int:
    """The part that belongs to some of the arguments, in their shapes."""
    operands, sizes = e.call.operands, _sizes(e)
    leading = e.call.shape if leading is None else leading
    key: list[Any] = [("slice", None, None, None)] * len(leading)
    picked, wanted = list(leading), list(leading)
    for position in which:
        shape, start = shape_of(operands[position]), sum(sizes[:position])
        wanted += shape
        if shape:
            key.append(("slice", start, start + sizes[position], None))
            picked.append(sizes[position])
        else:
            key.append(start)
    if tuple(picked) != graph.shapes[whole]:
        whole = graph.add("index", whole, static=(tuple(key),), shape=tuple(picked))
    if picked == wanted:
        return whole
    return graph.add("reshape", whole, shape=tuple(wanted))
