"""Finite volumes: what is conserved, how fast shocks go, and which derivatives are taken so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.optimize import brentq

import sciml as sm
from sciml import D, t

s = sm.coordinate("s")
u, h, q = (sm.unknown(name, t, s) for name in "uhq")
RIEMANN = ["rusanov", "hll"]
RING = [sm.Eq(u.at(s=0), u.at(s=1))]


def burgers(initial, boundary):
    return sm.System(
        sm.Eq(D(u, t) + D(u**2 / 2, s), 0),
        domain={s: (0, 1)},
        initial={u: initial},
        boundary=boundary,
    )


def marched(model, end, steps):
    """Steps of Shu and Osher's Runge-Kutta method of order 3, which creates no extrema."""
    dt = end / steps

    def step(y, _):
        rate = lambda y: model.vector_field(0.0, y)
        one = y + dt * rate(y)
        two = (3 * y + one + dt * rate(one)) / 4
        return (y + 2 * two + 2 * dt * rate(two)) / 3, None

    return jax.jit(lambda y: jax.lax.scan(step, y, length=steps)[0])(model.state())


@pytest.mark.parametrize("riemann", RIEMANN)
@pytest.mark.parametrize("limiter", ["van leer", "minmod", "none"])
def test_the_total_stays_to_rounding_over_a_thousand_steps(riemann, limiter):
    system = burgers(1 + sympy.sin(2 * sympy.pi * s), RING)  # a shock forms
    scheme = sm.Volumes(riemann, limiter=limiter)
    model = sm.compile(system, grid={s: 64}, scheme=scheme)
    y = marched(model, 2.0, 1000)
    total = float(jnp.sum(model.state()))
    assert abs(float(jnp.sum(y)) - total) < 1e-12 * total
    assert float(jnp.max(y)) < float(jnp.max(model.state()))
    assert float(jnp.min(y)) > float(jnp.min(model.state())) - 1e-12


@pytest.mark.parametrize("riemann", RIEMANN)
def test_a_shock_of_burgers_is_within_half_a_cell(riemann):
    n, end = 100, 0.8
    jump = sympy.Piecewise((1, s < 0.295), (0, True))  # at a face
    system = burgers(jump, [sm.Eq(u.at(s=0), 1)])
    model = sm.compile(system, grid={s: n + 1}, scheme=sm.Volumes(riemann))
    values = np.asarray(model.evaluate(u, end, marched(model, end, 200)))
    place = np.interp(-0.5, -values, model.grid["s"])
    assert abs(place - (0.295 + end / 2)) < 0.5 / n
    assert values.max() < 1 + 1e-9
    assert values.min() > -1e-9


def exact_dam_break(left, right, g):
    """Height and flow between the rarefaction and the shock (Stoker 1957, section 10.8)."""

    def mismatch(middle):
        rarefaction = 2 * (np.sqrt(g * left) - np.sqrt(g * middle))
        shock = (middle - right) * np.sqrt(g * (middle + right) / (2 * middle * right))
        return rarefaction - shock

    middle = brentq(mismatch, right, left)
    return middle, middle * 2 * (np.sqrt(g * left) - np.sqrt(g * middle))


@pytest.mark.parametrize("riemann", RIEMANN)
def test_a_dam_breaks_as_stoker_says(riemann):
    g = 9.81
    system = sm.System(
        sm.Eq(D(h, t) + D(q, s), 0),
        sm.Eq(D(q, t) + D(q**2 / h + g * h**2 / 2, s), 0),
        domain={s: (0, 10)},
        initial={h: sympy.Piecewise((2, s < 5), (1, True)), q: 0},
        boundary=[sm.Eq(q.at(s=0), 0), sm.Eq(q.at(s=10), 0)],
    )
    model = sm.compile(system, grid={s: 201}, scheme=sm.Volumes(riemann))
    y = marched(model, 0.7, 1200)
    height, flow = exact_dam_break(2.0, 1.0, g)
    np.testing.assert_allclose(model.evaluate(h.at(s=5.5), 0.7, y), height, rtol=2e-3)
    np.testing.assert_allclose(model.evaluate(q.at(s=5.5), 0.7, y), flow, rtol=5e-3)


def test_where_it_is_smooth_the_order_is_two():
    profile = sympy.sin(2 * sympy.pi * s)
    system = sm.System(
        sm.Eq(D(u, t) + D(u, s), 0), domain={s: (0, 1)}, initial={u: profile}, boundary=RING
    )
    errors = {}
    for limiter in ("van leer", "none"):
        for n in (64, 128):
            model = sm.compile(system, grid={s: n}, scheme=sm.Volumes(limiter=limiter))
            right = np.sin(2 * np.pi * (model.grid["s"] - 0.25))
            off = np.abs(np.asarray(marched(model, 0.25, 400)) - right)
            errors[limiter, n] = np.mean(off)  # at extrema it is of order 1
    assert np.log2(errors["van leer", 64] / errors["van leer", 128]) > 1.8
    assert abs(np.log2(errors["none", 64] / errors["none", 128]) - 1) < 0.2


def test_they_are_taken_for_nonlinear_fluxes_without_damping():
    words = "finite volumes, rusanov, limiter van leer"
    assert sm.compile(burgers(s, [sm.Eq(u.at(s=0), 0)]), grid={s: 9}).schemes[D(u**2, s)] == words
    viscous = sm.System(
        sm.Eq(D(u, t) + D(u**2 / 2, s), D(u, s, s)),
        domain={s: (0, 1)},
        initial={u: s * 0},
        boundary=RING,
    )
    assert "volumes" not in sm.compile(viscous, grid={s: 9}).schemes[D(u**2, s)]


def test_gradients_go_through_limiters():
    system = burgers(1 + sympy.sin(2 * sympy.pi * s), RING)
    model = sm.compile(system, grid={s: 32})
    y, v = model.state(), jnp.cos(jnp.arange(32.0))

    def number(y):
        return jnp.vdot(v, model.vector_field(0.0, y))

    slope = jax.grad(number)(y)
    direction = jnp.sin(3 * jnp.arange(32.0))
    step = 1e-6
    right = (number(y + step * direction) - number(y - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(slope, direction), right, rtol=1e-6)


@pytest.mark.parametrize("options", [{"riemann": "roe"}, {"limiter": "superbee"}])
def test_an_unknown_solver_or_limiter_is_refused(options):
    with pytest.raises(sm.DeclarationError):
        sm.Volumes(**options)
