"""Finite differences: orders against exact solutions, at all kinds of ends and grids."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from sympy import cos, exp, pi, sin, sqrt

import sciml as sm
from sciml import D, t

s = sm.coordinate("s")
u = sm.unknown("u", t, s)


def integrated(model, end):
    """The solution of the semi-discrete equations at the end, by scipy, to ten digits."""
    rates = jax.jit(lambda t, y: model.vector_field(t, y))
    jacobian = jax.jit(jax.jacfwd(lambda t, y: model.vector_field(t, y), argnums=1))
    found = solve_ivp(
        lambda t, y: np.asarray(rates(t, y)), (0, end), np.asarray(model.state()),
        method="Radau", jac=lambda t, y: np.asarray(jacobian(t, y)), rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    assert found.success
    return jnp.asarray(found.y[:, -1])


def error_of(system, exact, end, grid, **options):
    """The largest error over all nodes."""
    model = sm.compile(system, grid={s: grid}, **options)
    y = integrated(model, end)
    values = model.evaluate(u, end, y)
    right = sympy.lambdify((s, t), exact)(model.grid["s"], end)
    return float(np.max(np.abs(np.asarray(values) - right)))


def orders(system, exact, end, grids, **options):
    errors = [error_of(system, exact, end, grid, **options) for grid in grids]
    return np.log2(np.divide(errors[:-1], errors[1:]))


def value(e, place):
    return e.subs(s, place)


def dirichlet(exact, low, high):
    return [sm.Eq(u.at(s=low), value(exact, low)), sm.Eq(u.at(s=high), value(exact, high))]


def neumann(exact, low, high):
    slope = exact.diff(s)
    return [
        sm.Eq(sm.at(D(u, s), s=low), value(slope, low)),
        sm.Eq(sm.at(D(u, s), s=high), value(slope, high)),
    ]


def robin(exact, low, high):
    left = lambda e: 1 * e.subs(s, low) - 3 * e.diff(s).subs(s, low)
    right = lambda e: 4 * e.subs(s, high) + e.diff(s).subs(s, high)
    return [
        sm.Eq(u.at(s=low) - 3 * sm.at(D(u, s), s=low), left(exact)),
        sm.Eq(4 * u.at(s=high) + sm.at(D(u, s), s=high), right(exact)),
    ]


def robin_in_time(exact, low, high):
    slope = exact.diff(s)
    return [
        sm.Eq(
            t**2 * u.at(s=low) - 3 * sm.at(D(u, s), s=low),
            value(t**2 * exact - 3 * slope, low),
        ),
        sm.Eq(4 * u.at(s=high) + t * sm.at(D(u, s), s=high), value(4 * exact + t * slope, high)),
    ]


HEAT = exp(-t) * (sin(s) + cos(s) / 2)


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("conditions", [dirichlet, neumann, robin, robin_in_time])
def test_heat_has_its_order_at_every_kind_of_end(conditions, order):
    system = sm.System(
        sm.Eq(D(u, t), D(u, s, s)),
        domain={s: (-1, 2)},
        initial={u: HEAT.subs(t, 0)},
        boundary=conditions(HEAT, -1, 2),
    )
    found = orders(system, HEAT, 1.0, (25, 49), order=order)
    assert found[-1] > order - 0.2


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("conditions", [dirichlet, neumann])
def test_stretched_grids_keep_the_order(conditions, order):
    system = sm.System(
        sm.Eq(D(u, t), D(u, s, s)),
        domain={s: (-1, 2)},
        initial={u: HEAT.subs(t, 0)},
        boundary=conditions(HEAT, -1, 2),
    )
    grids = [sm.stretched(n, (-1, 2), by=4, towards="end") for n in (33, 65)]
    found = orders(system, HEAT, 0.5, grids, order=order)
    assert found[-1] > order - 0.2


@pytest.mark.parametrize("order", [2, 4, 6])
def test_periodic_derivatives_have_exactly_their_order(order):
    a, b, c, d = 1.1, 2.1, 1.1, 3.1
    exact = (1 + exp(-4 * t * (b + 4 * d)) * cos(2 * s + t * (-8 * c - 2 * a))) / 2
    system = sm.System(
        sm.Eq(D(u, t) + a * D(u, s), b * D(u, s, s) + c * D(u, s, 3) - d * D(u, s, 4)),
        domain={s: (0, 2 * pi)},
        initial={u: cos(s) ** 2},
        boundary=[sm.Eq(u.at(s=0), u.at(s=2 * pi))],
    )
    found = orders(system, exact, 0.02, (16, 32, 64) if order < 6 else (16, 32), order=order)
    assert abs(found[-1] - order) < 0.2


@pytest.mark.parametrize(
    ("flux", "exact"),
    [
        (lambda u: D(u, s) / u, 2 * (1 + t) / (1 + s) ** 2),
        (lambda u: u * D(u, s), s**2 / (6 * (2 - t)) + 0 * s),
    ],
)
@pytest.mark.parametrize("order", [2, 4])
def test_nonlinear_diffusion_has_its_order(flux, exact, order):
    """The fast diffusion equation and the porous medium equation, with exact solutions."""
    assert sympy.simplify(exact.diff(t) - flux(exact).subs(u, exact).doit().diff(s)) == 0
    system = sm.System(
        sm.Eq(D(u, t), D(flux(u), s)),
        domain={s: (1, 2)},
        initial={u: exact.subs(t, 0)},
        boundary=dirichlet(exact, 1, 2),
    )
    grids = (17, 33)
    errors = [error_of(system, exact, 0.5, n, order=order) for n in grids]
    assert errors[-1] < 1e-9 or np.log2(errors[-2] / errors[-1]) > order - 0.2


def test_waves_have_their_order():
    exact = sin(pi * s) * cos(pi * t)
    system = sm.System(
        sm.Eq(D(u, t, 2), D(u, s, s)),
        domain={s: (0, 1)},
        initial={u: sin(pi * s), D(u, t): 0},
        boundary=[sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 0)],
    )
    found = orders(system, exact, 0.7, (17, 33), order=2)
    assert abs(found[-1] - 2) < 0.2


def moved(profile):
    return profile.subs(s, s - t)


@pytest.mark.parametrize(
    ("scheme", "order", "asked"), [("central", 4, 4), ("upwind", 4, 3), ("weno", 4, 5)]
)
def test_advection_has_the_order_of_its_scheme(scheme, order, asked):
    profile = sin(2 * pi * s)
    system = sm.System(
        sm.Eq(D(u, t) + D(u, s), 0),
        domain={s: (0, 1)},
        initial={u: profile},
        boundary=[sm.Eq(u.at(s=0), u.at(s=1))],
    )
    found = orders(system, moved(profile), 0.3, (20, 40), order=order, scheme=scheme)
    assert found[-1] > asked - 0.2


def test_advection_enters_at_one_end_and_leaves_at_the_other():
    exact = moved(sin(3 * s))
    system = sm.System(
        sm.Eq(D(u, t) + D(u, s), 0),
        domain={s: (0, 1)},
        initial={u: exact.subs(t, 0)},
        boundary=[sm.Eq(u.at(s=0), value(exact, 0))],
    )
    assert sm.compile(system, grid={s: 20}).schemes == {D(u, s): "WENO, order 5"}
    found = orders(system, exact, 1.5, (17, 33))
    assert found[-1] > 3.75


def test_upwind_follows_the_sign_of_the_speed():
    """Burgers' rarefaction, and its mirror image: exact, as the profile is a straight line."""
    for sign in (1, -1):
        system = sm.System(
            sm.Eq(D(u, t) + u * D(u, s), 0),
            domain={s: (0, 1)},
            initial={u: s if sign > 0 else s - 1},
            boundary=[sm.Eq(u.at(s=0 if sign > 0 else 1), 0)],
        )
        exact = (s if sign > 0 else s - 1) / (1 + t)
        assert error_of(system, exact, 6.0, 17) < 1e-9


