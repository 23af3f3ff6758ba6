"""First derivatives from where a quantity comes: upwind differences and WENO."""

from __future__ import annotations

from collections.abc import Mapping

import sympy

KINDS = ("upwind", "weno")
_TINY = 1e-18  # keeps the weights of WENO defined where nothing varies, in single precision too
_SMALL = 1e-6  # squared differences, relative to all of them, that count as smooth

# Upwind-biased difference of order 3: weights of u[-2], u[-1], u[0], u[1].
BIASED = {-2: 1 / 6, -1: -1.0, 0: 1 / 2, 1: 1 / 3}


def upwinded(
    kind: str, u: Mapping[int, sympy.Expr], speed: sympy.Expr, step: sympy.Expr
) -> sympy.Expr:
    """The derivative of u, whose neighbours are given by their offset, for a speed of its motion.

    "upwind" is the biased difference of order 3; "weno" that of order 5 of Jiang and Peng, which
    does not overshoot where u has a kink.

    Source: Jiang, Peng, Weighted ENO schemes for Hamilton-Jacobi equations (2000), section 2.
    """
    one = _weno if kind == "weno" else _biased
    from_below, from_above = one(u, 1), one(u, -1)
    if speed.is_number:
        return (from_below if speed > 0 else from_above) / step
    chosen = sympy.Piecewise((from_below, speed > 0), (from_above, True))
    return chosen / step


def _biased(u: Mapping[int, sympy.Expr], sign: int) -> sympy.Expr:
    return sympy.Add(*(sign * w * u[sign * k] for k, w in BIASED.items()))


def _weno(u: Mapping[int, sympy.Expr], sign: int) -> sympy.Expr:
    """The difference of order 5, of neighbours on the side that `sign` tells (1: from below)."""
    v1, v2, v3, v4, v5 = (sign * (u[sign * (k + 1)] - u[sign * k]) for k in range(-3, 2))
    parts = (
        v1 / 3 - 7 * v2 / 6 + 11 * v3 / 6,
        -v2 / 6 + 5 * v3 / 6 + v4 / 3,
        v3 / 3 + 5 * v4 / 6 - v5 / 6,
    )
    rough = (
        sympy.Rational(13, 12) * (v1 - 2 * v2 + v3) ** 2 + (v1 - 4 * v2 + 3 * v3) ** 2 / 4,
        sympy.Rational(13, 12) * (v2 - 2 * v3 + v4) ** 2 + (v2 - v4) ** 2 / 4,
        sympy.Rational(13, 12) * (v3 - 2 * v4 + v5) ** 2 + (3 * v3 - 4 * v4 + v5) ** 2 / 4,
    )
    small = _SMALL * sympy.Add(*(v**2 for v in (v1, v2, v3, v4, v5))) + _TINY
    shares = [w / (small + r) ** 2 for w, r in zip((0.1, 0.6, 0.3), rough, strict=True)]
    total = sympy.Add(*shares)
    return sympy.Add(*(w * part for w, part in zip(shares, parts, strict=True))) / total
