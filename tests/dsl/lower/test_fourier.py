"""Fourier's coefficients: exact for waves that the grid holds, and a published value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from sympy import cos, exp, pi, sin

import sciml as sm
from sciml import D, t

s, x = sm.coordinates("s x")
u, w = sm.unknown("u", t, s), sm.unknown("w", t, s, x)


def ring(field, symbol, low, high):
    return sm.Eq(field.at(**{symbol.name: low}), field.at(**{symbol.name: high}))


def test_derivatives_of_waves_are_exact():
    wave = exp(sin(s))
    system = sm.System(
        sm.Eq(D(u, t), D(u, s) + D(u, s, s) - D(u, s, 3)),
        domain={s: (0, 2 * pi)},
        initial={u: wave},
        boundary=[ring(u, s, 0, 2 * pi)],
    )
    for n in (40, 41):
        model = sm.compile(system, grid={s: n}, scheme="fourier")
        assert set(model.schemes.values()) == {"Fourier"}
        right = sympy.lambdify(s, wave.diff(s) + wave.diff(s, 2) - wave.diff(s, 3))
        rates = model.vector_field(0.0, model.state())
        np.testing.assert_allclose(rates, right(model.grid["s"]), atol=1e-9)


def test_mixed_derivatives_are_too():
    wave = sin(s) * exp(cos(x))
    system = sm.System(
        sm.Eq(D(w, t), D(w, s, x) + D(w, x, x)),
        domain={s: (0, 2 * pi), x: (0, 2 * pi)},
        initial={w: wave},
        boundary=[ring(w, s, 0, 2 * pi), ring(w, x, 0, 2 * pi)],
    )
    model = sm.compile(system, grid={s: 8, x: 36}, scheme="fourier")
    rates = model.evaluate(D(w, t), 0.0, model.state())
    mesh = np.meshgrid(*model.grid.values(), indexing="ij")
    right = sympy.lambdify((s, x), wave.diff(s, x) + wave.diff(x, 2))(*mesh)
    np.testing.assert_allclose(rates, right, atol=1e-9)


def test_products_are_not_aliased():
    """The square of a wave beyond a third of the grid's waves would come back as a longer one."""
    system = sm.System(
        sm.Eq(D(u, t), D(u**2, s)),
        domain={s: (0, 2 * pi)},
        initial={u: cos(7 * s)},
        boundary=[ring(u, s, 0, 2 * pi)],
    )
    model = sm.compile(system, grid={s: 16}, scheme="fourier")
    rates = model.vector_field(0.0, model.state())  # of a wave of 14, that would look like one of 2
    np.testing.assert_allclose(rates, 0, atol=1e-12)


def test_kuramoto_and_sivashinskys_equation_has_the_published_values():
    """Of problems.md; the middle is off by 1e-5 there, as a grid twice as fine says."""
    a = 10
    system = sm.System(
        sm.Eq(D(u, t), -a * (D(u, s, s) + D(u, s, 4) / 8) / 2 - a * u * D(u, s)),
        domain={s: (-16, 16)},
        initial={u: cos(2 * pi * s / 16)},
        boundary=[ring(u, s, -16, 16)],
    )
    model = sm.compile(system, grid={s: 128}, scheme="fourier")
    rates = jax.jit(lambda t, y: model.vector_field(t, y))
    jacobian = jax.jit(jax.jacfwd(lambda t, y: model.vector_field(t, y), argnums=1))
    found = solve_ivp(
        lambda t, y: np.asarray(rates(t, y)), (0, 1), np.asarray(model.state()), method="Radau",
        jac=lambda t, y: np.asarray(jacobian(t, y)), rtol=1e-9, atol=1e-10,
    )  # fmt: skip
    values = found.y[:, -1]
    np.testing.assert_allclose(np.sqrt(np.mean(values**2)), 1.757817069, rtol=1e-6)
    np.testing.assert_allclose(values[64], 2.15931373, rtol=2e-5)
    np.testing.assert_allclose(values.max(), 3.46499539, rtol=2e-5)


def test_gradients_go_through_it():
    system = sm.System(
        sm.Eq(D(u, t), D(u, s, s) - u**3),
        domain={s: (0, 1)},
        initial={u: sin(2 * pi * s)},
        boundary=[ring(u, s, 0, 1)],
    )
    model = sm.compile(system, grid={s: 16}, scheme="fourier")
    y, v = model.state(), jnp.cos(jnp.arange(16.0))
    slope = jax.grad(lambda y: jnp.vdot(v, model.vector_field(0.0, y)))(y)
    forward = jax.jvp(lambda y: model.vector_field(0.0, y), (y,), (v,))[1]
    np.testing.assert_allclose(jnp.vdot(slope, v), jnp.vdot(v, forward), rtol=1e-12)


@pytest.mark.parametrize("boundary", [[], [ring(u, s, 0, 1)]])
def test_it_is_for_rings_with_even_steps(boundary):
    system = sm.System(
        sm.Eq(D(u, t) + D(u, s), 0), domain={s: (0, 1)}, initial={u: s}, boundary=boundary
    )
    with pytest.raises(sm.DeclarationError, match="periodic"):
        sm.compile(system, grid={s: [0, 0.1, 0.5, 1]}, scheme="fourier")
