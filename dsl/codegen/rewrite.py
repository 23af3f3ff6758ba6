"""Functions of sympy: by which function of jax each is computed, or which expression."""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Piecewise

from .._errors import DeclarationError
from .._nodes import Static
from .._show import text
from .functions import LARGEST_ORDER

# Functions of jax by the name of sympy's; `special.` is jax.scipy.special.
_FUNCTIONS = {
    "sin": "jnp.sin", "cos": "jnp.cos", "tan": "jnp.tan",
    "asin": "jnp.arcsin", "acos": "jnp.arccos", "atan": "jnp.arctan", "atan2": "jnp.arctan2",
    "sinh": "jnp.sinh", "cosh": "jnp.cosh", "tanh": "jnp.tanh",
    "asinh": "jnp.arcsinh", "acosh": "jnp.arccosh", "atanh": "jnp.arctanh",
    "exp": "jnp.exp", "log": "jnp.log", "Abs": "jnp.abs", "sign": "jnp.sign",
    "floor": "jnp.floor", "ceiling": "jnp.ceil", "Mod": "jnp.mod", "Heaviside": "jnp.heaviside",
    "erf": "special.erf", "erfc": "special.erfc", "erfinv": "special.erfinv",
    "gamma": "special.gamma", "loggamma": "special.gammaln", "beta": "special.beta",
    "Ei": "special.expi",
}  # fmt: skip

# Finite, with finite derivatives, for every argument: they need no guard in a branch not taken.
_TOTAL = frozenset(
    ("sin", "cos", "tanh", "atan", "asinh", "Abs", "sign", "floor", "ceiling", "Heaviside", "erf",
     "erfc", "atan2")
)  # fmt: skip

_RECIPROCAL = {"cot": "tan", "sec": "cos", "csc": "sin", "coth": "tanh"}
_OF_RECIPROCAL = {
    "asec": "acos", "acsc": "asin", "acoth": "atanh", "asech": "acosh", "acsch": "asinh"
}  # fmt: skip


def rewritten(e: Any) -> sympy.Expr | None:
    """The expression by which a function is computed; None if jax has the function itself."""
    name, args = type(e).__name__, e.args
    x = args[-1]
    if name in _RECIPROCAL:
        return 1 / getattr(sympy, _RECIPROCAL[name])(x)
    if name in _OF_RECIPROCAL:
        return getattr(sympy, _OF_RECIPROCAL[name])(1 / x)
    if name == "acot":  # as atan(1/x), with a finite derivative at 0
        return Piecewise((sympy.atan2(1, x), x >= 0), (-sympy.atan2(1, -x), True))
    if name == "sech":  # these two do not overflow
        return 2 * sympy.exp(-abs(x)) / (1 + sympy.exp(-2 * abs(x)))
    if name == "csch":
        return -2 * sympy.sign(x) * sympy.exp(-abs(x)) / _call("jnp.expm1", -2 * abs(x))
    if name == "sinc":
        series = sum((-1) ** k * x ** (2 * k) / sympy.factorial(2 * k + 1) for k in range(6))
        return Piecewise((series, abs(x) < 0.1), (sympy.sin(x) / x, True))
    if name == "uppergamma":
        return sympy.gamma(args[0]) * _call("special.gammaincc", *args)
    if name == "lowergamma":
        return sympy.gamma(args[0]) * _call("special.gammainc", *args)
    if name == "frac":
        return x - sympy.floor(x)
    if name == "expint" and args[0] == 1:
        return -sympy.Ei(-x)
    if name == "erfcinv":
        return sympy.erfinv(1 - x)
    if name in ("factorial", "binomial", "RisingFactorial", "FallingFactorial"):
        return e.rewrite(sympy.gamma)
    if name == "harmonic" and len(args) == 1:
        return sympy.digamma(x + 1) + sympy.EulerGamma
    return None


def by_branches(e: Any) -> sympy.Expr | None:
    """``f(Max(x, 0))`` as a `Piecewise` of ``f(x)`` and ``f(0)``, where f may be singular at 0.

    So the slope is 0 beyond the bound and not infinity times 0. None for other expressions.
    """
    inner: Any = e.base if e.is_Pow else e.args[0] if len(e.args) == 1 else None
    if not isinstance(inner, (sympy.Max, sympy.Min, Piecewise)) or not may_be_singular(e):
        return None
    if isinstance(inner, Piecewise):
        pairs: Any = inner.args
        branches = [(value, condition) for value, condition in pairs]
    else:
        number = next((a for a in inner.args if a.is_number), None)
        if number is None:
            return None
        rest = inner.func(*(a for a in inner.args if a is not number))
        beyond = rest <= number if isinstance(inner, sympy.Max) else rest >= number
        branches = [(number, beyond), (rest, sympy.true)]
    if not any(value.is_number for value, _ in branches):
        return None
    images = [e.func(value, *e.args[1:]) for value, _ in branches]
    if any(image.is_number and not (image.is_real and image.is_finite) for image in images):
        return None
    return Piecewise(*zip(images, (condition for _, condition in branches), strict=True))


def may_be_singular(e: Any) -> bool:
    """Whether a power or function has arguments without a finite value or derivative."""
    if e.is_Pow:
        return not (e.exp.is_Integer and e.exp.is_positive)
    return isinstance(e, sympy.Function) and type(e).__name__ not in _TOTAL


def has_singular(e: Any) -> bool:
    """Whether anything inside an expression may be singular."""
    return any(may_be_singular(part) for part in e.atoms(sympy.Pow, sympy.Function))


class _JaxCall(sympy.Function):
    """A function of jax by its name in the generated source."""


def _call(name: str, *args: Any) -> Any:
    return _JaxCall(Static(name), *args)


def jax_function(e: Any) -> tuple[str, tuple]:
    """The function of jax and its arguments; braces in its text stand for the argument.

    Raises `DeclarationError` where there is none.
    """
    name, args = type(e).__name__, e.args
    if isinstance(e, _JaxCall):
        return args[0].value, args[1:]  # type: ignore[attr-defined]
    if name in _FUNCTIONS:
        return _FUNCTIONS[name], args
    order, x = args[0], args[-1]
    if name == "polygamma" and order.is_Integer and order >= 0:
        if order == 0:
            return "special.digamma", (x,)
        return f"special.polygamma({order}, {{}})", (x,)
    if name == "besseli" and order in (0, 1):
        return f"special.i{order}", (x,)
    if name == "besselj" and order.is_Integer and 0 <= order <= LARGEST_ORDER:
        return f"bessel_j({order}, {{}})", (x,)
    if name == "zeta":
        return "special.zeta", (args[0], args[1] if len(args) > 1 else sympy.S.One)
    hint = "sympy.sin, exp, erf, gamma, and others"
    if name.startswith("bessel"):
        hint = f"besselj of whole order up to {LARGEST_ORDER}, besseli of order 0 and 1"
    raise DeclarationError(
        f"{text(e)}: no such function of jax is known for these arguments (there are {hint}); "
        f"give it as a callable, sciml.forcing({name!r}, function)"
    )
