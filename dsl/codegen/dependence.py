"""Which elements of a result depend on which of the argument: a walk through a jaxpr."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.extend.core as jex
import numpy as np
import scipy.sparse
from jax.core import Tracer

from .dependence_rules import ELEMENTWISE, FLAT, RULES, bind, elementwise
from .depends import (
    Context,
    Matrix,
    Value,
    everything,
    grouped,
    matrix_of,
    numbered,
    picked,
    stacked,
    union,
)

_TURNS = 20  # of a longer loop, before all that it carries is taken to depend on all of that
_UNROLLED = 3000  # operations of a loop that are followed step by step
_DEEP = 50  # constants computed from one another before they are computed at once


def dependence(function: Callable[..., Any], y: Any, args: tuple) -> Matrix:
    """Where derivatives of ``function(y, *args)`` with respect to `y` can be other than zero."""
    arrays, static = eqx.partition(args, eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)

    def flat(y: Any, *leaves: Any) -> Any:
        return function(y, *eqx.combine(jax.tree.unflatten(tree, leaves), static))

    shapes = [jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in (y, *leaves)]
    closed = jax.make_jaxpr(flat)(*shapes)
    length = int(np.prod(shapes[0].shape))
    start = Value(shapes[0].shape, scipy.sparse.identity(length, format="csr").astype(bool))
    inputs = [start, *(Value(s.shape) for s in shapes[1:])]
    (result,) = _closed(closed, inputs, Context(length))
    return matrix_of(result, Context(length))


def _closed(closed: Any, inputs: Sequence[Value], context: Context) -> list[Value]:
    return _run(closed.jaxpr, [*map(_constant, closed.consts), *inputs], context)


def _run(jaxpr: Any, inputs: Sequence[Value], context: Context) -> list[Value]:
    """The results of a jaxpr, for its constants and arguments."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def read(atom: Any) -> Value:
        return _constant(atom.val) if isinstance(atom, jex.Literal) else known[atom]

    for equation in jaxpr.eqns:
        results = _apply(equation, [read(a) for a in equation.invars], context)
        known.update(zip(equation.outvars, results, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _constant(value: Any) -> Value:
    if isinstance(value, Tracer):
        return Value(np.shape(value))
    return Value(np.shape(value), compute=lambda: np.asarray(value))


def _apply(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    name = equation.primitive.name
    shapes = [v.aval.shape for v in equation.outvars]
    independent = all(v.matrix is None for v in inputs)
    if independent and name not in _PLAIN_CALLS:
        return _independent(equation, inputs, shapes)
    if name in _CALLS:
        return _CALLS[name](equation, inputs, context)
    smooth = [np.issubdtype(_dtype(v.aval), np.inexact) for v in equation.outvars]
    if not context.values and (name in FLAT or not any(smooth)):
        return [Value(s) for s in shapes]
    if name in ELEMENTWISE:
        matrix = elementwise(name, inputs, shapes[0], context)
    elif name in RULES:
        matrix = RULES[name](equation, inputs, context)
    else:
        return everything(inputs, shapes, context)
    return [Value(shapes[0], matrix)]


def _dtype(aval: Any) -> Any:
    dtype = getattr(aval, "dtype", np.dtype(bool))
    return dtype if isinstance(dtype, np.dtype) else np.dtype(bool)


def _independent(equation: Any, inputs: list[Value], shapes: list) -> list[Value]:
    """Results that do not depend on the argument: fixed, if all operands are."""
    if equation.effects or not all(v.fixed for v in inputs):
        return [Value(s) for s in shapes]

    @functools.cache
    def results() -> Any:
        found = bind(equation, [v.numbers for v in inputs])
        return found if equation.primitive.multiple_results else [found]

    depth = 1 + max((v.depth for v in inputs), default=0)
    if depth > _DEEP:
        results()
        depth = 0
    # `i=i`: each of them its own.
    return [
        Value(s, None, lambda i=i: np.asarray(results()[i]), depth) for i, s in enumerate(shapes)
    ]


# -- calls -------------------------------------------------------------------------------------


def _inner(equation: Any) -> Any:
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if key in equation.params:
            found = equation.params[key]
            return found if hasattr(found, "consts") else jex.ClosedJaxpr(found, ())
    raise KeyError(f"{equation.primitive.name} has no jaxpr")


def _call(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    return _closed(_inner(equation), inputs, context)


def _own_derivative(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    return _call(equation, inputs, dataclasses.replace(context, values=True))


def _passed_on(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    return inputs


def _split(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    (value,) = inputs
    ends = np.cumsum(equation.params["sizes"])[:-1]
    pieces = np.split(numbered(value), ends, axis=equation.params["axis"])
    return [Value(piece.shape, picked(matrix_of(value, context), piece)) for piece in pieces]


def _unstacked(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    (value,) = inputs
    numbers = np.moveaxis(numbered(value), equation.params["axis"], 0)
    return [Value(piece.shape, picked(matrix_of(value, context), piece)) for piece in numbers]


def _cond(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    which, *operands = inputs
    branches = equation.params["branches"]
    if which.fixed:
        chosen = int(np.clip(int(which.numbers), 0, len(branches) - 1))
        return _closed(branches[chosen], operands, context)
    results = [_closed(b, operands, context) for b in branches]
    joined = [_joined(values) for values in zip(*results, strict=True)]
    return _also(joined, matrix_of(which, context), context) if context.values else joined


def _joined(values: Sequence[Value]) -> Value:
    """One of these, it is not known which."""
    matrices = [v.matrix for v in values if v.matrix is not None]
    return Value(values[0].shape, union(matrices) if matrices else None)


def _also(values: list[Value], row: Matrix, context: Context) -> list[Value]:
    return [
        Value(v.shape, matrix_of(v, context) + picked(row, np.zeros(v.size, int))) for v in values
    ]


def _while(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    p = equation.params
    first = p["cond_nconsts"]
    constants = inputs[first : first + p["body_nconsts"]]
    carry = inputs[first + p["body_nconsts"] :]
    if context.values:
        return everything(inputs, [v.shape for v in carry], context)

    def body(carry: list[Value]) -> list[Value]:
        return _closed(p["body_jaxpr"], [*constants, *carry], context)

    return _settled(body, carry, context)


def _settled(
    body: Callable[[list[Value]], list[Value]], carry: Sequence[Value], context: Context
) -> list[Value]:
    """What the carried values can depend on after any number of turns."""
    carry = [Value(v.shape, v.matrix) for v in carry]  # their numbers change
    for _ in range(_TURNS):
        after = body(carry)[: len(carry)]
        joined = [_joined(pair) for pair in zip(carry, after, strict=True)]
        if [_entries(v) for v in joined] == [_entries(v) for v in carry]:
            return carry
        carry = joined
    # What else is read in a turn is in the values by now, whichever way it then spreads.
    return everything(carry, [v.shape for v in carry], context)


def _entries(value: Value) -> int:
    return -1 if value.matrix is None else value.matrix.nnz


def _scan(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    p = equation.params
    split = p["num_consts"], p["num_consts"] + p["num_carry"]
    constants, carry, xs = inputs[: split[0]], inputs[split[0] : split[1]], inputs[split[1] :]
    if not carry:
        return _mapped(equation, inputs, context)
    rows = [_rows(v, context) for v in xs]
    if p["length"] * len(p["jaxpr"].jaxpr.eqns) <= _UNROLLED:
        return _unrolled(equation, constants, carry, rows, context)

    def body(carry: list[Value], each: list[Value]) -> list[Value]:
        return _closed(p["jaxpr"], [*constants, *carry, *each], context)

    each = [_any_row(v, context) for v in xs]
    carry = _settled(lambda c: body(c, each), carry, context)
    ys = body(carry, each)[len(carry) :]
    return [*carry, *(_repeated(v, p["length"]) for v in ys)]


def _rows(value: Value, context: Context) -> Callable[[int], Value]:
    """What a loop reads of an array in each turn."""
    shape = value.shape[1:]
    size = int(np.prod(shape))

    def row(i: int) -> Value:
        if value.matrix is not None:
            return Value(shape, value.matrix[i * size : (i + 1) * size])
        if value.fixed:
            return Value(shape, None, lambda: np.asarray(value.numbers)[i])
        return Value(shape)

    return row


def _any_row(value: Value, context: Context) -> Value:
    """What a loop can read of an array in whichever turn."""
    shape = value.shape[1:]
    if value.matrix is None:
        return Value(shape)
    size = int(np.prod(shape))
    return Value(shape, grouped(value.matrix, np.arange(value.size) % size, size))


def _unrolled(
    equation: Any, constants: list, carry: list, rows: list, context: Context
) -> list[Value]:
    p = equation.params
    count, collected = len(carry), []
    turns = range(p["length"])
    for i in reversed(turns) if p["reverse"] else turns:
        results = _closed(p["jaxpr"], [*constants, *carry, *(row(i) for row in rows)], context)
        carry = results[:count]
        collected.append(results[count:])
    if p["reverse"]:
        collected.reverse()
    shapes = [v.aval.shape for v in equation.outvars[count:]]
    ys = []
    for k, shape in enumerate(shapes):
        each = [results[k] for results in collected]
        some = any(v.matrix is not None for v in each)
        ys.append(Value(shape, stacked(each, context) if some else None))
    return [*carry, *ys]


def _repeated(value: Value, length: int) -> Value:
    if value.matrix is None:
        return Value((length, *value.shape))
    numbers = np.tile(np.arange(value.size), length)
    return Value((length, *value.shape), picked(value.matrix, numbers))


def _mapped(equation: Any, inputs: list[Value], context: Context) -> list[Value]:
    """A loop that carries nothing: all turns at once."""
    p = equation.params
    axes = [None] * p["num_consts"] + [0] * (len(inputs) - p["num_consts"])
    function = jax.vmap(jex.jaxpr_as_fun(p["jaxpr"]), axes, axis_size=p["length"])
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    return _closed(jax.make_jaxpr(function)(*shapes), inputs, context)


_PLAIN_CALLS: dict[str, Callable[[Any, list[Value], Context], list[Value]]] = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint"), _call),
    **dict.fromkeys(("custom_jvp_call", "custom_vjp_call"), _own_derivative),
}
_CALLS: dict[str, Callable[[Any, list[Value], Context], list[Value]]] = {
    **_PLAIN_CALLS,
    **dict.fromkeys(("optimization_barrier", "device_put", "pvary"), _passed_on),
    "cond": _cond,
    "while": _while,
    "scan": _scan,
    "split": _split,
    "unstack": _unstacked,
}
