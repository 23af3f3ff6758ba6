"""Rules for single operations: what their results depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from .depends import (
    Context,
    Matrix,
    Value,
    combined,
    everything,
    grouped,
    matrix_of,
    numbered,
    picked,
    stacked,
    union,
)

_KERNEL = 1024  # entries of a convolution's kernel that are followed one by one


def bind(equation: Any, operands: Sequence[Any], **changed: Any) -> Any:
    """The primitive itself, on numbers."""
    with jax.ensure_compile_time_eval():
        operands = [_as_array(a, v.aval) for a, v in zip(operands, equation.invars, strict=True)]
        return equation.primitive.bind(*operands, **{**equation.params, **changed})


def _as_array(a: Any, aval: Any) -> Any:
    """Python's own numbers have no type of array."""
    return jnp.asarray(a, None if hasattr(a, "dtype") else aval.dtype)


# -- element by element ------------------------------------------------------------------------

FLAT = {"ceil", "floor", "round", "sign", "argmax", "argmin", "nextafter"}
_NAMES = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt clamp
    clz complex conj convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv
    erfc exp exp2 expm1 ge gt igamma igamma_grad_a igammac imag integer_pow is_finite le le_to
    lgamma log log1p logistic lt lt_to max min mul name ne neg not or polygamma population_count
    pow random_gamma_grad real reduce_precision regularized_incomplete_beta rem rsqrt shift_left
    shift_right_arithmetic shift_right_logical sin sinh sqrt square stop_gradient sub tan tanh
    to_edtype xor zeta ceil floor round sign nextafter
"""
ELEMENTWISE = frozenset(_NAMES.split())


def elementwise(name: str, inputs: list[Value], shape: tuple, context: Context) -> Matrix:
    size = int(np.prod(shape))
    found = [_spread(v, size) for v in inputs if v.matrix is not None]
    result = union(found)
    if name == "mul":
        for value in inputs:  # a factor that is zero for sure
            if value.matrix is None and value.fixed and not np.all(value.numbers):
                zeros = np.broadcast_to(value.numbers == 0, shape).ravel()
                result = picked(result, np.where(zeros, -1, np.arange(size)))
    return result


def _spread(value: Value, size: int) -> Matrix:
    """The rows of an operand, which may be a number beside arrays."""
    assert value.matrix is not None
    if value.size == size:
        return value.matrix
    return picked(value.matrix, np.zeros(size, int))


def _select(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    which, *cases = inputs
    size = cases[0].size
    if which.fixed:
        chosen = np.broadcast_to(np.asarray(which.numbers), cases[0].shape).astype(np.int64)
        numbers = chosen.ravel() * size + np.arange(size)
        return picked(stacked(cases, context), numbers)
    counted = [v for v in (inputs if context.values else cases) if v.matrix is not None]
    if not counted:
        return matrix_of(cases[0], context)
    return union([_spread(v, size) for v in counted])


# -- rearranging: the operation itself, on the numbers of the elements -----------------------------


def _rearranged(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    """All operands are data."""
    offsets = np.cumsum([0, *(v.size for v in inputs)]).tolist()
    numbers = [numbered(v, o) for v, o in zip(inputs, offsets, strict=False)]
    rule = _BY_NUMPY.get(equation.primitive.name)
    found = rule(equation.params, *numbers) if rule else _bind_numbers(equation, numbers)
    if len(inputs) == 1:
        return picked(matrix_of(inputs[0], context), found)
    return picked(stacked(inputs, context), found)


def _bind_numbers(equation: Any, operands: Sequence[Any], **changed: Any) -> np.ndarray:
    return np.asarray(bind(equation, operands, **changed))


_BY_NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "reshape": lambda p, a: a,
    "squeeze": lambda p, a: a,
    "transpose": lambda p, a: a.transpose(p["permutation"]),
    "rev": lambda p, a: np.flip(a, p["dimensions"]),
    "concatenate": lambda p, *a: np.concatenate(a, p["dimension"]),
    "stack": lambda p, *a: np.stack(a, p["axis"]),
    "tile": lambda p, a: np.tile(a, p["reps"]),
    "slice": lambda p, a: a[
        tuple(map(slice, p["start_indices"], p["limit_indices"], p["strides"] or [1] * a.ndim))
    ],
    "broadcast_in_dim": lambda p, a: _broadcast(a, p["shape"], p["broadcast_dimensions"]),
}


def _broadcast(a: np.ndarray, shape: Sequence[int], dimensions: Sequence[int]) -> np.ndarray:
    aligned = [1] * len(shape)
    for axis, size in zip(dimensions, a.shape, strict=True):
        aligned[axis] = size
    return np.broadcast_to(a.reshape(aligned), shape)


def _indexed(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    """The first operand's elements, found by indices: known, or any of them."""
    value, *indices = inputs
    shape = equation.outvars[0].aval.shape
    if not all(i.fixed for i in indices):
        return everything(inputs, [shape], context)[0].matrix
    changed = {"fill_value": -1} if equation.primitive.name == "gather" else {}
    numbers = [numbered(value), *(i.numbers for i in indices)]
    return picked(matrix_of(value, context), _bind_numbers(equation, numbers, **changed))


