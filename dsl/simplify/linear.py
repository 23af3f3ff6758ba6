"""The coefficients of an expression that is linear in some of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Piecewise

Parts = tuple[dict[Any, Any], Any]  # coefficients by part, and the rest


def linear_parts(expression: Any, parts: Sequence[Any]) -> Parts | None:
    """``expression = sum(coefficient * part) + rest``; None if it is not linear in the parts."""
    found = _Linear(parts).parts(expression)
    if found is None:
        found = _Linear(parts).parts(sympy.expand(expression))
    return found


class _Linear:
    def __init__(self, parts: Sequence[Any]) -> None:
        self.wanted = frozenset(parts)
        self._known: dict[Any, Parts | None] = {}

    def parts(self, e: Any) -> Parts | None:
        """Coefficients and rest of an expression; each subexpression is looked at once."""
        if e in self.wanted:
            return {e: sympy.S.One}, sympy.S.Zero
        if not e.args or isinstance(e, sympy.Derivative):
            return {}, e
        if e not in self._known:
            self._known[e] = self._look_at(e)
        return self._known[e]

    def _look_at(self, e: Any) -> Parts | None:
        if isinstance(e, Piecewise):
            return self._piecewise(e)
        found = [self.parts(a) for a in e.args]
        linear = [f for f in found if f is None or f[0]]
        if not linear:
            return {}, e
        if e.is_Add and None not in found:
            return self._sum(found)
        if e.is_Mul and len(linear) == 1 and linear[0] is not None:
            coefficients, rest = linear[0]
            others = e.func(*(a for a, f in zip(e.args, found, strict=True) if f is not linear[0]))
            return {part: c * others for part, c in coefficients.items()}, rest * others
        return None

    def _sum(self, found: Sequence[Any]) -> Parts:
        terms: dict[Any, list[Any]] = {}
        for coefficients, _ in found:
            for part, coefficient in coefficients.items():
                terms.setdefault(part, []).append(coefficient)
        coefficients = {part: sympy.Add(*added) for part, added in terms.items()}
        return coefficients, sympy.Add(*(rest for _, rest in found))

    def _piecewise(self, e: Any) -> Parts | None:
        """Linear in each branch, with conditions that do not hold the parts."""
        found: Any = [self.parts(pair.expr) for pair in e.args]
        if None in found or any(pair.cond.has(*self.wanted) for pair in e.args):
            return None
        conditions = [pair.cond for pair in e.args]
        wanted = dict.fromkeys(part for f in found for part in f[0])
        if not wanted:
            return {}, e
        coefficients = {
            part: Piecewise(*zip((f[0].get(part, 0) for f in found), conditions, strict=True))
            for part in wanted
        }
        return coefficients, Piecewise(*zip((f[1] for f in found), conditions, strict=True))
