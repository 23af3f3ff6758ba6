"""Text of operations: precedence, parentheses, numbers, indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._nodes import thaw_key

SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 6)

Text = tuple[str, int]  # with its precedence


def elementwise(op: str, static: Any, operands: Sequence[Text]) -> Text:
    """An elementwise operation over its operands."""
    if op == "add":
        return _sum(static, operands), SUM
    if op == "mul":
        first, *rest = operands
        return "*".join([wrap(first, PRODUCT), *(wrap(o, POWER) for o in rest)]), PRODUCT
    if op == "div":
        return f"{wrap(operands[0], PRODUCT)}/{wrap(operands[1], POWER)}", PRODUCT
    if op == "neg":
        return f"-{wrap(operands[0], PRODUCT)}", UNARY
    if op == "ipow":
        return f"{wrap(operands[0], ATOM)}**{static}", POWER
    if op == "pow":
        return f"{wrap(operands[0], ATOM)}**{wrap(operands[1], ATOM)}", POWER
    texts = [text for text, _ in operands]
    if op == "function":
        if "{" in static:
            return static.format(*texts), ATOM
        return f"{static}({', '.join(texts)})", ATOM
    if op == "where":
        return f"jnp.where({', '.join(texts)})", ATOM
    if op == "compare":
        return f"({texts[0]} {static} {texts[1]})", ATOM
    if op in ("and", "or"):
        return f"({texts[0]} {'&' if op == 'and' else '|'} {texts[1]})", ATOM
    if op == "not":
        return f"jnp.logical_not({texts[0]})", ATOM
    raise AssertionError(op)


def _sum(signs: Sequence[int], operands: Sequence[Text]) -> str:
    text = ""
    for sign, operand in zip(signs, operands, strict=True):
        term = wrap(operand, PRODUCT if sign > 0 or not operand[0].startswith("-") else ATOM)
        if not text:
            text = term if sign > 0 else f"-{wrap(operand, PRODUCT)}"
        elif sign > 0 and term.startswith("-"):
            text += f" - {term[1:]}"
        else:
            text += f" {'+' if sign > 0 else '-'} {term}"
    return text


def array_operation(
    op: str, static: Any, operands: Sequence[Text], shapes: Sequence[tuple], shape: tuple
) -> str:
    """An operation on whole arrays; `shapes` are those of its operands, `shape` its own."""
    texts = [text for text, _ in operands]
    if op == "index":
        return f"{wrap(operands[0], ATOM)}[{key_text(static[0])}]"
    if op == "matmul":
        return f"jnp.matmul({texts[0]}, {texts[1]})"
    if op == "sum":
        return f"jnp.sum({texts[0]}, axis={static[0]})"
    if op == "roll":
        return f"jnp.roll({texts[0]}, {static[0]}, axis={static[1]})"
    if op == "cumulated":
        return f"jnp.cumsum({texts[0]}, axis={static[0]})"
    if op == "fourier":
        axis, odd = static
        parts = [texts[1], f"0.0*{wrap(operands[1], POWER)}"]
        factors = f"lax.complex({', '.join(reversed(parts) if odd else parts)})"
        waves = f"{factors}*jnp.fft.rfft({texts[0]}, axis={axis})"
        return f"jnp.fft.irfft({waves}, n={shape[axis]}, axis={axis})"
    if op == "pad":
        return f"jnp.pad({texts[0]}, {static[0]})"
    if op == "update":
        return f"lax.dynamic_update_slice({texts[0]}, {texts[1]}, {static[0]})"
    if op in ("stack", "concatenate"):
        if op == "stack":
            texts = _broadcast(texts, shapes, shape[1:])
        return f"jnp.{op}([{', '.join(texts)}])"
    if op == "solve":
        return _solve(_broadcast(texts, shapes, shape[1:]), shape[0])
    if op == "matrix":
        return f"jnp.reshape(jnp.stack([{', '.join(texts)}]), {shape})"
    if op == "factor":
        return f"linalg.lu_factor({texts[0]})"
    if op == "backsolve":
        return f"linalg.lu_solve({texts[0]}, {texts[1]})"
    if op == "solvematrix":
        return f"jnp.linalg.solve({texts[0]}, {texts[1]})"
    if op == "any":
        return f"jnp.any({texts[0]})"
    if op == "reshape":
        return f"jnp.reshape({texts[0]}, {shape})"
    if op == "call":
        return _call(static, texts, shapes)
    if op in ("derivative", "tangent", "cotangent"):
        name, *settings = static
        given = ", ".join([*(repr_text(setting) for setting in settings), *texts])
        return f'{op}(networks["{name}"], {given})'
    raise AssertionError(op)


def _broadcast(texts: Sequence[str], shapes: Sequence[tuple], wanted: tuple) -> list[str]:
    return [
        text if shape == wanted else f"jnp.broadcast_to({text}, {wanted})"
        for text, shape in zip(texts, shapes, strict=True)
    ]


def _solve(texts: Sequence[str], k: int) -> str:
    """The k x k matrix row by row, then the right-hand sides; solved at each element."""
    rows = [f"jnp.stack([{', '.join(texts[k * i : k * i + k])}], -1)" for i in range(k)]
    matrix = f"jnp.stack([{', '.join(rows)}], -2)"
    right = f"jnp.stack([{', '.join(texts[k * k :])}], -1)[..., None]"
    return f"jnp.moveaxis(jnp.linalg.solve({matrix}, {right})[..., 0], -1, 0)"


def _call(static: Any, texts: Sequence[str], shapes: Sequence[tuple]) -> str:
    name, convention, pointwise, single = static
    given = ", ".join(texts)
    if convention == "apart" and not pointwise:
        text = f'networks["{name}"]({given})'
    elif convention == "vector" and not pointwise and not any(shapes):
        text = f'networks["{name}"](jnp.stack([{given}]))'
    else:
        text = f'call(networks["{name}"], "{convention}", {pointwise}, {given})'
    return f"jnp.reshape({text}, ())" if single else text


def repr_text(setting: Any) -> str:
    """A setting as it is written, text in double quotes."""
    return f'"{setting}"' if isinstance(setting, str) else repr(setting)


def wrap(operand: Text, needed: int) -> str:
    """The text, in parentheses if it binds less than is needed."""
    text, level = operand
    return f"({text})" if level < needed else text


def aligned(operand: Text, shape: tuple, result: tuple) -> Text:
    """Leading axes made explicit, where an array meets one of higher rank."""
    if not shape or len(shape) == len(result):
        return operand
    new = ", ".join(["None"] * (len(result) - len(shape)))
    return f"{wrap(operand, ATOM)}[{new}]", ATOM


def number_text(value: float) -> str:
    """Seventeen significant digits where they are needed: what reads back as the same number."""
    if math.isnan(value):
        return "jnp.nan"
    if math.isinf(value):
        return "jnp.inf" if value > 0 else "-jnp.inf"
    return repr(float(value))


def key_text(key: tuple) -> str:
    """An index as it is written between brackets."""

    def item_text(item: Any) -> str:
        if isinstance(item, slice):
            parts = ["" if p is None else str(p) for p in (item.start, item.stop, item.step)]
            return ":".join(parts if parts[2] else parts[:2])
        return "..." if item is Ellipsis else str(item)

    return ", ".join(item_text(item) for item in thaw_key(key))