def _updated(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    value, update, *starts = inputs
    if not all(i.fixed for i in starts):
        return everything(inputs, [value.shape], context)[0].matrix
    numbers = [numbered(value), numbered(update, value.size), *(i.numbers for i in starts)]
    return picked(stacked([value, update], context), _bind_numbers(equation, numbers))


def _scattered(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    """Each element keeps its own dependence, unless it is replaced, and takes in its updates'."""
    value, indices, updates = inputs
    if not indices.fixed:
        return everything(inputs, [value.shape], context)[0].matrix
    params = equation.params
    names = "indices_are_sorted", "unique_indices", "mode"
    kept = {name: params[name] for name in names}

    def add(updates: Any) -> Any:
        start = jnp.zeros(value.shape, updates.dtype)
        return jax.lax.scatter_add(
            start, jnp.asarray(indices.numbers), updates, params["dimension_numbers"], **kept
        )

    with jax.ensure_compile_time_eval():
        example = jax.ShapeDtypeStruct(updates.shape, jnp.zeros(()).dtype)
        places = jnp.arange(1, value.size + 1, dtype=example.dtype).reshape(value.shape)
        (found,) = jax.linear_transpose(add, example)(places)
    targets = np.ravel(np.asarray(found)).astype(np.int64) - 1  # 0 for one that falls outside
    moved = grouped(matrix_of(updates, context), targets, value.size)
    old = matrix_of(value, context)
    if equation.primitive.name == "scatter":
        replaced = np.isin(np.arange(value.size), targets)
        old = picked(old, np.where(replaced, -1, np.arange(value.size)))
    return old + moved


# -- sums --------------------------------------------------------------------------------------


def _reduced(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    (value,) = inputs
    axes = equation.params["axes"]
    kept = [1 if axis in axes else size for axis, size in enumerate(value.shape)]
    count = int(np.prod(kept))
    groups = np.broadcast_to(np.arange(count).reshape(kept), value.shape)
    return grouped(matrix_of(value, context), groups, count)


def _cumulated(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    (value,) = inputs
    axis, length = equation.params["axis"], value.shape[equation.params["axis"]]
    numbers = np.moveaxis(numbered(value), axis, 0).reshape(length, -1)
    if equation.params["reverse"]:
        numbers = numbers[::-1]
    later, earlier = np.tril_indices(length)
    return combined(
        matrix_of(value, context), numbers[later].ravel(), numbers[earlier].ravel(), value.size
    )


def _dot(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    found = [
        _one_sided(equation.params["dimension_numbers"], inputs, side, context)
        for side in (0, 1)
        if inputs[side].matrix is not None
    ]
    return union(found)


def _one_sided(dimensions: tuple, values: list[Value], side: int, context: Context) -> Matrix:
    """What a product owes to one factor: of the other one, only zeros that are fixed matter.

    The axes of a factor are brought into the order batch, free, contracted.
    """
    contracted, batch = dimensions
    numbers, free = [], []
    for value, c, b in zip(values, contracted, batch, strict=True):
        rest = [k for k in range(len(value.shape)) if k not in (*c, *b)]
        sizes = [int(np.prod([value.shape[k] for k in axes], dtype=int)) for axes in (b, rest, c)]
        numbers.append(numbered(value).transpose([*b, *rest, *c]).reshape(sizes))
        free.append(sizes[1])
    mine, other = numbers[side], values[1 - side]
    outputs = np.arange(mine.shape[0] * free[0] * free[1]).reshape(-1, *free)
    if side == 1:
        outputs = outputs.swapaxes(1, 2)  # batch, mine, other's
    matrix = matrix_of(values[side], context)
    mask = np.ones(other.shape, bool).ravel()
    if other.matrix is None and other.fixed:
        mask = np.ravel(np.asarray(other.numbers) != 0)
    mask = mask[numbers[1 - side]]
    if mask.all():  # one sum for all elements that the other factor makes of it
        count = mine.shape[0] * mine.shape[1]
        groups, place = np.empty(mine.size, int), np.empty(outputs.size, int)
        groups[mine.reshape(count, -1)] = np.arange(count)[:, None]
        place[outputs.reshape(count, -1)] = np.arange(count)[:, None]
        return picked(grouped(matrix, groups, count), place)
    b, j, k = np.nonzero(mask)
    return combined(matrix, outputs[b, :, j].ravel(), mine[b, :, k].ravel(), outputs.size)


def _convolved(equation: Any, inputs: list[Value], context: Context) -> Matrix:
    """One convolution for each entry of the kernel, with that entry alone, finds what it reads."""
    value, kernel = inputs
    shape = equation.outvars[0].aval.shape
    entries = np.ones(kernel.size, bool)
    if kernel.fixed:
        entries = np.ravel(np.asarray(kernel.numbers) != 0)
    if kernel.matrix is not None or entries.sum() > _KERNEL:
        return everything(inputs, [shape], context)[0].matrix
    count = int(np.prod(shape))
    dtype = equation.invars[0].aval.dtype
    numbers = np.arange(1, value.size + 1).reshape(value.shape)
    if value.size >= 1 / np.finfo(dtype).eps:
        return everything(inputs, [shape], context)[0].matrix
    targets, sources = [], []
    for entry in np.flatnonzero(entries):
        alone = np.zeros(kernel.size)
        alone[entry] = 1
        operands = numbers.astype(dtype), alone.reshape(kernel.shape).astype(dtype)
        precise = {"precision": (jax.lax.Precision.HIGHEST,) * 2}
        read = np.real(_bind_numbers(equation, operands, **precise))
        read = np.ravel(np.rint(read)).astype(int) - 1
        kept = np.flatnonzero(read >= 0)
        targets.append(kept)
        sources.append(read[kept])
    if not targets:
        return scipy.sparse.csr_matrix((count, context.length), dtype=bool)
    return combined(
        matrix_of(value, context), np.concatenate(targets), np.concatenate(sources), count
    )


_SCATTERS = "", "-add", "-sub", "-mul", "-min", "-max"
RULES: dict[str, Callable[[Any, list[Value], Context], Matrix]] = {
    **dict.fromkeys((*_BY_NUMPY, "pad", "expand_dims"), _rearranged),
    **dict.fromkeys(("gather", "dynamic_slice"), _indexed),
    **dict.fromkeys((f"scatter{kind}" for kind in _SCATTERS), _scattered),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin"), _reduced
    ),
    **dict.fromkeys(("reduce_and", "reduce_or", "reduce_xor"), _reduced),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _cumulated),
    "dynamic_update_slice": _updated,
    "select_n": _select,
    "dot_general": _dot,
    "conv_general_dilated": _convolved,
}
