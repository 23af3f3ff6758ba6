"""Neural and forcing terms as Python source."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sciml.dsl import Model, Table
from sciml.dsl.codegen.functions import bessel_j
from sciml.dsl.codegen.program import Function
from sciml.dsl.codegen.text import ATOM

from ._jaxpr import JaxprWriter
from ._primitives import Operand, typed

Signature = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class NetworkCode:
    """One term: its source, which defines ``network_<name>(w, ...)``, and its weights by name."""

    source: str
    weights: dict[str, np.ndarray]


def network_code(
    model: Model, functions: Sequence[Function], table: Callable[[np.ndarray], int]
) -> dict[str, NetworkCode]:
    """The source of each term of a model, for the shapes that the generated functions give it.

    `table` stores an array that is no weight, and returns its number.

    Raises `ExportError` for a term that uses an operation that cannot be written as Python.
    """
    signatures = _signatures(model, functions)
    return {
        name: _one(name, model.networks[name], found, model.dtype, table)
        for name, found in signatures.items()
    }


def _signatures(model: Model, functions: Sequence[Function]) -> dict[str, list[Signature]]:
    """The shapes of the arguments of each call, found by tracing."""
    found: dict[str, list[Signature]] = {name: [] for name in model.networks}

    def recorder(name: str, module: Callable) -> Callable:
        def call(*inputs: Any) -> Any:
            signature = tuple(jnp.shape(value) for value in inputs)
            if signature not in found[name]:
                found[name].append(signature)
            return module(*inputs)

        return call

    networks = {name: recorder(name, module) for name, module in model.networks.items()}
    dtype = model.dtype

    def trace(function: Function, y: Any) -> Any:
        constants = function.constants(model.parameters, dtype)
        return function(jnp.zeros((), dtype), y, constants, networks)

    for function in functions:
        jax.eval_shape(lambda y, f=function: trace(f, y), model.initial)
    return {name: signatures for name, signatures in found.items() if signatures}


def _one(
    name: str, module: Any, signatures: list[Signature], dtype: Any, table: Callable
) -> NetworkCode:
    if isinstance(module, Table):
        return _table(name, module)
    weights: dict[str, np.ndarray] = {}
    sources = []
    several = len(signatures) > 1
    for number, signature in enumerate(signatures, 1):
        function = f"network_{name}" + (f"_{number}" if several else "")
        sources.append(_function(function, name, module, signature, dtype, weights, table))
    if several:
        cases = ", ".join(f"{s}: network_{name}_{i}" for i, s in enumerate(signatures, 1))
        sources.append(
            f"def network_{name}(w, *inputs):\n"
            f'    """{name}, by the shapes of its arguments."""\n'
            f"    cases = {{{cases}}}\n"
            "    return cases[tuple(x.shape for x in inputs)](w, *inputs)\n"
        )
    return NetworkCode("\n\n".join(sources), weights)


def _function(
    function: str,
    name: str,
    module: Any,
    signature: Signature,
    dtype: Any,
    weights: dict[str, np.ndarray],
    table: Callable,
) -> str:
    """Source of a network for arguments of given shapes; its weights are added to `weights`."""
    dynamic, static = eqx.partition(module, eqx.is_array)
    leaves, structure = jax.tree.flatten(dynamic)
    labels = _labels(dynamic)

    def call(leaves: list[Any], *inputs: Any) -> Any:
        return eqx.combine(jax.tree.unflatten(structure, leaves), static)(*inputs)

    inputs = [jax.ShapeDtypeStruct(shape, dtype) for shape in signature]
    closed = jax.make_jaxpr(call)(leaves, *inputs)

    def array(value: np.ndarray) -> str:
        if value.dtype == dtype:
            label = f"constant_{len(weights) + 1}"
            weights[label] = value
            return f'w["{label}"]'
        return f"jnp.asarray(tables[{table(value)}], {writer.dtype_text(value.dtype)})"

    def leaf(label: str, value: Any) -> Operand:
        value = np.asarray(value)
        if value.dtype != dtype:
            return Operand(array(value), ATOM, value.shape, value.dtype)
        weights[label] = value
        return Operand(f'w["{label}"]', ATOM, value.shape, value.dtype)

    writer = JaxprWriter(f"the term {name}", dtype, array)
    arguments = ["x"] if len(signature) == 1 else [f"x{i}" for i in range(1, len(signature) + 1)]
    given = [leaf(label, value) for label, value in zip(labels, leaves, strict=True)]
    given += [Operand(a, ATOM, s, dtype) for a, s in zip(arguments, signature, strict=True)]
    (result,) = writer.body(closed.jaxpr, closed.consts, given)
    body = "\n".join(writer.lines) + "\n" if writer.lines else ""
    returned = f"    return {typed(result, writer.dtype_text)}\n"
    needs_type = "dtype" in re.findall(r"\w+", body + returned)
    size = sum(np.size(leaf) for leaf in leaves)
    kind = getattr(module, "__name__", type(module).__name__)
    about = f"{kind}, {size} weights" if size else f"{kind}"
    return (
        f"def {function}(w, {', '.join(arguments)}):\n"
        f'    """{name}: {about}."""\n'
        + (f"    dtype = {arguments[0]}.dtype\n" if needs_type else "")
        + body
        + returned
    )


def helper_code(text: str, dtype: Any, table: Callable[[np.ndarray], int]) -> str:
    """Source of the functions that the generated code needs: Bessel's J, and `flat`."""
    flat = "def flat(array):\n    return jnp.ravel(array)\n" if "flat(" in text else ""
    orders = sorted({int(order) for order in re.findall(r"\bbessel_j\((\d+),", text)})
    if not orders:
        return flat
    sources = [*filter(None, [flat]), *(_bessel(order, dtype, table) for order in orders)]
    cases = ", ".join(f"{order}: bessel_j{order}" for order in orders)
    sources.append(
        "def bessel_j(order, z):\n"
        '    """The Bessel function J of a whole order."""\n'
        f"    return jnp.vectorize({{{cases}}}[order])(z)\n"
    )
    return "\n\n".join(sources)


