"""Derivatives of networks by their arguments: a node of expressions, and how it is computed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array

from ._neural import Neural, NeuralCall, call_module
from ._nodes import ArrayNode, ConstantArray, Matmul, Static, Sum, shape_of

Shape = tuple[int, ...]


class NeuralDerivative(ArrayNode):
    """The derivative of a network's output by some of its arguments, one after the other.

    Its shape is that of the output, and then those of the arguments. Of a network that acts on each
    element it is the derivative at each element.
    """

    __slots__ = ("shape",)

    def __new__(cls, call: NeuralCall, which: Static) -> NeuralDerivative:
        self = super().__new__(cls, call, which)
        self.shape = call.shape
        if not call.network.pointwise:
            for position in which.value:
                self.shape = (*self.shape, *shape_of(call.operands[position]))
        return self

    @property
    def call(self) -> NeuralCall:
        """The network at its arguments."""
        return self.args[0]  # type: ignore[return-value]

    @property
    def which(self) -> tuple[int, ...]:
        """The positions of the arguments by which it is the derivative."""
        return self.settings[0]

    @property
    def network(self) -> Neural:
        """The network itself."""
        return self.call.network

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        return chain_rule(self.call, self.which, symbol)

    def _sympystr(self, printer: Any) -> str:
        wrt = ", ".join(printer._print(self.call.operands[i]) for i in self.which)
        return f"D({printer._print(self.call)}, {wrt})"

    def _latex(self, printer: Any) -> str:
        wrt = [printer._print(self.call.operands[i]) for i in self.which]
        return rf"\partial_{{{', '.join(wrt)}}} {printer._print(self.call)}"


def derivative_of(call: NeuralCall, *which: int) -> NeuralDerivative:
    """The derivative of a call by its arguments at the positions `which`."""
    return NeuralDerivative(call, Static(tuple(which)))


def chain_rule(call: NeuralCall, which: tuple[int, ...], symbol: sympy.Expr) -> sympy.Expr:
    """The rate by a scalar symbol of a call, or of its derivative by the arguments `which`."""
    terms = []
    for position, operand in enumerate(call.operands):
        rate = operand.diff(symbol)
        if rate == 0:
            continue
        slope, shape = derivative_of(call, *which, position), shape_of(operand)
        if call.network.pointwise or not shape:
            terms.append(slope * rate)
            continue
        if shape_of(rate) != shape:
            rate = rate + ConstantArray(np.zeros(shape))
        if len(shape) == 1:
            terms.append(Matmul(slope, rate))
            continue
        summed: Any = slope * rate
        for _ in shape:
            summed = Sum(summed, Static(-1))
        terms.append(summed)
    return sympy.Add(*terms)


# -- what the compiled model calls -----------------------------------------------------------------


def derivative(
    module: Callable,
    convention: str,
    pointwise: bool,
    shape: Shape,
    order: int,
    *arguments: Array,
) -> Array:
    """All derivatives of some order by all n elements of the arguments: shape (*shape, n, ..., n).

    `shape` is that of the output; if `pointwise`, the elements are those at one place.
    """
    if pointwise:
        together = jnp.broadcast_arrays(*arguments)
        one = functools.partial(derivative, module, convention, False, (), order)
        found = jax.vmap(one)(*(jnp.ravel(a) for a in together))
        return jnp.reshape(found, (*shape, *found.shape[1:]))
    function, point = _flattened(module, convention, shape, arguments)
    return _differentiated(function, shape, order, point.size)(point)


def tangent(
    module: Callable, convention: str, shape: Shape, order: int, which: int, *arguments: Array
) -> Array:
    """The rate of ``derivative(...)`` of that order as an argument moves in the last direction."""
    *given, direction = arguments
    function, point = _flattened(module, convention, shape, given)
    pieces = [jnp.zeros(jnp.size(a), point.dtype) for a in given]
    pieces[which] = jnp.ravel(direction)
    moving = _differentiated(function, shape, order, point.size)
    return jax.jvp(moving, (point,), (jnp.concatenate(pieces),))[1]


def cotangent(module: Callable, convention: str, shape: Shape, *arguments: Array) -> Array:
    """The derivative of the output's product with the last of the arguments: shape (n,)."""
    *given, weights = arguments
    function, point = _flattened(module, convention, shape, given)
    return jax.vjp(function, point)[1](weights)[0]


def _flattened(
    module: Callable, convention: str, shape: Shape, arguments: Sequence[Array]
) -> tuple[Callable, Array]:
    """The network as a function of all its arguments in one vector, and that vector."""
    shapes = [jnp.shape(a) for a in arguments]
    ends = tuple(int(end) for end in np.cumsum([int(np.prod(s)) for s in shapes])[:-1])

    def function(point: Array) -> Array:
        if convention == "vector":
            return jnp.reshape(module(point), shape)
        pieces = jnp.split(point, ends) if ends else [point]
        given = (jnp.reshape(piece, s) for piece, s in zip(pieces, shapes, strict=True))
        return jnp.reshape(call_module(module, convention, False, *given), shape)

    flat = [jnp.ravel(a) for a in arguments]
    return function, flat[0] if len(flat) == 1 else jnp.concatenate(flat)


def _differentiated(function: Callable, shape: Shape, order: int, size: int) -> Callable:
    """Reverse mode first where there are fewer outputs than inputs, then forward mode."""
    for level in range(order):
        if level == 0 and not shape:
            function = jax.grad(function)
        elif level == 0 and int(np.prod(shape)) < size:
            function = jax.jacrev(function)
        else:
            function = jax.jacfwd(function)
    return function
