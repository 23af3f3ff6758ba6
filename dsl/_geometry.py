"""Vector calculus: gradient, divergence, curl and Laplacian in any coordinates."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import sympy

from ._arrays import as_expression
from ._coordinates import Coordinate, coordinate
from ._errors import DeclarationError
from ._symbols import D


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Coordinates, and the place in Cartesian ones that they stand for.

    Made by `polar`, `cylindrical`, `spherical` and `mapped`. With the Jacobian J of the place, the
    metric is ``J^T J``; the scale of a coordinate is the root of its diagonal entry.
    """

    coordinates: tuple[Coordinate, ...]
    place: tuple[sympy.Expr, ...]
    scales: tuple[sympy.Expr, ...] | None = None

    @functools.cached_property
    def metric(self) -> sympy.Matrix:
        """How lengths are measured: ``g_ij``."""
        if self.scales is not None:
            return sympy.diag(*(h**2 for h in self.scales))
        jacobian = sympy.Matrix([[p.diff(q) for q in self.coordinates] for p in self.place])
        return (jacobian.T * jacobian).applyfunc(sympy.simplify)

    @functools.cached_property
    def volume(self) -> sympy.Expr:
        """The volume that a unit of all coordinates has: the root of the metric's determinant."""
        if self.scales is not None:
            return sympy.Mul(*self.scales)
        return sympy.simplify(sympy.sqrt(self.metric.det()))

    def lengths(self, what: str) -> tuple[sympy.Expr, ...]:
        """The scales; `what` needs them to be all that there is: coordinates at right angles."""
        if self.scales is not None:
            return self.scales
        if not self.metric.is_diagonal():
            raise DeclarationError(
                f"{what} is written in components along the coordinates, which are not at right "
                "angles here: take the laplacian, or Cartesian components"
            )
        return tuple(sympy.simplify(sympy.sqrt(g)) for g in self.metric.diagonal())


def polar(r: Coordinate, phi: Coordinate | None = None) -> Geometry:
    """Polar coordinates of the plane: the radius, and the angle if anything depends on it.

    >>> import sciml as sm
    >>> r = sm.coordinate("r")
    >>> sm.laplacian(sm.unknown("u", sm.t, r), sm.polar(r))
    Derivative(r*Derivative(u, r), r)/r
    """
    phi = coordinate("phi") if phi is None else phi
    place = (r * sympy.cos(phi), r * sympy.sin(phi))
    return Geometry((r, phi), place, (sympy.S.One, r))


def cylindrical(
    r: Coordinate, phi: Coordinate | None = None, z: Coordinate | None = None
) -> Geometry:
    """Cylindrical coordinates: the radius, the angle and the height.

    >>> import sciml as sm
    >>> r, z = sm.coordinates("r z")
    >>> sm.cylindrical(r, z=z).volume
    r
    """
    phi = coordinate("phi") if phi is None else phi
    z = coordinate("z") if z is None else z
    place = (r * sympy.cos(phi), r * sympy.sin(phi), z)
    return Geometry((r, phi, z), place, (sympy.S.One, r, sympy.S.One))


def spherical(
    r: Coordinate, theta: Coordinate | None = None, phi: Coordinate | None = None
) -> Geometry:
    """Spherical coordinates: the radius, the angle from the pole and that around it.

    >>> import sciml as sm
    >>> r = sm.coordinate("r")
    >>> sm.laplacian(sm.unknown("u", sm.t, r), sm.spherical(r))
    Derivative(r**2*Derivative(u, r), r)/r**2
    """
    theta = coordinate("theta") if theta is None else theta
    phi = coordinate("phi") if phi is None else phi
    place = (
        r * sympy.sin(theta) * sympy.cos(phi),
        r * sympy.sin(theta) * sympy.sin(phi),
        r * sympy.cos(theta),
    )
    return Geometry((r, theta, phi), place, (sympy.S.One, r, r * sympy.sin(theta)))


def mapped(coordinates: Sequence[Coordinate], place: Sequence[Any]) -> Geometry:
    """Coordinates of one's own: the Cartesian place that they stand for, one expression for each.

    >>> import sciml as sm
    >>> p, q = sm.coordinates("p q")
    >>> sm.mapped([p, q], [p + q / 2, q]).volume
    1
    """
    if len(coordinates) != len(place):
        raise DeclarationError(
            f"{len(coordinates)} coordinates stand for a place of as many, not of {len(place)}"
        )
    return Geometry(tuple(coordinates), tuple(as_expression(p) for p in place))


