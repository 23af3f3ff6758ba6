"""The scheme of each derivative: chosen from the equations, or asked for, and told in words."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._boundary import Conditions, spatial_orders
from .._coordinates import Coordinate, is_field
from .._errors import DeclarationError
from .._split import slope_by
from .._symbols import t
from .._system import System
from .dispersion import biased_order, dispersed
from .grid import Axis
from .staggered import Middles, Staggered, find_middles, is_undamped
from .upwind import KINDS
from .volume import Volumes, find_laws

SCHEMES = ("central", "fourier", *KINDS)
FOURIER, CHEBYSHEV, STAGGERED = "Fourier", "Chebyshev", "staggered"  # in words
_UPWIND = {
    "weno": "WENO, order 5", "upwind": "upwind-biased, order 3", "biased": "biased, order {}",
}  # fmt: skip
Scheme = str | Volumes | Staggered | Mapping[Any, Any] | None

# Derivatives from where things come; conservation laws; what is taken of Fourier's coefficients.
Special = tuple[Mapping, Mapping, frozenset]
NOTHING: Special = ({}, {}, frozenset())

# From how many nodes a field goes on beyond an end, at most: with more, eigenvalues of the
# differences with what closes them have large positive real parts, on even or stretched nodes.
_DAMPED, _BIASED, _WAVES = 9, 7, 6


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """The schemes of a system.

    Fields: `special`, the derivatives that are not central; `middles`, the fields between nodes;
    `words`, for each derivative how it is computed; `closing`, from how many nodes the fields go on
    beyond the ends of a coordinate.
    """

    special: Special
    middles: Middles
    words: Mapping[Any, str]
    closing: Mapping[Coordinate, int]


def choose_schemes(
    system: System,
    owners: Sequence[Any],
    axes: Mapping[Coordinate, Axis],
    conditions: Conditions,
    scheme: Scheme,
    order: int,
) -> Chosen:
    """Chooses the schemes; `owners` are the unknowns that each equation is for.

    Raises `DeclarationError` for a scheme that there is not, or that cannot be here.
    """
    _refuse_odd(system, axes)
    orders, asked = spatial_orders(system), functools.partial(_asked, scheme, axes)
    middles = find_middles(system, owners, axes, conditions, scheme)
    _refuse_staggered(axes, middles, order)
    laws = find_laws(system, orders, asked)
    waves_from = dispersed(system, owners, orders, conditions, asked)
    upwind = _upwind(system, owners, orders, asked, order) | waves_from
    waves = [e for e in _derivatives(system) if _given(scheme, e) == "fourier"]
    fourier = frozenset(p for e in waves for p in _parts(e) if not axes[p.variables[0]].spectral)
    special = upwind, laws, fourier
    biased = {e.variables[0] for e in waves_from}
    return Chosen(
        special,
        middles,
        _words(system, axes, special, order, {s for _, s in middles}),
        _closing(system, owners, order, middles, biased),
    )


def _closing(
    system: System,
    owners: Sequence[Any],
    order: int,
    middles: Middles,
    biased: set[Coordinate],
) -> dict[Coordinate, int]:
    """From how many nodes the fields go on beyond the ends of each coordinate."""
    found = {}
    for s in system.coordinates:
        if any(c == s for _, c in middles):
            found[s] = order + 1
            continue
        waves = any(is_undamped(system, owners, u, s) for u in system.fields if s in u.args)
        most = _BIASED if s in biased else _WAVES if waves else _DAMPED
        found[s] = min(order + 2, most)
    return found


def _upwind(
    system: System,
    owners: Sequence[Any],
    orders: Mapping[Any, int],
    asked: Callable[[sympy.Derivative], Any],
    order: int,
) -> dict[Any, tuple[str, sympy.Expr]]:
    """First derivatives that are taken from where the field comes, and its speed.

    Where a field is moved along a coordinate, and nothing of it is damped there: no derivative of
    second order. Where its speed depends on fields, fronts form that are as steep as damping lets
    them be, between few nodes: central differences would blow up there.
    """
    found: dict[Any, tuple[str, sympy.Expr]] = {}
    for equation, owner in zip(system.equations, owners, strict=True):
        if owner is None or not is_field(owner):
            continue
        rate = sympy.Derivative(owner, t)
        rest: Any = equation.rhs - equation.lhs
        factor = -rest.coeff(rate)
        if factor == 0:
            continue
        for s in (s for s in owner.args if isinstance(s, Coordinate)):
            slope = sympy.Derivative(owner, s)
            kind = asked(slope)
            speed = -slope_by(rest, slope) / factor
            if kind is None:
                top, steep = (
                    orders.get((owner, s), 0),
                    any(map(is_field, speed.atoms(AppliedUndef))),
                )
                kind = "weno" if top == 1 or (top == 2 and steep and order <= 4) else "central"
            if kind in KINDS and speed != 0:
                found[slope] = kind, speed
    return found


def _refuse_odd(system: System, axes: Mapping[Coordinate, Axis]) -> None:
    """Third derivatives, and fifth ones, by one polynomial: their equations are not stable.

    Source: Merryfield, Shizgal, Properties of collocation third-derivative operators (1993).
    """
    for e in _derivatives(system):
        counts: Any = e.variable_count
        odd = [s for s, n in counts if s in axes and axes[s].spectral and n > 1 and n % 2]
        if odd:
            raise DeclarationError(
                f"{e}: derivatives of odd order from the third on grow without bound at "
                f"Chebyshev's nodes: give {odd[0]} a number of nodes, or make it periodic"
            )


def _refuse_staggered(axes: Mapping[Coordinate, Axis], middles: Middles, order: int) -> None:
    for u, s in sorted(middles, key=str):
        if order > 4 and not axes[s].periodic:
            raise DeclarationError(
                f"with order {order} the waves of {u} grow at the ends of {s}: take order 2 or 4, "
                'or, where they are damped in another way, scheme="central"'
            )
        if axes[s].spectral:
            raise DeclarationError(
                f"Staggered: {u} lies between the nodes of {s}, which are Chebyshev's: give {s} a "
                "number of nodes, or take another scheme"
            )


def _asked(scheme: Any, axes: Mapping[Coordinate, Axis], slope: Any) -> Any:
    """The scheme that was asked for, of one derivative: by the nodes of its coordinate, first."""
    if any(axes[s].spectral for s in slope.variables if s in axes):
        return CHEBYSHEV
    return _given(scheme, slope)


def _given(scheme: Any, slope: Any) -> Any:
    """The scheme that was given for a derivative."""
    kind = scheme.get(slope) if isinstance(scheme, Mapping) else scheme
    if isinstance(scheme, Staggered):
        return "central"
    if kind is not None and not isinstance(kind, Volumes) and kind not in SCHEMES:
        names = ", ".join(f'"{name}"' for name in SCHEMES)
        raise DeclarationError(
            f"scheme: one of {names}, sm.Volumes(...) or, for all of a system, sm.Staggered(), not "
            f"{kind!r}"
        )
    return kind


def _words(
    system: System,
    axes: Mapping[Coordinate, Axis],
    special: Special,
    order: int,
    apart: set[Coordinate],
) -> dict[Any, str]:
    """For each derivative by a coordinate, in words, how it is computed."""
    upwind, laws, fourier = special
    words = {}
    volumes: dict[Any, Volumes] = {}
    for found in laws.values():
        kind = next((law.volumes for law in found.values() if law is not None), None)
        volumes |= dict.fromkeys(found, kind)
    for e in _derivatives(system):
        spectral = [axes[s] for s in e.variables if s in axes and axes[s].spectral]
        if spectral:
            words[e] = f"{CHEBYSHEV}, {spectral[0].size} nodes"
        elif e in fourier:
            words[e] = FOURIER
        elif e in upwind:
            words[e] = _UPWIND[upwind[e][0]].format(biased_order(order))
        elif e in volumes:
            kind = volumes[e]
            words[e] = f"finite volumes, {kind.riemann}, limiter {kind.limiter}"
        elif apart & set(e.variables):
            words[e] = f"{STAGGERED}, order {order}"
        elif isinstance(e.expr, AppliedUndef):
            words[e] = f"central, order {order}"
        else:
            words[e] = f"difference of fluxes between the nodes, order {order}"
    return words


def _parts(e: sympy.Derivative) -> list[sympy.Derivative]:
    """A derivative by several coordinates, and those by fewer of them that it is taken of."""
    found = [e]
    variables: Any = e.variable_count
    counts = [(s, n) for s, n in variables if isinstance(s, Coordinate)]
    while len(counts) > 1:
        counts = counts[1:]
        found.append(sympy.Derivative(e.expr, *counts))
    return found


def _derivatives(system: System) -> list[sympy.Derivative]:
    """The derivatives by coordinates in the equations."""
    found: dict[sympy.Derivative, None] = {}
    for equation in system.equations:
        both = equation.lhs.atoms(sympy.Derivative) | equation.rhs.atoms(sympy.Derivative)
        found |= dict.fromkeys(sorted(both, key=str))
    return [e for e in found if any(isinstance(s, Coordinate) for s in e.variables)]
