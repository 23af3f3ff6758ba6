"""The operations of a jaxpr as Python: one line of public jax.numpy or jax.lax for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sciml.dsl.codegen.text import ATOM, elementwise, wrap

from ._text import scalar_text


@dataclasses.dataclass(frozen=True)
class Operand:
    """Text of a value; a `literal` is a bare number, which takes its type from its neighbours."""

    text: str
    level: int
    shape: tuple[int, ...]
    dtype: Any
    literal: bool = False

    @property
    def pair(self) -> tuple[str, int]:
        """Text and precedence."""
        return self.text, self.level


_FUNCTIONS = {
    "exp": "jnp.exp", "exp2": "jnp.exp2", "log": "jnp.log", "log1p": "jnp.log1p",
    "expm1": "jnp.expm1", "sin": "jnp.sin", "cos": "jnp.cos", "tan": "jnp.tan",
    "asin": "jnp.arcsin", "acos": "jnp.arccos", "atan": "jnp.arctan", "atan2": "jnp.arctan2",
    "sinh": "jnp.sinh", "cosh": "jnp.cosh", "tanh": "jnp.tanh", "asinh": "jnp.arcsinh",
    "acosh": "jnp.arccosh", "atanh": "jnp.arctanh", "sqrt": "jnp.sqrt", "rsqrt": "lax.rsqrt",
    "cbrt": "jnp.cbrt", "square": "jnp.square", "abs": "jnp.abs", "sign": "jnp.sign",
    "floor": "jnp.floor", "ceil": "jnp.ceil", "logistic": "jax.nn.sigmoid", "max": "jnp.maximum",
    "min": "jnp.minimum", "is_finite": "jnp.isfinite", "erf": "lax.erf", "erfc": "lax.erfc",
    "erf_inv": "lax.erf_inv", "lgamma": "lax.lgamma", "digamma": "lax.digamma", "rem": "jnp.fmod",
}  # fmt: skip

_INFIX = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_REDUCTIONS = {
    "reduce_max": "jnp.max", "reduce_min": "jnp.min",
    "reduce_and": "jnp.all", "reduce_or": "jnp.any",
}  # fmt: skip
_SCANS = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")

Text = tuple[str, int]


def operation(
    name: str, params: dict[str, Any], operands: Sequence[Operand], dtype_of: Callable
) -> Text | None:
    """Text and precedence of one operation, or None if it is not known; one result only.

    `dtype_of` gives the text of a type.
    """
    texts = [operand.text for operand in operands]
    pairs = [operand.pair for operand in operands]
    if name in ("add", "add_any", "sub"):
        return elementwise("add", (1, -1 if name == "sub" else 1), pairs)
    if name == "mul":
        return elementwise("mul", None, pairs)
    if name == "div" and operands[0].dtype.kind == "f":
        return elementwise("div", None, pairs)
    if name == "div":
        return f"lax.div({', '.join(typed(o, dtype_of) for o in operands)})", ATOM
    if name == "neg":
        return elementwise("neg", None, pairs)
    if name == "integer_pow":
        return elementwise("ipow", int(params["y"]), pairs)
    if name in _INFIX:
        return elementwise("compare", _INFIX[name], pairs)
    if name == "pow" and len({operand.dtype for operand in operands}) == 1:
        return elementwise("pow", None, pairs)
    if name == "pow":
        return f"lax.pow({', '.join(typed(o, dtype_of) for o in operands)})", ATOM
    if name == "not":
        return f"(~{wrap(pairs[0], ATOM)})", ATOM
    if name in ("and", "or"):
        return elementwise(name, None, pairs)
    if name in ("lt_to", "le_to"):  # a total order, in which not a number comes last
        a, b = texts
        sign = "<" if name == "lt_to" else "<="
        last = f"({b} != {b})" if name == "le_to" else f"(({a} == {a}) & ({b} != {b}))"
        return f"(({a} {sign} {b}) | {last})", ATOM
    if name in _FUNCTIONS:
        return f"{_FUNCTIONS[name]}({', '.join(texts)})", ATOM
    if name == "round":
        return f"lax.round({texts[0]}, lax.RoundingMethod.{params['rounding_method'].name})", ATOM
    if name in ("copy", "copy_p", "stop_gradient"):
        return pairs[0]
    for family in (_shaped, _indexed, _reduced):
        found = family(name, params, operands, dtype_of)
        if found is not None:
            return found, ATOM
    return None


def typed(operand: Operand, dtype_of: Callable) -> str:
    """Text of an operand as an array of its own type."""
    if not operand.literal:
        return operand.text
    return f"jnp.asarray({operand.text}, {dtype_of(operand.dtype)})"


def _shaped(name: str, p: dict, operands: Sequence[Operand], dtype_of: Callable) -> str | None:
    """Shapes, types and contractions."""
    if not operands and name != "iota":
        return None
    texts = [typed(operand, dtype_of) for operand in operands]
    if name == "convert_element_type":
        return f"jnp.asarray({operands[0].text}, {dtype_of(p['new_dtype'])})"
    if name == "broadcast_in_dim":
        shape, dims = _ints(p["shape"]), _ints(p["broadcast_dimensions"])
        if operands[0].literal:
            return f"jnp.full({shape}, {operands[0].text}, {dtype_of(operands[0].dtype)})"
        if dims == tuple(range(len(shape) - len(dims), len(shape))):
            return f"jnp.broadcast_to({texts[0]}, {shape})"
        return f"lax.broadcast_in_dim({texts[0]}, {shape}, {dims})"
    if name == "reshape" and p.get("dimensions") is None:
        return f"jnp.reshape({texts[0]}, {_ints(p['new_sizes'])})"
    if name == "squeeze":
        return f"jnp.squeeze({texts[0]}, {_ints(p['dimensions'])})"
    if name == "transpose":
        return f"jnp.transpose({texts[0]}, {_ints(p['permutation'])})"
    if name == "rev":
        return f"lax.rev({texts[0]}, {_ints(p['dimensions'])})"
    if name == "concatenate":
        return f"jnp.concatenate([{', '.join(texts)}], axis={int(p['dimension'])})"
    if name == "pad":
        config = tuple(_ints(item) for item in p["padding_config"])
        return f"lax.pad({', '.join(texts)}, {config})"
    if name == "iota":
        shape, axis = _ints(p["shape"]), int(p["dimension"])
        return f"lax.broadcasted_iota({dtype_of(p['dtype'])}, {shape}, {axis})"
    if name == "dot_general":
        return _contraction(p, operands, texts, dtype_of)
    if name == "select_n":
        return _selection(operands, dtype_of)
    if name == "clamp":
        return f"lax.clamp({', '.join(texts)})"
    return None


def _contraction(p: dict, operands: Sequence[Operand], texts: list[str], dtype_of: Callable) -> str:
    (left, right), (batch, _) = p["dimension_numbers"]
    ranks = [len(operand.shape) for operand in operands]
    plain = not batch and max(ranks) <= 2 and p["precision"] is None
    kinds = {np.dtype(o.dtype) for o in operands} | {np.dtype(p["preferred_element_type"])}
    if plain and len(kinds) == 1 and tuple(left) == (ranks[0] - 1,) and tuple(right) == (0,):
        return f"jnp.matmul({', '.join(texts)})"
    numbers = tuple(tuple(_ints(axes) for axes in pair) for pair in p["dimension_numbers"])
    settings = f"preferred_element_type={dtype_of(p['preferred_element_type'])}"
    if p["precision"] is not None:
        names = ", ".join(f"lax.Precision.{item.name}" for item in p["precision"])
        settings = f"precision=({names}), {settings}"
    return f"lax.dot_general({', '.join(texts)}, {numbers}, {settings})"


def _selection(operands: Sequence[Operand], dtype_of: Callable) -> str:
    which, *cases = operands
    bare = all(case.literal for case in cases)
    texts = [typed(case, dtype_of) if bare else case.text for case in cases]
    if which.dtype == bool:
        return f"jnp.where({which.text}, {texts[1]}, {texts[0]})"
    return f"lax.select_n({which.text}, {', '.join(typed(c, dtype_of) for c in cases)})"


def _indexed(name: str, p: dict, operands: Sequence[Operand], dtype_of: Callable) -> str | None:
    """Slices and gathers."""
    texts = [operand.text for operand in operands]
    if name == "slice":
        strides = p["strides"] or (1,) * len(p["start_indices"])
        items = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
        key = ", ".join(
            f"{int(a)}:{int(b)}" + (f":{int(s)}" if s != 1 else "") for a, b, s in items
        )
        return f"{wrap(operands[0].pair, ATOM)}[{key}]"
    if name == "dynamic_slice":
        sizes = _ints(p["slice_sizes"])
        return f"lax.dynamic_slice({texts[0]}, {row(texts[1:])}, {sizes})"
    if name == "dynamic_update_slice":
        return f"lax.dynamic_update_slice({texts[0]}, {texts[1]}, {row(texts[2:])})"
    if name == "gather":
        d = p["dimension_numbers"]
        fields = (
            "offset_dims",
            "collapsed_slice_dims",
            "start_index_map",
            "operand_batching_dims",
            "start_indices_batching_dims",
        )
        numbers = ", ".join(f"{field}={_ints(getattr(d, field))}" for field in fields)
        fill = p["fill_value"]
        settings = (
            f"slice_sizes={_ints(p['slice_sizes'])}, mode=lax.GatherScatterMode.{p['mode'].name}"
        )
        settings += "" if fill is None else f", fill_value={scalar_text(fill)}"
        indices = typed(operands[1], dtype_of)
        return (
            f"lax.gather({texts[0]}, {indices}, lax.GatherDimensionNumbers({numbers}), {settings})"
        )
    return None


def _reduced(name: str, p: dict, operands: Sequence[Operand], dtype_of: Callable) -> str | None:
    """Reductions, running reductions and convolutions."""
    texts = [operand.text for operand in operands]
    if name in ("reduce_sum", "reduce_prod"):
        kind = dtype_of(operands[0].dtype)
        function = "jnp.sum" if name == "reduce_sum" else "jnp.prod"
        return f"{function}({texts[0]}, axis={_ints(p['axes'])}, dtype={kind})"
    if name in _REDUCTIONS:
        return f"{_REDUCTIONS[name]}({texts[0]}, axis={_ints(p['axes'])})"
    if name in ("argmax", "argmin"):
        return f"lax.{name}({texts[0]}, {int(p['axes'][0])}, {dtype_of(p['index_dtype'])})"
    if name in _SCANS:
        return f"lax.{name}({texts[0]}, axis={int(p['axis'])}, reverse={bool(p['reverse'])})"
    if name == "conv_general_dilated":
        d = p["dimension_numbers"]
        specs = ", ".join(
            f"{field}={_ints(getattr(d, field))}" for field in ("lhs_spec", "rhs_spec", "out_spec")
        )
        padding = tuple(_ints(pair) for pair in p["padding"])
        return (
            f"lax.conv_general_dilated({', '.join(texts)}, {_ints(p['window_strides'])}, "
            f"{padding}, "
            f"lhs_dilation={_ints(p['lhs_dilation'])}, rhs_dilation={_ints(p['rhs_dilation'])}, "
            f"dimension_numbers=lax.ConvDimensionNumbers({specs}), "
            f"feature_group_count={int(p['feature_group_count'])}, "
            f"batch_group_count={int(p['batch_group_count'])})"
        )
    return None


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def row(texts: Sequence[str]) -> str:
    """A tuple."""
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})"
