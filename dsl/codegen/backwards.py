"""Derivatives of stencils that are as quick backwards: slices and blocks of an array, together.

The transpose of a slice is a pad, and of many slices a sum of many arrays of the whole size, in
which XLA looks at each place for what lies there. Here all slices of an array are one operation,
whose transpose adds to one array in place; and blocks that are put into an array are another one,
whose transpose takes slices.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

_SMALL = 2048  # numbers, up to which a sum of pads is the cheapest

Starts = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """Where a block lies in an array."""

    starts: Starts
    shape: tuple[int, ...]

    @property
    def ends(self) -> Starts:
        """The places behind it."""
        return tuple(i + n for i, n in zip(self.starts, self.shape, strict=True))

    def batched(self, size: int) -> Block:
        """The same of an array with one more axis before."""
        return Block((0, *self.starts), (size, *self.shape))

    def meets(self, other: Block) -> bool:
        """Whether there is a place in both."""
        pairs = zip(self.starts, self.ends, other.starts, other.ends, strict=True)
        return all(a < d and c < b for a, b, c, d in pairs)


# -- operations ------------------------------------------------------------------------------------

slices_p = jax.extend.core.Primitive("slices")  # an array -> blocks of it
blocks_p = jax.extend.core.Primitive("blocks")  # blocks -> the sum of all, in zeros
slices_p.multiple_results = True


def _slices(x: Array, *, blocks: Sequence[Block]) -> list[Array]:
    return [jax.lax.slice(x, block.starts, block.ends) for block in blocks]


def _blocks(*parts: Array, blocks: Sequence[Block], shape: tuple[int, ...]) -> Array:
    if not _overlap(blocks):
        return _put(*parts, blocks=blocks, shape=shape)
    if math.prod(shape) <= _SMALL:
        return functools.reduce(jnp.add, map(functools.partial(_padded, shape), parts, blocks))
    both = list(zip(parts, blocks, strict=True))
    large = [pair for pair in both if 2 * pair[0].size > math.prod(shape)] or both[:1]
    whole = _apart(functools.reduce(jnp.add, [_padded(shape, p, b) for p, b in large]))
    for part, block in both:
        if not any(block is other for _, other in large):
            part = part + jax.lax.slice(whole, block.starts, block.ends)
            whole = jax.lax.dynamic_update_slice(whole, part, block.starts)
    return whole if len(large) == len(both) else _apart(whole)


def _apart(x: Array) -> Array:
    """The same, computed once for all that use it: XLA would do it again for each."""
    with set_xla_metadata(inlineable="false"):
        return jax.jit(lambda x: jnp.reshape(x, (1, -1)))(x).reshape(x.shape)


def _put(*parts: Array, blocks: Sequence[Block], shape: tuple[int, ...]) -> Array:
    """One after the other, in place."""
    whole = jnp.zeros(shape, parts[0].dtype)
    known: list[Block] = []
    for part, block in zip(parts, blocks, strict=True):
        if any(block.meets(other) for other in known):
            part = part + jax.lax.slice(whole, block.starts, block.ends)
        whole = jax.lax.dynamic_update_slice(whole, part, block.starts)
        known.append(block)
    return whole


def _padded(shape: tuple[int, ...], part: Array, block: Block) -> Array:
    sizes = zip(block.starts, block.ends, shape, strict=True)
    zero = jnp.zeros((), part.dtype)
    return jax.lax.pad(part, zero, [(first, n - last, 0) for first, last, n in sizes])


def _overlap(blocks: Sequence[Block]) -> bool:
    return any(a.meets(b) for a, b in itertools.combinations(blocks, 2))


def _transposed_slices(cotangents: Any, x: Any, *, blocks: Sequence[Block]) -> list:
    known = [(c, b) for c, b in zip(cotangents, blocks, strict=True) if type(c) is not ad.Zero]
    if not known:
        return [ad.Zero(x.aval)]
    parts, at = zip(*known, strict=True)
    return [blocks_p.bind(*parts, blocks=at, shape=x.aval.shape)]


def _transposed_blocks(cotangent: Any, *parts: Any, blocks: Sequence[Block], shape: Any) -> Any:
    if type(cotangent) is ad.Zero:
        return [ad.Zero(part.aval) for part in parts]
    return slices_p.bind(cotangent, blocks=blocks)


def _tangent_of_blocks(primals: Any, tangents: Any, *, blocks: Any, shape: Any) -> Any:
    value = blocks_p.bind(*primals, blocks=blocks, shape=shape)
    known = [(d, b) for d, b in zip(tangents, blocks, strict=True) if type(d) is not ad.Zero]
    if not known:
        return value, ad.Zero(jax.core.ShapedArray(shape, value.dtype).to_tangent_aval())
    parts, at = zip(*known, strict=True)
    return value, blocks_p.bind(*parts, blocks=at, shape=shape)


def _batched_slices(args: Any, axes: Any, *, blocks: Sequence[Block]) -> Any:
    x = jnp.moveaxis(args[0], axes[0], 0)
    at = tuple(block.batched(x.shape[0]) for block in blocks)
    return slices_p.bind(x, blocks=at), [0] * len(at)


def _batched_blocks(args: Any, axes: Any, *, blocks: Any, shape: Any) -> Any:
    size = next(x.shape[a] for x, a in zip(args, axes, strict=True) if a is not None)
    parts = [
        jnp.broadcast_to(x, (size, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
        for x, a in zip(args, axes, strict=True)
    ]
    at = tuple(block.batched(size) for block in blocks)
    return blocks_p.bind(*parts, blocks=at, shape=(size, *shape)), 0


def _abstract_slices(x: Any, *, blocks: Sequence[Block]) -> list:
    return [jax.core.ShapedArray(block.shape, x.dtype) for block in blocks]


def _abstract_blocks(*parts: Any, blocks: Any, shape: Any) -> Any:
    return jax.core.ShapedArray(shape, parts[0].dtype)


slices_p.def_impl(jax.jit(_slices, static_argnames="blocks"))
blocks_p.def_impl(jax.jit(_blocks, static_argnames=("blocks", "shape")))
slices_p.def_abstract_eval(_abstract_slices)
blocks_p.def_abstract_eval(_abstract_blocks)
ad.deflinear2(slices_p, _transposed_slices)
ad.primitive_jvps[blocks_p] = _tangent_of_blocks
ad.primitive_transposes[blocks_p] = _transposed_blocks
batching.primitive_batchers[slices_p] = _batched_slices
batching.primitive_batchers[blocks_p] = _batched_blocks
mlir.register_lowering(slices_p, mlir.lower_fun(_slices, multiple_results=True))
mlir.register_lowering(blocks_p, mlir.lower_fun(_blocks, multiple_results=False))


# -- a function of them ----------------------------------------------------------------------------


def quick_backwards(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; its derivatives take slices of an array, and blocks in one, together."""

    @eqx.filter_custom_jvp
    def called(*args: Any) -> Any:
        return function(*args)

    @called.def_jvp
    def derivative(primals: Any, tangents: Any) -> Any:
        moved = jax.tree.map(lambda x: x is not None, tangents, is_leaf=_is_none)
        inputs, rest = eqx.partition(primals, moved)

        def of(inputs: Any) -> Any:
            arrays, static = eqx.partition(eqx.combine(inputs, rest), eqx.is_array)

            def whole(arrays: Any) -> Any:
                return function(*eqx.combine(arrays, static))

            closed, out = jax.make_jaxpr(whole, return_shape=True)(arrays)
            found = _evaluated(closed, jax.tree.leaves(arrays))
            return jax.tree.unflatten(jax.tree.structure(out), found)

        return jax.jvp(of, (inputs,), (tangents,))

    return called


