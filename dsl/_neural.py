"""Opaque terms: neural networks, callables and tables, called inside equations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from ._arrays import as_expression
from ._errors import DataError, DeclarationError, ShapeError
from ._nodes import ArrayNode, shape_of
from ._symbols import check_name


class Neural(sympy.Atom):
    """A named module that may be called inside equations: made by `neural` or `forcing`.

    Fields: `name`; `module`, any callable, an Equinox module where it has leaves to train;
    `pointwise`, whether it acts on each element of its arguments; `trainable`.
    """

    __slots__ = ("module", "name", "pointwise", "trainable")

    def __new__(cls, name: str, module: Callable, pointwise: bool, trainable: bool) -> Neural:
        self = super().__new__(cls)
        self.name, self.module = name, module
        self.pointwise, self.trainable = pointwise, trainable
        return self

    def _hashable_content(self) -> tuple:
        return (self.name, id(self.module), self.pointwise, self.trainable)

    def __getnewargs__(self) -> tuple:
        return (self.name, self.module, self.pointwise, self.trainable)

    def __call__(self, *arguments: Any) -> NeuralCall:
        if not arguments:
            raise DeclarationError(
                f"{self.name}() was called without arguments: write {self.name}(x, ...), or "
                f"{self.name}(t) for a function of time"
            )
        return NeuralCall(self, *(as_expression(a) for a in arguments))

    def _sympystr(self, printer: Any) -> str:
        return self.name

    def _latex(self, printer: Any) -> str:
        return printer._print(sympy.Symbol(self.name))


class NeuralCall(ArrayNode):
    """A network applied to expressions; passes see through to its arguments only."""

    __slots__ = ("convention", "shape", "single_output")

    def __new__(cls, network: Neural, *arguments: sympy.Expr) -> NeuralCall:
        self = super().__new__(cls, network, *arguments)
        shapes = [shape_of(a) for a in arguments]
        self.convention, self.shape = _called(network, arguments, shapes)
        self.single_output = self.shape == (1,)
        if self.single_output:
            self.shape = ()
        return self

    @property
    def network(self) -> Neural:
        return self.args[0]  # type: ignore[return-value]

    @property
    def operands(self) -> tuple[sympy.Expr, ...]:
        return self.args[1:]  # type: ignore[return-value]

    def rate(self, symbol: sympy.Expr) -> sympy.Expr:
        from ._derivative import chain_rule

        return chain_rule(self, (), symbol)

    def _sympystr(self, printer: Any) -> str:
        return f"{self.network.name}({', '.join(printer._print(a) for a in self.operands)})"

    def _latex(self, printer: Any) -> str:
        inside = ", ".join(printer._print(a) for a in self.operands)
        return rf"{printer._print(self.network)}\left({inside}\right)"


def neural(
    name: str, module: Callable, *, pointwise: bool = False, trainable: bool = True
) -> Neural:
    """A network, or any callable, as an unknown term: ``f = neural("f", net)``, then ``f(x, y)``.

    `module` is called with one vector holding all arguments if it takes one argument (as Equinox's
    networks do), with the arguments themselves if it takes as many. Several outputs are taken by
    index, ``f(x, y)[0]``; a single one needs none. `pointwise` calls it for each element of its
    (broadcast) arguments: a closure on a field. Its array leaves are trained unless
    ``trainable=False``.

    Raises `DeclarationError` where `module` cannot be called, and `ShapeError` at the call where it
    does not take that many inputs.

    >>> import equinox as eqx, jax, sciml as sm
    >>> x, y = sm.unknowns("x y")
    >>> f = sm.neural("f", eqx.nn.MLP(2, 1, 8, 1, key=jax.random.key(0)))
    >>> f(x, y) - x
    -x + f(x, y)
    """
    check_name(name)
    if not callable(module):
        raise DeclarationError(
            f"{name}: a network is an Equinox module or another callable; {module!r} is neither"
        )
    return Neural(name, module, pointwise, trainable)


class Table(eqx.Module):
    """A table of values over one argument, interpolated; constant beyond its ends.

    `kind` is "linear", "cubic" (natural spline) or "previous" (steps). `values` has shape
    (time, ...).
    """

    times: Float[Array, " time"]
    coefficients: Float[Array, "degree time ..."]

    def __init__(self, times: Any, values: Any, *, kind: str = "linear") -> None:
        times, values = np.asarray(times, float), np.asarray(values, float)
        if times.ndim != 1 or len(times) < 2 or values.shape[:1] != times.shape:
            raise DataError(
                f"a table needs times of shape (n,) and values of shape (n, ...) with n >= 2, "
                f"not {times.shape} and {values.shape}"
            )
        if not np.all(np.isfinite(times)) or not np.all(np.diff(times) > 0):
            raise DataError("the times of a table must be finite and increasing: sort them")
        if not np.all(np.isfinite(values)):
            raise DataError("the values of a table must be finite: drop the rows with NaN")
        width = np.diff(times).reshape(-1, *[1] * (values.ndim - 1))
        if kind == "linear":
            coefficients = np.stack([np.diff(values, axis=0) / width, values[:-1]])
        elif kind == "cubic":
            coefficients = CubicSpline(times, values, bc_type="natural").c
        elif kind == "previous":
            coefficients = values[None, :-1]
        else:
            raise DeclarationError(f'kind is "linear", "cubic" or "previous", not {kind!r}')
        self.times = jnp.asarray(times)
        self.coefficients = jnp.asarray(coefficients)

    def __call__(self, time: Float[Array, ""]) -> Float[Array, "..."]:
        times = self.times.astype(time.dtype)
        time = jnp.clip(time, times[0], times[-1])
        piece = jnp.clip(jnp.searchsorted(times, time, side="right") - 1, 0, len(times) - 2)
        local = time - times[piece]
        value = jnp.zeros(self.coefficients.shape[2:], time.dtype)
        for coefficient in self.coefficients.astype(time.dtype):
            value = value * local + coefficient[piece]
        return value


class MissingPath(eqx.Module):
    """Stands for the path of a control until it is given: not a number."""

    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, time: Float[Array, ""]) -> Float[Array, "2 *shape"]:
        """Value and rate at one time."""
        return jnp.full((2, *self.shape), jnp.nan, time.dtype)


def forcing(name: str, source: Any, values: Any = None, *, kind: str = "linear") -> Neural:
    """A known input: a callable of its arguments, or a table of `values` at times `source`.

    ``u = forcing("u", times, values)`` and then ``u(t)`` inside an equation; tables are
    interpolated by `kind` ("linear", "cubic", "previous") and are constant beyond their ends. A
    forcing is not trained.

    >>> import sciml as sm
    >>> u = sm.forcing("u", [0, 1, 2], [0.0, 5.0, 5.0])
    >>> u(sm.t)
    u(t)
    """
    module = source if values is None else Table(source, values, kind=kind)
    return neural(name, module, trainable=False)


def _conventions(network: Neural, shapes: list[tuple[int, ...]]) -> tuple[str, ...]:
    """The ways a module may take its arguments, likeliest first.

    "apart" gives it the arguments themselves, "vector" all of them in one vector.
    """
    if _arity(network.module) not in (1, None):
        return ("apart",)
    in_size = getattr(network.module, "in_size", None)
    if len(shapes) > 1:
        return ("vector",) if _arity(network.module) == 1 else ("apart", "vector")
    scalar = network.pointwise or not shapes[0]
    if scalar and isinstance(in_size, int):
        return ("vector",)
    return ("apart", "vector") if scalar and in_size is None else ("apart",)


def _arity(module: Callable) -> int | None:
    """Number of required positional arguments; None if it cannot be told."""
    try:
        signature = inspect.signature(module)
    except (TypeError, ValueError):
        return None
    kinds = [p.kind for p in signature.parameters.values() if p.default is p.empty]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(k in (k.POSITIONAL_ONLY, k.POSITIONAL_OR_KEYWORD) for k in kinds)


def call_module(module: Callable, convention: str, pointwise: bool, *arguments: Any) -> Any:
    """Calls a module as the compiled model does; arguments are arrays of one dtype."""
    if pointwise:
        together = jnp.broadcast_arrays(*arguments)
        flat = jax.vmap(functools.partial(call_module, module, convention, False))(
            *(jnp.ravel(a) for a in together)
        )
        return jnp.reshape(flat, together[0].shape)
    if convention == "vector":
        if all(jnp.ndim(a) == 0 for a in arguments):
            return module(jnp.stack(arguments))
        return module(jnp.concatenate([jnp.ravel(a) for a in arguments]))
    return module(*arguments)


def call_each(module: Callable, convention: str, *arguments: Any) -> Any:
    """The outputs at each of several points, one after the other in one vector."""
    flat = [jnp.ravel(a) for a in jnp.broadcast_arrays(*arguments)]
    dtype = jnp.result_type(*flat)
    single = functools.partial(call_module, module, convention, False)
    return jnp.ravel(jax.vmap(single)(*(a.astype(dtype) for a in flat)))


def _called(
    network: Neural, arguments: tuple[sympy.Expr, ...], shapes: list[tuple[int, ...]]
) -> tuple[str, tuple[int, ...]]:
    """The convention that works, and the shape of the output. Nothing is computed."""
    failures = []
    for convention in _conventions(network, shapes):
        try:
            output = _output(network, shapes, convention)
        except Exception as error:  # whatever the user's module raises is reported below
            failures.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
            continue
        if not hasattr(output, "shape"):
            raise ShapeError(
                f"{network.name}: a network returns one array, not a {type(output).__name__}"
            )
        return convention, output.shape
    wanted = getattr(network.module, "in_size", None)
    wanted = 1 if wanted == "scalar" else wanted
    size = sum(int(np.prod(s)) for s in shapes)
    call_text = f"{network.name}({', '.join(str(a) for a in arguments)})"
    arity = _arity(network.module)
    if arity not in (None, 1, len(arguments)):
        raise ShapeError(
            f"{call_text}: {network.name} takes {arity} arguments, not {len(arguments)}"
        )
    if isinstance(wanted, int) and wanted != size:
        plural = "input" if wanted == 1 else "inputs"
        each = wanted == 1 and len(arguments) == 1 and not network.pointwise
        cure = "; to call it on each element, neural(..., pointwise=True)" if each else ""
        raise ShapeError(
            f"{call_text}: the network {network.name} takes {wanted} {plural}, not {size}{cure}"
        )
    received = ", ".join(map(str, shapes))
    raise ShapeError(
        f"{call_text}: {network.name} cannot be called with inputs of shape {received}; its module "
        f"raised: {failures[0]}"
    )


def _output(network: Neural, shapes: list[tuple[int, ...]], convention: str) -> Any:
    dtype = jnp.zeros(()).dtype
    dynamic, static = eqx.partition(network.module, eqx.is_array)

    def call(dynamic: Any, *inputs: Any) -> Any:
        module = eqx.combine(as_dtype(dynamic, dtype), static)
        return call_module(module, convention, network.pointwise, *inputs)

    return jax.eval_shape(call, dynamic, *(jax.ShapeDtypeStruct(s, dtype) for s in shapes))


def as_dtype(tree: Any, dtype: Any) -> Any:
    """The tree with its floating-point arrays in another precision."""

    def convert(leaf: Any) -> Any:
        floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if floating else leaf

    return jax.tree.map(convert, tree)
