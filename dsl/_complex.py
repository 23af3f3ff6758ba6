"""Complex unknowns as two real ones, ``psi = psi_re + I psi_im``, in all equations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import sympy
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean

from ._coordinates import At, at
from ._equations import Equation
from ._errors import DeclarationError
from ._integral import Integral
from ._neural import NeuralCall
from ._nodes import (
    ArrayNode,
    Concatenate,
    Index,
    Matmul,
    Roll,
    Scatter,
    Stack,
    Static,
    Sum,
)
from ._show import name_of, text
from ._split import in_shape_of, slope_by
from ._symbols import D, is_complex, t, unknown
from ._system import System

Pair = tuple[Any, Any]  # the real and the imaginary part
_LINEAR = (Index, Scatter, Sum, Roll, Stack, Concatenate)
_ZERO = sympy.S.Zero


@dataclasses.dataclass(frozen=True, eq=False)
class Complex:
    """How complex unknowns are written as real ones.

    Fields: `system`, as it was declared; `pairs`, for each complex unknown the two real ones;
    `observed`, the complex ones of the observed quantities, by name.
    """

    system: System
    pairs: Mapping[Any, Pair]
    observed: Mapping[str, Any]

    def split(self, e: Any) -> Pair:
        """The real and the imaginary part of an expression of the declared symbols."""
        return _Parts(self.pairs)(e)

    def whole(self, e: Any) -> Any:
        """A complex unknown, or a rate of it, of which this is a part; else the same."""
        back = {part: u for u, pair in self.pairs.items() for part in pair}
        return e.xreplace(back)

    def initial(self, given: Mapping[Any, Any]) -> dict[Any, Any]:
        """Initial values, those of complex unknowns by part."""
        found: dict[Any, Any] = {}
        for key, value in given.items():
            symbol = self._named(key)
            if symbol is None:
                found[key] = value
                continue
            found |= zip(self.split(symbol), self._parts_of(value), strict=True)
        return found

    def _named(self, key: Any) -> Any:
        """The complex unknown, or a rate of it, that a key is or names."""
        for u in self.pairs:
            for order in range(_HIGHEST):
                symbol = sympy.Derivative(u, (t, order)) if order else u
                if name_of(key) == name_of(symbol):
                    return symbol
        return None

    def _parts_of(self, value: Any) -> Pair:
        """The parts of a number, an array or an expression."""
        if isinstance(value, sympy.Basic):
            return self.split(value)
        if eqx.is_array(value):
            return jnp.real(value), jnp.imag(value)
        return np.real(value), np.imag(value)


_HIGHEST = 8  # derivatives by time of which initial values are taken


def complex_unknowns(system: System) -> list[Any]:
    """The unknowns that were declared complex."""
    return [u for u in system.survey.unknowns if is_complex(u)]


def split_complex(system: System) -> tuple[System, Complex | None]:
    """The same system of real unknowns, and how the complex ones are found again; None if none are.

    Each equation and condition gives two, its real and its imaginary part; one, if all of it is
    real. They say of themselves which part of the user's equation they are.
    """
    unknowns = complex_unknowns(system)
    if not unknowns:
        return system, None
    taken = {name_of(u) for u in (*system.survey.unknowns, *system.parameters)}
    pairs = {u: (_part(u, "re", taken), _part(u, "im", taken)) for u in unknowns}
    named = {
        k: e
        for k, e in system.observed.items()
        if is_complex(e) and not isinstance(k, AppliedUndef)
    }
    made = Complex(system, pairs, {name_of(k): e for k, e in named.items()})
    observed: dict[Any, Any] = {}
    for key, e in system.observed.items():
        parts = made.split(e)
        if key in pairs:
            observed |= zip(pairs[key], parts, strict=True)
        elif key not in named or parts[1] == 0:
            observed[key] = parts[0]
    real = System(
        *(part for e in system.equations for part in _equations(_solved(e), made)),
        initial=made.initial(system.initial),
        values=system.values,
        observed=observed,
        name=system.name,
        origin=system.origin,
        calculus=system.calculus,
        domain=system.domain,
        boundary=[part for e in system.boundary for part in _equations(e, made)],
    )
    return real, made


def _part(u: Any, suffix: str, taken: set[str]) -> Any:
    name = f"{name_of(u)}_{suffix}"
    while name in taken:
        name += "_"
    about = {"shape": u.shape} if u.shape else {}
    return unknown(name, *u.args, unit=u.unit, description=u.description, **about)


def _solved(equation: Equation) -> Equation:
    """An equation with a complex factor of a rate, as in ``I D(psi, t)``, divided by it."""
    rest = equation.lhs - equation.rhs
    rates = [d for d in rest.atoms(sympy.Derivative) if set(d.variables) == {t}]
    if len(rates) != 1 or not isinstance(rates[0].expr, AppliedUndef):
        return equation
    factor = slope_by(rest, rates[0])
    if not is_complex(factor) or factor.atoms(AppliedUndef):
        return equation
    others = sympy.expand(rest - factor * rates[0])
    if others.has(rates[0]):
        return equation
    written = equation.written or str(equation)
    right = sympy.Add(*(term / factor for term in sympy.Add.make_args(-others)))
    return Equation(rates[0], right, equation.origin, written)


def _equations(equation: Equation, made: Complex) -> Iterator[Equation]:
    """The real and the imaginary part of an equation."""
    left, right = made.split(equation.lhs), made.split(equation.rhs)
    if left[1] == right[1] == 0:
        same = (left[0], right[0]) == (equation.lhs, equation.rhs)
        yield (
            equation
            if same
            else Equation(left[0], right[0], equation.origin, equation.written or str(equation))
        )
        return
    for name, lhs, rhs in zip(("real", "imaginary"), left, right, strict=True):
        written = f"{name} part of {equation.written or equation}"
        yield Equation(lhs, rhs, equation.origin, written)


class _Parts:
    """Real and imaginary parts of expressions; each subexpression is looked at once."""

    def __init__(self, pairs: Mapping[Any, Pair]) -> None:
        self.pairs = pairs
        self._known: dict[Any, Pair] = {}

    def __call__(self, e: Any) -> Pair:
        if e not in self._known:
            self._known[e] = self._look_at(e)
        return self._known[e]

    def _look_at(self, e: Any) -> Pair:
        if e in self.pairs:
            return self.pairs[e]
        if e is sympy.I:
            return _ZERO, sympy.S.One
        if not e.args or isinstance(e, AppliedUndef | Static):
            return e, _ZERO
        for kind, rule in _RULES.items():
            if isinstance(e, kind):
                return rule(self, e)
        return self._function(e)

    def _function(self, e: Any) -> Pair:
        """Of any other function: itself, if its arguments are real."""
        parts = [self(a) for a in e.args]
        if all(imaginary == 0 for _, imaginary in parts):
            real = [r for r, _ in parts]
            return (e if tuple(real) == e.args else e.func(*real)), _ZERO
        if isinstance(e, Boolean | ArrayNode):
            raise _refused(e)
        values: dict[Any, Any] = {}
        marked = [self._marked(a, b, values) for a, b in parts]
        found = e.func(*marked).as_real_imag()
        found = [f.replace(sympy.arg, _angle) for f in found]
        if any(f.has(sympy.I, sympy.re, sympy.im) for f in found):
            raise _refused(e)
        return found[0].xreplace(values), found[1].xreplace(values)

    def _marked(self, a: Any, b: Any, values: dict[Any, Any]) -> Any:
        """``a + I b`` with symbols for what is no number, whose values are noted."""
        marks = [part if part.is_number else sympy.Dummy(real=True) for part in (a, b)]
        values.update((m, part) for m, part in zip(marks, (a, b), strict=True) if m is not part)
        return marks[0] + sympy.I * marks[1]


def _angle(z: Any) -> Any:
    a, b = z.as_real_imag()
    return sympy.atan2(b, a)


def _refused(e: Any) -> DeclarationError:
    return DeclarationError(
        f"{text(e)}: this takes real numbers alone; write it with sympy.re, sympy.im or sympy.Abs "
        "of what is complex"
    )


def _of_sum(parts: _Parts, e: Any) -> Pair:
    real, imaginary = zip(*map(parts, e.args), strict=True)
    return sympy.Add(*real), sympy.Add(*imaginary)


def _of_product(parts: _Parts, e: Any) -> Pair:
    real, imaginary, outside = sympy.S.One, _ZERO, []
    for factor in e.args:
        a, b = parts(factor)
        if b == 0:
            outside.append(a)
        elif a == 0:
            real, imaginary = -imaginary * b, real * b
        else:
            real, imaginary = real * a - imaginary * b, real * b + imaginary * a
    return sympy.Mul(*outside, real), sympy.Mul(*outside, imaginary)


def _of_power(parts: _Parts, e: Any) -> Pair:
    exponent = parts(e.exp)
    if isinstance(e.base, sympy.Abs) and e.exp.is_integer and e.exp.is_even:
        a, b = parts(e.base.args[0])  # without a root, which has no derivative at 0
        return (a**2 + b**2) ** (e.exp / 2), _ZERO
    a, b = parts(e.base)
    if b == 0 and exponent[1] == 0:
        return a ** exponent[0], _ZERO
    if exponent[1] == 0 and not e.exp.is_integer:
        size = (a**2 + b**2) ** (exponent[0] / 2)
        angle = exponent[0] * sympy.atan2(b, a)
        return size * sympy.cos(angle), size * sympy.sin(angle)
    if exponent[1] == 0:
        return parts._function(e)
    return parts(sympy.exp(e.exp * sympy.log(e.base), evaluate=False))


def _of_derivative(parts: _Parts, e: Any) -> Pair:
    a, b = parts(e.expr)
    if b == 0 and a == e.expr:
        return e, _ZERO
    by = [item for symbol, n in e.variable_count for item in (symbol, int(n))]
    return D(a, *by), D(b, *by)


def _of_place(parts: _Parts, e: Any) -> Pair:
    a, b = parts(e.expression)
    place, imaginary = parts(e.place)
    if imaginary != 0:
        raise _refused(e)
    where = {e.coordinate.name: place}
    return tuple(at(part, **where) if part != 0 else _ZERO for part in (a, b))  # type: ignore


def _of_integral(parts: _Parts, e: Any) -> Pair:
    made: Callable[[Any], Any] = lambda part: Integral(part, *e.args[1:]) if part != 0 else _ZERO  # noqa: E731
    a, b = parts(e.expression)
    return made(a), made(b)


def _of_linear(parts: _Parts, e: Any) -> Pair:
    settings = [a for a in e.args if isinstance(a, Static)]
    both = [parts(a) for a in e.operands]
    if all(b == 0 for _, b in both):
        return e.func(*(a for a, _ in both), *settings), _ZERO
    real, imaginary = (
        [in_shape_of(pair[k], a) for pair, a in zip(both, e.operands, strict=True)] for k in (0, 1)
    )
    return e.func(*real, *settings), e.func(*imaginary, *settings)


def _of_matmul(parts: _Parts, e: Any) -> Pair:
    (a, b), (c, d) = (parts(factor) for factor in e.operands)

    def product(x: Any, y: Any) -> Any:
        if x == 0 or y == 0:
            return _ZERO
        return Matmul(in_shape_of(x, e.operands[0]), in_shape_of(y, e.operands[1]))

    return product(a, c) - product(b, d), product(a, d) + product(b, c)


def _of_modulus(parts: _Parts, e: Any) -> Pair:
    a, b = parts(e.args[0])
    if b == 0:
        return sympy.Abs(a), _ZERO
    return sympy.sqrt(a**2 + b**2), _ZERO


def _of_argument(parts: _Parts, e: Any) -> Pair:
    a, b = parts(e.args[0])
    return sympy.atan2(b, a), _ZERO


def _of_conjugate(parts: _Parts, e: Any) -> Pair:
    a, b = parts(e.args[0])
    return a, -b


def _of_pieces(parts: _Parts, e: Any) -> Pair:
    both = [(parts(piece.expr), parts(piece.cond)[0]) for piece in e.args]
    real, imaginary = ([(pair[k], c) for pair, c in both] for k in (0, 1))
    if all(part == 0 for part, _ in imaginary):
        return sympy.Piecewise(*real), _ZERO
    return sympy.Piecewise(*real), sympy.Piecewise(*imaginary)


def _of_network(parts: _Parts, e: Any) -> Pair:
    both = [parts(a) for a in e.operands]
    if any(b != 0 for _, b in both):
        raise DeclarationError(
            f"{text(e)}: a network takes real numbers, and this is complex; give it the parts, "
            f"{e.network.name}(sympy.re(psi), sympy.im(psi))"
        )
    return NeuralCall(e.network, *(a for a, _ in both)), _ZERO


_RULES: dict[Any, Callable[[_Parts, Any], Pair]] = {
    sympy.Add: _of_sum,
    sympy.Mul: _of_product,
    sympy.Pow: _of_power,
    sympy.Derivative: _of_derivative,
    At: _of_place,
    Integral: _of_integral,
    NeuralCall: _of_network,
    Matmul: _of_matmul,
    _LINEAR: _of_linear,
    sympy.Piecewise: _of_pieces,
    sympy.Abs: _of_modulus,
    sympy.arg: _of_argument,
    sympy.conjugate: _of_conjugate,
    sympy.re: lambda parts, e: (parts(e.args[0])[0], _ZERO),
    sympy.im: lambda parts, e: (parts(e.args[0])[1], _ZERO),
}