def _geometry(what: str, where: tuple[Any, ...]) -> Geometry:
    if len(where) == 1 and isinstance(where[0], Geometry):
        return where[0]
    if not where or not all(isinstance(s, Coordinate) for s in where):
        raise DeclarationError(
            f"{what}: give the coordinates, {what}(u, x, y), or a geometry such as sm.polar(r)"
        )
    return Geometry(where, where, tuple(sympy.S.One for _ in where))


def grad(u: Any, *where: Any) -> tuple[sympy.Expr, ...]:
    """The gradient of a field, in components along the coordinates: ``(1/h_i) du/dq_i``.

    `where` is the Cartesian coordinates, or a geometry.

    >>> import sciml as sm
    >>> x, y = sm.coordinates("x y")
    >>> sm.grad(sm.unknown("u", sm.t, x, y), x, y)
    (Derivative(u, x), Derivative(u, y))
    """
    geometry = _geometry("grad", where)
    scales = geometry.lengths("a gradient")
    return tuple(D(u, q) / h for q, h in zip(geometry.coordinates, scales, strict=True))


def div(flux: Sequence[Any], *where: Any) -> sympy.Expr:
    """The divergence of a vector field given by its components along the coordinates.

    ``1/V sum_i d(V F_i / h_i)/dq_i`` with the scales h and the volume V; each term is the
    difference of a flux, and conserves.

    >>> import sciml as sm
    >>> x, y = sm.coordinates("x y")
    >>> u, k = sm.unknown("u", sm.t, x, y), sm.parameter("k")
    >>> sm.div([u * g for g in sm.grad(u, x, y)], x, y)
    Derivative(u*Derivative(u, x), x) + Derivative(u*Derivative(u, y), y)
    """
    geometry = _geometry("div", where)
    _count("div", flux, len(geometry.coordinates))
    scales, volume = geometry.lengths("a divergence"), geometry.volume
    terms = (
        D(volume / h * f, q) for f, q, h in zip(flux, geometry.coordinates, scales, strict=True)
    )
    return sympy.Add(*(term / volume for term in terms))


def curl(flow: Sequence[Any], *where: Any) -> Any:
    """The curl of a vector field: three components, or one number in the plane.

    >>> import sciml as sm
    >>> x, y = sm.coordinates("x y")
    >>> u, v = sm.unknown("u", sm.t, x, y), sm.unknown("v", sm.t, x, y)
    >>> sm.curl([u, v], x, y)
    -Derivative(u, y) + Derivative(v, x)
    """
    geometry = _geometry("curl", where)
    q, h = geometry.coordinates, geometry.lengths("a curl")
    _count("curl", flow, len(q))
    along = [a * f for a, f in zip(h, flow, strict=True)]
    if len(q) == 2:
        return (D(along[1], q[0]) - D(along[0], q[1])) / (h[0] * h[1])
    if len(q) != 3:
        raise DeclarationError("curl: of two or three coordinates")
    turns = ((1, 2), (2, 0), (0, 1))
    return tuple((D(along[k], q[j]) - D(along[j], q[k])) / (h[j] * h[k]) for j, k in turns)


def laplacian(u: Any, *where: Any) -> sympy.Expr:
    """The Laplacian: ``1/V sum_ij d(V g^ij du/dq_j)/dq_i`` with the metric g and the volume V.

    Of a vector, given by its Cartesian components, take that of each.

    >>> import sciml as sm
    >>> x, y = sm.coordinates("x y")
    >>> sm.laplacian(sm.unknown("u", sm.t, x, y), x, y)
    Derivative(u, (x, 2)) + Derivative(u, (y, 2))
    """
    geometry = _geometry("laplacian", where)
    inverse, volume = geometry.metric.inv(), geometry.volume
    terms = []
    for i, q in enumerate(geometry.coordinates):
        flux = sympy.Add(
            *(
                sympy.simplify(volume * inverse[i, j]) * D(u, p)
                for j, p in enumerate(geometry.coordinates)
            )
        )
        terms.append(D(flux, q) / volume)
    return sympy.Add(*terms)


def _count(what: str, components: Sequence[Any], wanted: int) -> None:
    if len(components) != wanted:
        raise DeclarationError(
            f"{what}: {wanted} components, one for each coordinate, not {len(components)}"
        )