def _bessel(order: int, dtype: Any, table: Callable[[np.ndarray], int]) -> str:
    closed = jax.make_jaxpr(lambda z: bessel_j(order, z))(jax.ShapeDtypeStruct((), dtype))
    writer = JaxprWriter(
        f"J{order}",
        dtype,
        lambda a: f"jnp.asarray(tables[{table(a)}], {writer.dtype_text(a.dtype)})",
    )
    (result,) = writer.body(closed.jaxpr, closed.consts, [Operand("z", ATOM, (), dtype)])
    body = "\n".join(writer.lines)
    return (
        f'def bessel_j{order}(z):\n    """The Bessel function of order {order}, of a number."""\n'
        f"    dtype = z.dtype\n{body}\n    return {typed(result, writer.dtype_text)}\n"
    )


def _labels(tree: Any) -> list[str]:
    """Distinct names for the leaves, from their paths: ``layers_0_weight``."""
    labels: list[str] = []
    for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]:
        label = "_".join(re.findall(r"\w+", jax.tree_util.keystr(path))) or "array"
        while label in labels:
            label += "_"
        labels.append(label)
    return labels


def _table(name: str, module: Table) -> NetworkCode:
    """An interpolated table: Horner's scheme in each interval."""
    coefficients = np.asarray(module.coefficients)
    source = (
        f"def network_{name}(w, time):\n"
        f'    """{name}: a table over time, constant beyond its ends."""\n'
        '    times = w["times"]\n'
        "    time = jnp.clip(time, times[0], times[-1])\n"
        '    piece = jnp.searchsorted(times, time, side="right") - 1\n'
        f"    piece = jnp.clip(piece, 0, {len(module.times) - 2})\n"
        "    local = time - times[piece]\n"
        f"    value = jnp.zeros({coefficients.shape[2:]}, time.dtype)\n"
        f"    for degree in range({len(coefficients)}):\n"
        '        value = value * local + w["coefficients"][degree][piece]\n'
        "    return value\n"
    )
    return NetworkCode(source, {"times": np.asarray(module.times), "coefficients": coefficients})