def _is_none(x: Any) -> bool:
    return x is None


def _evaluated(closed: Any, args: Sequence[Any]) -> list[Any]:
    """A jaxpr, with the slices of each array taken at once, and blocks put into it at once."""
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(jaxpr.invars, args, strict=True))
    taken: dict[Any, list[Any]] = {}
    for equation in filter(_is_slice, jaxpr.eqns):
        taken.setdefault(equation.invars[0], []).append(equation)
    used = itertools.chain(jaxpr.outvars, *(equation.invars for equation in jaxpr.eqns))
    uses = Counter(v for v in used if not isinstance(v, jax.extend.core.Literal))
    framed: dict[Any, Any] = {}

    def value(v: Any) -> Any:
        if isinstance(v, jax.extend.core.Literal):
            return v.val
        if v not in values:
            values[v] = _whole(framed[v])
        return values[v]

    for equation in jaxpr.eqns:
        if any(v in values or v in framed for v in equation.outvars):
            continue
        frame = _frame(equation, framed, uses, value)
        if frame is not None:
            framed[equation.outvars[0]] = frame
            continue
        if _is_slice(equation):
            source = equation.invars[0]
            blocks = tuple(map(_block_of, taken[source]))
            parts = slices_p.bind(value(source), blocks=blocks)
            values |= {e.outvars[0]: part for e, part in zip(taken[source], parts, strict=True)}
            continue
        out = _bound(equation, [value(v) for v in equation.invars])
        values |= dict(zip(equation.outvars, out, strict=True))
    return [value(v) for v in jaxpr.outvars]


