"""Symplectic solvers: their order, and what they preserve."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D

q, p = sm.unknowns("q p")
PENDULUM = sm.System(
    sm.Eq(D(q), p),
    sm.Eq(D(p), -sympy.sin(q)),
    initial={q: 1.2, p: 0.3},
    observed={"energy": p**2 / 2 - sympy.cos(q)},
)
SOLVERS = [sm.StormerVerlet(1), sm.ImplicitMidpoint()]


def end(solver, dt0, **options):
    sol = sm.solve(PENDULUM, t=(0, 3.2), solver=solver, dt0=dt0, max_steps=100_000, **options)
    return jnp.stack([sol[q][-1], sol[p][-1]])


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_order_is_two(solver):
    sol = sm.solve(PENDULUM, t=(0, 3.2), rtol=1e-12, atol=1e-12)
    exact = jnp.stack([sol[q][-1], sol[p][-1]])
    coarse, fine = (float(jnp.linalg.norm(end(solver, dt) - exact)) for dt in (0.02, 0.01))
    assert np.log2(coarse / fine) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_preserves_area(solver):
    def step(y):
        sol = sm.solve(
            PENDULUM, t=(0, 0.3), initial={q: y[0], p: y[1]}, solver=solver, dt0=0.3, saveat=[0.3]
        )
        return jnp.stack([sol[q][0], sol[p][0]])

    jacobian = jax.jacobian(step)(jnp.array([1.2, 0.3]))
    np.testing.assert_allclose(jnp.linalg.det(jacobian), 1.0, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solve_is_reversible(solver):
    there = end(solver, 0.1)
    back = sm.solve(
        PENDULUM,
        t=(0, 3.2),
        initial={q: there[0], p: -there[1]},
        solver=solver,
        dt0=0.1,
        saveat=[3.2],
    )
    np.testing.assert_allclose([back[q][0], -back[p][0]], [1.2, 0.3], atol=1e-9)


def test_values_between_steps_are_of_third_order():
    fine = sm.solve(PENDULUM, t=(0, 3.2), solver=sm.StormerVerlet(1), dt0=0.1)
    exact = sm.solve(PENDULUM, t=(0, 3.2), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(fine[q], exact[q], atol=3e-3)


def test_the_midpoint_rule_keeps_quadratic_invariants_exactly():
    x, y, z = sm.unknowns("x y z")
    euler = sm.System(  # a free rigid body: the angular momentum and the energy are kept
        sm.Eq(D(x), (1 / 3 - 1 / 2) * y * z),
        sm.Eq(D(y), (1 - 1 / 3) * z * x),
        sm.Eq(D(z), (1 / 2 - 1) * x * y),
        initial={x: 1, y: 0.2, z: 0.4},
        observed={"m": x**2 + y**2 + z**2, "e": x**2 + y**2 / 2 + z**2 / 3},
    )
    at_steps = dfx.SaveAt(steps=True, t0=True)
    sol = sm.solve(euler, t=(0, 100), solver=sm.ImplicitMidpoint(), dt0=0.2, saveat=at_steps)
    for name in ("m", "e"):
        np.testing.assert_allclose(sol[name], sol[name][0], rtol=1e-9)


def test_they_take_constant_steps():
    with pytest.raises(sm.DeclarationError, match="dt0"):
        sm.solve(PENDULUM, t=(0, 1), solver=sm.StormerVerlet(1))