def test_weno_does_not_overshoot_a_jump():
    system = sm.System(
        sm.Eq(D(u, t) + D(u, s), 0),
        domain={s: (0, 1)},
        initial={u: sympy.Piecewise((1, (s > 0.2) & (s < 0.5)), (0, True))},
        boundary=[sm.Eq(u.at(s=0), u.at(s=1))],
    )
    spread = {}
    for scheme in ("weno", "central"):
        model = sm.compile(system, grid={s: 100}, scheme=scheme)
        values = np.asarray(integrated(model, 0.3))
        spread[scheme] = max(values.max() - 1, -values.min())
    assert spread["weno"] < 0.02 < 0.1 < spread["central"]


@functools.cache
def two_dimensional():
    x, y = sm.coordinates("x y")
    w = sm.unknown("w", t, x, y)
    exact = exp(-t) * sin(x) * cos(2 * y) + x * y
    source = exact.diff(t) - exact.diff(x, 2) - 3 * exact.diff(y, 2) - exact.diff(x, y)
    system = sm.System(
        sm.Eq(D(w, t), D(w, x, x) + 3 * D(w, y, y) + D(w, x, y) + source),
        domain={x: (0, 1), y: (0, 1)},
        initial={w: exact.subs(t, 0)},
        boundary=[
            sm.Eq(w.at(x=0), exact.subs(x, 0)),
            sm.Eq(sm.at(D(w, x), x=1), exact.diff(x).subs(x, 1)),
            sm.Eq(sm.at(D(w, y), y=0) - w.at(y=0), (exact.diff(y) - exact).subs(y, 0)),
            sm.Eq(w.at(y=1), exact.subs(y, 1)),
        ],
    )
    return (x, y), w, system, exact


