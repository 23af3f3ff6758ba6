"""The part of an expression that is linear in some symbols, and the rest of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import sympy
from sympy import Piecewise

from ._nodes import (
    Concatenate,
    ConstantArray,
    Index,
    Matmul,
    Roll,
    Stack,
    Static,
    Sum,
    in_shape,
    shape_of,
)
from ._symbols import Parameter


def split(expression: Any, symbols: Iterable[Any]) -> tuple[Any, Any] | None:
    """``expression = linear + rest``, where `linear` is linear in the symbols and `rest` has none.

    None if the expression is not of this form. Array operations stay whole.
    """
    return _Split(frozenset(symbols)).parts(expression)


class _Split:
    def __init__(self, wanted: frozenset) -> None:
        self.wanted = wanted
        self._known: dict[Any, tuple[Any, Any] | None] = {}

    def parts(self, e: Any) -> tuple[Any, Any] | None:
        if e in self.wanted:
            return e, sympy.S.Zero
        if not e.args or isinstance(e, (sympy.Derivative, Static)) or not e.has(*self.wanted):
            return sympy.S.Zero, e
        if e not in self._known:
            self._known[e] = self._look_at(e)
        return self._known[e]

    def _look_at(self, e: Any) -> tuple[Any, Any] | None:
        if isinstance(e, Piecewise):
            return self._piecewise(e)
        if e.is_Mul or isinstance(e, Matmul):
            return self._product(e)
        operands = [a for a in e.args if not isinstance(a, Static)]
        found: list[Any] = [self.parts(a) for a in operands]
        if None in found:
            return None
        linear, rest = ([f[place] for f in found] for place in (0, 1))
        if e.is_Add:
            return e.func(*linear), e.func(*rest)
        if isinstance(e, (Stack, Concatenate, Index, Sum, Roll)):
            settings: Any = [a for a in e.args if isinstance(a, Static)]
            return (
                e.func(*map(in_shape_of, linear, operands), *settings),
                e.func(*map(in_shape_of, rest, operands), *settings),
            )
        return None

    def _product(self, e: Any) -> tuple[Any, Any] | None:
        """One factor holds the symbols, and the others multiply both of its parts."""
        places = [i for i, a in enumerate(e.args) if a.has(*self.wanted)]
        inner = self.parts(e.args[places[0]]) if len(places) == 1 else None
        if inner is None:
            if e.is_Mul and (expanded := sympy.expand(e)) != e:
                return self.parts(expanded)
            return None
        before, after = e.args[: places[0]], e.args[places[0] + 1 :]
        shaped = e.args[places[0]] if isinstance(e, Matmul) else sympy.S.Zero
        make: Any = e.func
        linear, rest = (make(*before, in_shape_of(part, shaped), *after) for part in inner)
        return linear, rest

    def _piecewise(self, e: Any) -> tuple[Any, Any] | None:
        found: Any = [self.parts(pair.expr) for pair in e.args]
        if None in found or any(pair.cond.has(*self.wanted) for pair in e.args):
            return None
        conditions = [pair.cond for pair in e.args]
        linear, rest = (
            Piecewise(*((f[place], c) for f, c in zip(found, conditions, strict=True)))
            for place in (0, 1)
        )
        return linear, rest


def slope_by(expression: Any, of: Any) -> Any:
    """The derivative of an expression by another one that stands in it, as if it were a symbol."""
    shape = shape_of(of)
    mark: Any = Parameter("_mark", shape=shape) if shape else sympy.Dummy("mark", real=True)
    return expression.xreplace({of: mark}).diff(mark).xreplace({mark: of})


def zero_of(symbol: Any) -> Any:
    """Zero in the shape of a symbol."""
    shape = shape_of(symbol)
    return ConstantArray(np.zeros(shape)) if shape else sympy.S.Zero


def in_shape_of(part: Any, whole: Any) -> Any:
    """A part of an expression in the shape of all of it."""
    return in_shape(part, shape_of(whole))