def _bound(equation: Any, inputs: list[Any]) -> list[Any]:
    primitive = equation.primitive
    with equation.ctx.manager:
        out = primitive.bind(*inputs, **primitive.get_bind_params(equation.params))
    return list(out) if primitive.multiple_results else [out]


def _is_slice(equation: Any) -> bool:
    plain = equation.primitive.name == "slice"
    return plain and all(n == 1 for n in equation.params["strides"] or ())


def _block_of(equation: Any) -> Block:
    return Block(tuple(equation.params["start_indices"]), equation.outvars[0].aval.shape)


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Blocks that do not meet, in zeros."""

    parts: tuple[Any, ...]
    blocks: tuple[Block, ...]
    shape: tuple[int, ...]


def _whole(frame: _Frame) -> Array:
    return blocks_p.bind(*frame.parts, blocks=frame.blocks, shape=frame.shape)


def _frame(equation: Any, framed: dict, uses: dict, value: Callable) -> _Frame | None:
    """What a pad makes, or an update of that."""
    shape = equation.outvars[0].aval.shape
    widths = _padding(equation)
    if widths is not None:
        starts = tuple(int(low) for low, _, _ in widths)
        block = Block(starts, equation.invars[0].aval.shape)
        return _Frame((value(equation.invars[0]),), (block,), shape)
    if equation.primitive.name != "dynamic_update_slice":
        return None
    whole, part, *starts = equation.invars
    known = framed.get(whole)
    if known is None or uses[whole] > 1:
        return None
    if not all(isinstance(i, jax.extend.core.Literal) for i in starts):
        return None
    block = Block(tuple(int(i.val) for i in starts), part.aval.shape)
    if any(block.meets(other) for other in known.blocks):
        return None
    return _Frame((*known.parts, value(part)), (*known.blocks, block), shape)


def _padding(equation: Any) -> Any:
    """The widths of a pad with zeros."""
    inner = equation
    if equation.primitive.name in ("jit", "pjit") and equation.params["name"] == "_pad":
        known = [e for e in equation.params["jaxpr"].jaxpr.eqns if e.primitive.name == "pad"]
        if len(known) != 1:
            return None
        inner = known[0]
    if inner.primitive.name != "pad":
        return None
    zero = equation.invars[1]
    if not isinstance(zero, jax.extend.core.Literal) or np.any(zero.val != 0):
        return None
    widths = inner.params["padding_config"]
    return widths if all(a >= 0 and b >= 0 and c == 0 for a, b, c in widths) else None
