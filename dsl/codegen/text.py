"""Text of operations: precedence, parentheses, numbers, indices."""

from __future__ import annotations

import math
from typing import Any

from .._arrays import thaw_key

SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 6)


def elementwise(op: str, static: Any, operands: list[tuple[str, int]]) -> tuple[str, int]:
    """Text and precedence of an elementwise operation."""
    if op == "add":
        text = ""
        for sign, operand in zip(static, operands, strict=True):
            term = wrap(operand, PRODUCT if sign > 0 or not operand[0].startswith("-") else ATOM)
            if not text:
                text = term if sign > 0 else f"-{wrap(operand, PRODUCT)}"
            elif sign > 0 and term.startswith("-"):
                text += f" - {term[1:]}"
            else:
                text += f" {'+' if sign > 0 else '-'} {term}"
        return text, SUM
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


def wrap(operand: tuple[str, int], needed: int) -> str:
    text, level = operand
    return f"({text})" if level < needed else text


def aligned(operand: tuple[str, int], shape: tuple, result: tuple) -> tuple[str, int]:
    """Leading axes made explicit, where an array meets one of higher rank."""
    if not shape or len(shape) == len(result):
        return operand
    new = ", ".join(["None"] * (len(result) - len(shape)))
    return f"{wrap(operand, ATOM)}[{new}]", ATOM


def number_text(value: float | bool) -> str:
    """Seventeen significant digits where they are needed: what reads back as the same number."""
    if isinstance(value, bool):
        return str(value)
    if math.isnan(value):
        return "jnp.nan"
    if math.isinf(value):
        return "jnp.inf" if value > 0 else "-jnp.inf"
    return repr(float(value))


def key_text(key: tuple) -> str:
    def item_text(item: Any) -> str:
        if isinstance(item, slice):
            parts = ["" if p is None else str(p) for p in (item.start, item.stop, item.step)]
            return ":".join(parts if parts[2] else parts[:2])
        return "..." if item is Ellipsis else str(item)

    return ", ".join(item_text(item) for item in thaw_key(key))
