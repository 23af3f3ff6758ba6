"""Counting operations: equations of a traced function, and instructions of the compiled one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp

# What the compiler adds to pass values about, and what computes nothing.
_IDLE = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy", "call", "fusion")
)


def equations(function: Callable, *args: Any) -> int:
    """Equations in the jaxpr, those of inner jaxprs included."""
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [p for p in equation.params.values() if hasattr(p, "jaxpr")]
        total += sum(_count(p.jaxpr) for p in inner) if inner else 1
    return total


def instructions(function: Callable, *args: Any) -> Counter[str]:
    """Instructions in the optimised HLO by kind, those inside of fused loops included."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = re.findall(r"^\s+(?:ROOT )?%?\S+ = (?:\(.*?\)|\S+) ([\w-]+)\(", text, re.MULTILINE)
    return Counter(op for op in found if op not in _IDLE)


def step(field: Callable, solver: dfx.AbstractSolver, start: Any, args: Any) -> Counter[str]:
    """Instructions of one compiled step of a solver."""
    term = dfx.ODETerm(field)
    begin = jnp.zeros((), start.dtype)

    def one(y: Any, h: Any, args: Any) -> Any:
        state = solver.init(term, begin, h, y, args)
        new, error, *_ = solver.step(term, begin, h, y, args, state, made_jump=False)
        return new, error

    return instructions(one, start, begin + 1e-3, args)
