"""What the steppers share: the state as one vector, and the defaults of their options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ..linear._dense import Dense
from ..linear._structure import AbstractStructure

RTOL, ATOL = 1e-6, 1e-8  # of steppers that iterate and were given none


def flat(y: Any) -> tuple[Array, Callable[[Array], Any]]:
    """A state as one vector, and the way back."""
    if isinstance(y, Array) and y.ndim == 1:
        return y, lambda vector: vector
    return ravel_pytree(y)


def field_of(
    terms: Any, args: Any, unflat: Callable[[Array], Any]
) -> Callable[[Any, Array], Array]:
    """The rates of a state that is one vector, in the direction in which time is gone through."""
    sign = direction(terms)

    def field(t: Any, y: Array) -> Array:
        rate, _ = flat(terms.vf(t, unflat(y), args))
        return jnp.asarray(sign, y.dtype) * rate

    return field


def direction(terms: Any) -> Any:
    """1, or -1 where time runs backwards, of which the rates of a wrapped term do not tell."""
    return terms.contr(0.0, 1.0)


def blank(make: Callable[[], Any]) -> Any:
    """Zeros in the place of what a function will make."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make))


def part_of_step(output: Any, t: Any) -> Any:
    """How far a time lies within the step of a dense output, from 0 to 1."""
    span = output.t1 - output.t0
    return jnp.where(span == 0, 0.0, (t - output.t0) / jnp.where(span == 0, 1.0, span))


class PolynomialOutput(dfx.AbstractLocalInterpolation):
    """Dense output as a polynomial in the part of the step that has passed."""

    t0: Any
    t1: Any
    coefficients: Any  # of 1, s, s^2 ..., a leading axis

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        s = part_of_step(self, t0)

        def one(coefficients: Array) -> Array:
            part, total = s.astype(coefficients.dtype), jnp.zeros_like(coefficients[0])
            for coefficient in coefficients[::-1]:
                total = coefficient + part * total
            return total

        return jax.tree.map(one, self.coefficients)


def structure_of(structure: AbstractStructure | None, size: int) -> AbstractStructure:
    """The structure that was given, or none."""
    return Dense(size) if structure is None else structure


def combined(weights: Array, stages: Array) -> Array:
    """A linear combination of rows; not a product of matrices, which XLA leaves to a library."""
    return jnp.sum(weights[:, None] * stages, axis=0)


# XLA emits a call with the first attribute as one function of machine code, where it would start
# many kernels of a few operations each; the second keeps the call from being dissolved before.
_ONE_KERNEL = {"xla_cpu_small_call": "true", "inlineable": "false"}


def as_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, compiled on a CPU as one piece, if it is made of plain operations.

    For small states: on POLLU it makes a step of `Rodas5P` ten times faster. Nothing changes
    elsewhere, under `vmap` and in what derivatives add: XLA can do that neither for branches nor
    for scattered updates.
    """

    def called(*args: Any) -> Any:
        closed = eqx.filter_closure_convert(function, *args)
        if jax.default_backend() != "cpu" or not _plain(closed.jaxpr):
            return function(*args)
        # what is known while tracing is a constant of the kernel, and no argument
        arrays, rest = eqx.partition((closed, args), lambda x: isinstance(x, jax.core.Tracer))

        def plain(arrays: Any) -> Any:
            whole, own = eqx.combine(arrays, rest)
            return whole(*own)

        @jax.custom_batching.custom_vmap
        def single(arrays: Any) -> Any:
            packed, unpacked = _packed(arrays)

            def kernel(packed: Any) -> Any:
                return plain(unpacked(packed)), [vector[:1] for vector in packed]

            with set_xla_metadata(**_ONE_KERNEL):
                return jax.jit(kernel)(packed)[0]

        @single.def_vmap
        def several(size: int, batched: Any, arrays: Any) -> Any:
            axes = jax.tree.map(lambda b: 0 if b else None, batched[0])
            out = jax.vmap(plain, in_axes=(axes,), axis_size=size)(arrays)
            return out, jax.tree.map(lambda _: True, out)

        @jax.custom_jvp
        def outer(arrays: Any) -> Any:
            return single(arrays)

        @outer.defjvp
        def derivative(primals: Any, tangents: Any) -> Any:
            return jax.jvp(plain, primals, tangents)

        return outer(arrays)

    return called


def _packed(arrays: Any) -> tuple[list[Array], Callable[[list[Array]], Any]]:
    """All numbers of one type as one vector, and the way back.

    XLA aborts on an argument of a small call of which nothing is used: of these vectors the first
    number always is, as it is returned.
    """
    leaves, tree = jax.tree.flatten(arrays)
    types = sorted({leaf.dtype for leaf in leaves}, key=str)
    groups = [[n for n, leaf in enumerate(leaves) if leaf.dtype == kind] for kind in types]

    def unpacked(packed: list[Array]) -> Any:
        found: dict[int, Array] = {}
        for vector, group in zip(packed, groups, strict=True):
            ends = np.cumsum([0, *(leaves[n].size for n in group)])
            for n, start, end in zip(group, ends[:-1], ends[1:], strict=True):
                found[n] = jnp.reshape(vector[start:end], leaves[n].shape)
        return jax.tree.unflatten(tree, [found[n] for n in range(len(leaves))])

    return [jnp.concatenate([jnp.ravel(leaves[n]) for n in group]) for group in groups], unpacked


def _plain(jaxpr: Any) -> bool:
    """Whether all is done by operations on elements, indices and sums, and loops of them."""
    for equation in jaxpr.eqns:
        if _is_one_update(equation):
            continue
        name, params = equation.primitive.name, tuple(equation.params.values())
        if name == "custom_linear_solve":  # the other parts are for derivatives
            params = equation.params["jaxprs"].solve
        leaves = jax.tree.leaves(params, is_leaf=_is_part)
        inner = [getattr(p, "jaxpr", p) for p in leaves if _is_part(p)]
        known = name in (_CALLS if inner else _PLAIN)
        if not (known and all(map(_plain, inner))):
            return False
    return True


def _is_one_update(equation: Any) -> bool:
    """Whether it updates one place, for which there is more than scatter."""
    single = equation.primitive.name in ("scatter", "scatter-add")
    return single and int(np.prod(equation.invars[1].aval.shape[:-1])) == 1


def _is_part(x: Any) -> bool:
    return isinstance(x, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr)


_CALLS = {
    "jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "while", "scan",
    "custom_linear_solve",
}  # fmt: skip
_PLAIN = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "broadcast_in_dim", "cbrt", "ceil", "clamp", "concatenate", "convert_element_type", "copy",
    "cos", "cosh", "cumsum", "div", "dynamic_slice", "dynamic_update_slice", "eq", "erf", "exp",
    "exp2", "expm1", "floor", "gather", "ge", "gt", "integer_pow", "iota", "is_finite", "le",
    "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "optimization_barrier", "or", "pad", "pow",
    "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_sum", "rem", "reshape", "rev", "round", "rsqrt",
    "select_n", "sign", "sin", "sinh", "slice", "split", "sqrt", "square", "squeeze", "stack",
    "stop_gradient", "sub", "tan", "tanh", "transpose", "unstack", "xor",
}  # fmt: skip