@pytest.mark.parametrize("order", [2, 4])
def test_two_dimensions_with_a_mixed_derivative(order):
    (x, y), w, system, exact = two_dimensional()
    errors = []
    for n in (9, 17):
        model = sm.compile(system, grid={x: n, y: n + 1}, order=order)
        values = model.evaluate(w, 0.3, integrated(model, 0.3))
        mesh = np.meshgrid(*model.grid.values(), indexing="ij")
        right = sympy.lambdify((x, y, t), exact)(*mesh, 0.3)
        errors.append(np.max(np.abs(np.asarray(values) - right)))
    assert np.log2(errors[0] / errors[1]) > order - 0.2


def test_the_graph_does_not_grow_with_the_grid():
    (x, y), _, system, _ = two_dimensional()

    def size(n):
        model = sm.compile(system, grid={x: n, y: n})
        return len(jax.make_jaxpr(lambda t, y: model.vector_field(t, y))(0.0, model.state()).eqns)

    assert size(16) == size(128)


def test_fluxes_between_cells_conserve():
    """No flux at the ends: what is inside stays, to rounding, whatever the diffusivity is."""
    k = sm.parameter("k", 0.3)
    system = sm.System(
        sm.Eq(D(u, t), D((k + u**2) * D(u, s), s)),
        domain={s: (0, 1)},
        initial={u: 1 + sin(2 * pi * s) / 2},
        boundary=[sm.Eq(u.at(s=0), u.at(s=1))],
    )
    for grid in (32, [0, 0.1, 0.25, 0.3, 0.5, 0.55, 0.7, 0.8, 0.9, 1.0]):
        model = sm.compile(system, grid={s: grid}, order=2)
        rates = model.vector_field(0.0, model.state())
        if grid == 32:
            assert abs(float(jnp.sum(rates))) < 1e-10
        assert bool(jnp.all(jnp.isfinite(rates)))


def test_a_square_root_at_an_end_stays_real():
    """Values beyond an end continue the field: what is taken of them is elementwise."""
    exact = (s + sympy.Rational(1, 2)) / (2 * sqrt(50 - t))
    system = sm.System(
        sm.Eq(D(u, t), D(u**2 * D(u, s), s)),
        domain={s: (0, 2)},
        initial={u: exact.subs(t, 0)},
        boundary=dirichlet(exact, 0, 2),
    )
    assert error_of(system, exact, 2.0, 9) < 1e-9
