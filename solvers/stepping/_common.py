"""What the steppers share: the state as one vector, and the defaults of their options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.core
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
    """A linear combination of rows; as sums, and nothing that XLA leaves to a library."""
    first, *rest = (weight * row for weight, row in zip(weights, stages, strict=True))
    return functools.reduce(jnp.add, rest, first)


def summed(weights: np.ndarray, stages: Sequence[Array]) -> Array:
    """The same, written out: without the rows whose weights are 0, of which there may be more."""
    total = jnp.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=False):
        if weight:
            total = total + jnp.asarray(weight, stage.dtype) * stage
    return total


def replaced(condition: Array, make: Callable[[], Any], value: Any) -> Any:
    """What `make` returns if a condition holds, and else the value, of the same form.

    A loop that is gone through once at most: a kernel takes loops, no branches (`as_one_kernel`),
    and under `vmap` nothing is made where no member wants it. Differentiable forwards alone.
    """

    def once(carry: tuple) -> tuple:
        return jnp.zeros((), bool), make()

    return jax.lax.while_loop(lambda carry: carry[0], once, (condition, value))[1]


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
        plain, arrays = _of_tracers(closed, args)

        @jax.custom_batching.custom_vmap
        def single(arrays: Any) -> Any:
            def kernel(arrays: Any) -> Any:
                return plain(arrays), [jnp.ravel(leaf)[:1] for leaf in jax.tree.leaves(arrays)]

            # XLA aborts where nothing of an argument is used: the first number always is, returned
            with set_xla_metadata(**_ONE_KERNEL):
                return jax.jit(kernel)(arrays)[0]

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
            # what reverse mode computes again has to be the steps that were taken, to the last bit
            return outer(*primals), jax.jvp(plain, primals, tangents)[1]

        return outer(arrays)

    return called


def as_own_kernels(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, compiled on a CPU for itself: nothing of it enters what uses its result.

    For large states: XLA would compute what a stencil reads once for each of its points, and a
    stencil in the order of a vector, not of its grid. A barrier it does not heed.
    """

    def called(*args: Any) -> Any:
        plain, arrays = _of_tracers(eqx.filter_closure_convert(function, *args), args)

        def whole(arrays: Any) -> Any:
            with set_xla_metadata(inlineable="true"):  # calls within are not apart
                return plain(arrays)

        with set_xla_metadata(inlineable="false"):
            return jax.jit(whole)(arrays)

    return called


def _of_tracers(closed: Any, args: tuple) -> tuple[Callable[[Any], Any], Any]:
    """A call as a function of what is being traced; what is known by then is a constant in it."""
    arrays, rest = eqx.partition((closed, args), lambda x: isinstance(x, jax.core.Tracer))

    def plain(arrays: Any) -> Any:
        whole, own = eqx.combine(arrays, rest)
        return whole(*own)

    return plain, arrays


def _plain(jaxpr: Any) -> bool:
    """Whether all is done by operations on elements, indices and sums, and loops of them."""
    for equation in jaxpr.eqns:
        if _is_one_update(equation):
            continue
        if _is_long_sum(equation):
            return False
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


def _is_long_sum(equation: Any) -> bool:
    """Whether XLA leaves it to a library, which it cannot call from within a kernel."""
    if not equation.primitive.name.startswith(("reduce_", "dot_")):
        return False
    return equation.primitive.name not in ("reduce_and", "reduce_or") and any(
        v.aval.size >= _LONG for v in equation.invars
    )


def _is_part(x: Any) -> bool:
    return isinstance(x, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr)


_LONG = 4096  # numbers, from which on XLA 0.10 takes a library for sums
_CALLS = {
    "jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "while", "scan",
    "custom_linear_solve", "reduce",
}  # fmt: skip
_PLAIN = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "blocks", "broadcast_in_dim", "cbrt", "ceil", "clamp", "concatenate",
    "convert_element_type", "copy", "cos", "cosh", "cumsum", "div", "dynamic_slice",
    "dynamic_update_slice", "eq", "erf", "exp", "exp2", "expm1", "floor", "gather", "ge", "gt",
    "integer_pow", "iota", "is_finite", "le", "log", "log1p", "logistic", "lt", "max", "min",
    "mul", "ne", "neg", "not", "optimization_barrier", "or", "pad", "pow", "reduce_and",
    "reduce_max", "reduce_min", "reduce_or", "reduce_sum", "rem", "reshape", "rev", "round",
    "rsqrt", "select_n", "sign", "sin", "sinh", "slice", "slices", "split", "sqrt", "square",
    "squeeze", "stack", "stop_gradient", "sub", "tan", "tanh", "transpose", "unstack", "xor",
}  # fmt: skip
