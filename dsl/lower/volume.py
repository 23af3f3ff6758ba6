"""Finite volumes: fluxes between cells from limited values on both sides of each face."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._coordinates import Coordinate, is_field
from .._errors import DeclarationError
from .._symbols import t
from .._system import System

RIEMANN = ("rusanov", "hll")
LIMITERS = ("van leer", "minmod", "none")
_TINY = 1e-30  # keeps the limiter of van Leer defined where nothing varies


@dataclasses.dataclass(frozen=True)
class Volumes:
    """Finite volumes for a conservation law: a Riemann solver and a limiter.

    For ``D(u, t) + D(f(u), s) = ...``, where nothing is damped along s; taken without being asked
    for where f is nonlinear. A node is the middle of its cell; on both sides of a face the field is
    continued by a limited slope, and the flux through it is that of Rusanov ("rusanov", the most
    robust) or of Harten, Lax and van Leer ("hll", sharper). What leaves one cell enters its
    neighbour. Order 2 where the field is smooth.

    Arguments
      riemann: "rusanov" or "hll".
      limiter: "van leer", "minmod" (more damping) or "none" (of order 1).
      speeds: for laws of more than two fields, the expressions of their wave speeds.

    >>> import sciml as sm
    >>> sm.Volumes("hll", limiter="minmod").riemann
    'hll'

    Sources: Rusanov, The calculation of the interaction of non-stationary shock waves (1961);
    Harten, Lax, van Leer, On upstream differencing and Godunov-type schemes for hyperbolic
    conservation laws (1983), section 3; van Leer, Towards the ultimate conservative difference
    scheme II (1974).
    """

    riemann: str = "rusanov"
    limiter: str = "van leer"
    speeds: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for what, given, known in (
            ("riemann", self.riemann, RIEMANN),
            ("limiter", self.limiter, LIMITERS),
        ):
            if given not in known:
                names = ", ".join(f'"{name}"' for name in known)
                raise DeclarationError(f"{what} is one of {names}, not {given!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """One conservation law along a coordinate: its field, its flux, and the speeds of all waves."""

    volumes: Volumes
    field: Any
    flux: sympy.Expr
    speeds: tuple[sympy.Expr, ...]
    factor: sympy.Expr  # by which the derivative that stands for the law is multiplied

    def through(self, left: Mapping[Any, Any], right: Mapping[Any, Any]) -> sympy.Expr:
        """The flux through a face with these values of the fields on both sides of it."""
        both: list[Any] = [self.flux.xreplace(side) for side in (left, right)]
        jump = right[self.field] - left[self.field]
        waves = [[speed.xreplace(side) for speed in self.speeds] for side in (left, right)]
        together = [*waves[0], *waves[1]]
        if self.volumes.riemann == "rusanov":
            fastest = sympy.Max(*(sympy.Abs(wave) for wave in together), evaluate=False)
            return (both[0] + both[1]) / 2 - fastest * jump / 2
        slowest = sympy.Min(*together, 0, evaluate=False)
        fastest = sympy.Max(*together, 0, evaluate=False)
        width = fastest - slowest
        safe = sympy.Piecewise((width, width > 0), (1, True))
        between = (fastest * both[0] - slowest * both[1] + fastest * slowest * jump) / safe
        return sympy.Piecewise((between, width > 0), ((both[0] + both[1]) / 2, True))


def limited(kind: str, before: sympy.Expr, behind: sympy.Expr) -> sympy.Expr:
    """The slope in a cell from the differences on both sides: none at an extremum."""
    if kind == "none":
        return sympy.S.Zero
    product = before * behind
    if kind == "minmod":
        small = sympy.Piecewise((before, before**2 < behind**2), (behind, True))
        return sympy.Piecewise((small, product > 0), (0, True))
    total = before + behind
    safe = sympy.Piecewise((total, product > _TINY), (1, True))
    return sympy.Piecewise((2 * product / safe, product > _TINY), (0, True))


Laws = Mapping[sympy.Derivative, Law | None]  # None for what the law of another derivative holds


def find_laws(
    system: System,
    orders: Mapping[tuple[Any, Coordinate], int],
    asked: Callable[[sympy.Derivative], Any],
) -> dict[Any, Laws]:
    """For each field the derivatives in its equation that are taken by finite volumes.

    Those of ``D(u, t) + D(f(u, v), s) + D(g(u, v), s) = ...``, where no derivative of second order
    damps u along s. By default where one of these fields has a flux that is more than a multiple of
    a field; `asked` gives the scheme that the user wants of a derivative.
    """
    terms = {u: _terms(rest, rate, orders) for u, rest, rate in _rates(system)}
    laws: dict[Any, Laws] = {u: {} for u in terms}
    for s in system.coordinates:
        here = {u: {e: c for e, c in found.items() if e.variables == (s,)}
                for u, found in terms.items()}  # fmt: skip
        here = {u: found for u, found in here.items() if found}
        kinds = {e: asked(e) for found in here.values() for e in found}
        wanted = [kind for kind in kinds.values() if isinstance(kind, Volumes)]
        nonlinear = [e for e, kind in kinds.items() if kind is None and not is_field(e.expr)]
        if not wanted and not nonlinear:
            continue
        here = {u: {e: c for e, c in found.items() if kinds[e] is None or kinds[e] in wanted}
                for u, found in here.items()}  # fmt: skip
        volumes = wanted[0] if wanted else Volumes()
        fluxes = {u: sympy.Add(*(c * e.expr for e, c in found.items()))
                  for u, found in here.items() if found}  # fmt: skip
        speeds = volumes.speeds or _speeds(fluxes, s)
        for u, flux in fluxes.items():
            first, *others = here[u]
            law = Law(volumes, u, flux, tuple(map(sympy.sympify, speeds)), 1 / here[u][first])
            laws[u] = {**laws[u], first: law, **dict.fromkeys(others)}
    return laws


def _rates(system: System) -> Iterator[tuple[Any, Any, sympy.Derivative]]:
    """The field of each equation that holds one rate alone, of a field; what is left of it."""
    for equation in system.equations:
        rest: Any = equation.rhs - equation.lhs
        rates = [r for r in rest.atoms(sympy.Derivative) if t in r.variables]
        if len(rates) == 1 and rates[0].variables == (t,) and is_field(rates[0].expr):
            yield rates[0].expr, rest, rates[0]


def _terms(
    rest: Any, rate: sympy.Derivative, orders: Mapping[tuple[Any, Coordinate], int]
) -> dict[sympy.Derivative, sympy.Expr]:
    """The derivatives of fluxes in an equation, and their constant factors beside its rate."""
    factor = -rest.coeff(rate)
    found = {}
    for e in sorted(rest.atoms(sympy.Derivative), key=str):
        first = len(e.variables) == 1 and isinstance(e.variables[0], Coordinate)
        if not first or e.expr.atoms(sympy.Derivative) or factor == 0:
            continue
        if orders.get((rate.expr, e.variables[0]), 0) > 1:
            continue
        scale = -rest.coeff(e) / factor
        constant = not scale.atoms(AppliedUndef, Coordinate) and t not in scale.free_symbols
        if scale != 0 and constant:
            found[e] = scale
    return found


def _speeds(fluxes: Mapping[Any, sympy.Expr], s: Coordinate) -> tuple[sympy.Expr, ...]:
    """The eigenvalues of the Jacobian of the fluxes."""
    marks = {u: sympy.Dummy(u.func.__name__, real=True) for u in fluxes}
    back = {mark: u for u, mark in marks.items()}
    values: list[Any] = [f.xreplace(marks) for f in fluxes.values()]
    jacobian: list[list[Any]] = [[f.diff(m) for m in marks.values()] for f in values]
    if len(fluxes) == 1:
        return (jacobian[0][0].xreplace(back),)
    if len(fluxes) == 2:
        (a, b), (c, d) = jacobian
        half, det = (a + d) / 2, a * d - b * c
        root = sympy.sqrt(sympy.Max(sympy.simplify(half**2 - det), 0, evaluate=False))
        return tuple((sympy.simplify(half) + sign * root).xreplace(back) for sign in (1, -1))
    names = ", ".join(u.func.__name__ for u in fluxes)
    raise DeclarationError(
        f"the waves along {s} of {len(fluxes)} fields together, {names}, have no simple speeds: "
        "give them, scheme=sm.Volumes(speeds=(...)), such as (v - c, v, v + c)"
    )


def sides(limiter: str, values: Sequence[sympy.Expr]) -> tuple[sympy.Expr, sympy.Expr]:
    """The values on both sides of a face, of the two cells on each side of it."""
    a, b, c, d = values
    left = b + limited(limiter, b - a, c - b) / 2
    right = c - limited(limiter, c - b, d - c) / 2
    return left, right
