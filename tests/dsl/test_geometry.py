"""Vector calculus: against fields whose derivatives are known in Cartesian coordinates."""

import pytest
import sympy
from sympy import cos, sin

import sciml as sm
from sciml import t

r, theta, phi, z = sm.coordinates("r theta phi z")
p, q = sm.coordinates("p q")

GEOMETRIES = {
    "polar": sm.polar(r, phi),
    "cylindrical": sm.cylindrical(r, phi, z),
    "spherical": sm.spherical(r, theta, phi),
    "sheared": sm.mapped([p, q], [p + q / 2, q]),
    "bent": sm.mapped([p, q], [p, q + p**2]),
}


def cartesian(expression, symbols):
    """The Laplacian by the Cartesian coordinates themselves."""
    return sympy.Add(*(expression.diff(s, 2) for s in symbols))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_laplacian_is_the_cartesian_one(name):
    geometry = GEOMETRIES[name]
    x = sympy.symbols(f"x:{len(geometry.place)}", real=True)
    field = x[0] ** 3 * x[1] + sin(x[1]) + (x[2] ** 2 * x[0] if len(x) > 2 else 0)
    place = dict(zip(x, geometry.place, strict=True))
    u = sm.unknown("u", t, *geometry.coordinates)
    found = sm.laplacian(u, geometry).subs(u, field.subs(place)).doit()
    point = dict(zip(geometry.coordinates, (0.7, 0.4, 0.3), strict=False))
    right = cartesian(field, x).subs(place)
    assert abs(float((found - right).subs(point))) < 1e-12


@pytest.mark.parametrize("name", ["polar", "cylindrical", "spherical"])
def test_the_divergence_of_a_gradient_is_the_laplacian(name):
    geometry = GEOMETRIES[name]
    u = sm.unknown("u", t, *geometry.coordinates)
    field = r**2 * cos(phi) + r * theta + z
    point = {r: 0.7, theta: 0.4, phi: 0.3, z: 0.2}
    both = sm.div(sm.grad(u, geometry), geometry), sm.laplacian(u, geometry)
    left, right = (float(e.subs(u, field).doit().subs(point)) for e in both)
    assert abs(left - right) < 1e-12


def test_the_curl_of_a_gradient_vanishes():
    geometry = GEOMETRIES["spherical"]
    u = sm.unknown("u", t, *geometry.coordinates)
    field = r**2 * cos(phi) * theta
    point = {r: 0.7, theta: 0.4, phi: 0.3}
    for component in sm.curl(sm.grad(u, geometry), geometry):
        assert abs(float(component.subs(u, field).doit().subs(point))) < 1e-12


def test_what_does_not_depend_on_an_angle_has_no_derivative_by_it():
    u = sm.unknown("u", t, r)
    assert sm.laplacian(u, sm.spherical(r)) == sm.D(r**2 * sm.D(u, r), r) / r**2


@pytest.mark.parametrize(
    "call",
    [
        lambda: sm.grad(r),
        lambda: sm.grad(sm.unknown("u", t, p, q), GEOMETRIES["sheared"]),
        lambda: sm.div([p], p, q),
        lambda: sm.curl([p], p),
        lambda: sm.mapped([p, q], [p]),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(sm.DeclarationError):
        call()
