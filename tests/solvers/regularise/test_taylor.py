"""The cost of high derivatives along a solution, and random ends of the interval."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers.regularise import _taylor
from sciml.solvers.regularise._taylor import time_derivative

x, y, k = sm.unknown("x"), sm.unknown("y"), sm.parameter("k", 2.0)
TURNING = sm.System(sm.Eq(sm.D(x), k * y), sm.Eq(sm.D(y), -k * x), initial={x: 1, y: 0})
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_of_a_rotation_it_is_the_speed_to_the_power(order):
    sol = sm.solve(TURNING, t=(0, 3), regularise=sm.taylor_cost(order), **TIGHT)
    np.testing.assert_allclose(sol.stats["cost"], 3 * 2.0 ** (2 * order), rtol=1e-7)


@pytest.mark.parametrize("solver", [dfx.Bosh3(), dfx.Heun(), dfx.Dopri8(), dfx.Kvaerno5()])
def test_the_weights_of_every_method_serve(solver):
    sol = sm.solve(
        TURNING, t=(0, 1), solver=solver, regularise=sm.taylor_cost(2), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(sol.stats["cost"], 16, rtol=1e-3)


def test_it_equals_one_more_unknown():
    # of u' = t - u^2: u'' = 1 - 2 u u'
    u, r = sm.unknown("u"), sm.unknown("r")
    rate = sm.t - u**2
    with_integral = sm.System(
        sm.Eq(sm.D(u), rate), sm.Eq(sm.D(r), (1 - 2 * u * rate) ** 2), initial={u: 1, r: 0}
    )
    alone = sm.System(sm.Eq(sm.D(u), rate), initial={u: 1})
    exact = sm.solve(with_integral, t=(0, 2), **TIGHT)[r][-1]
    found = sm.solve(alone, t=(0, 2), regularise=sm.taylor_cost(2), **TIGHT).stats["cost"]
    np.testing.assert_allclose(found, exact, rtol=1e-7)


def test_its_gradient_is_that_of_the_closed_form():
    cost = sm.taylor_cost(2)
    value = lambda v: sm.solve(
        TURNING, t=(0, 1), values={k: v}, regularise=cost, saveat=[1.0], **TIGHT, adjoint="forward"
    ).stats["cost"]
    np.testing.assert_allclose(jax.jit(jax.jacfwd(value))(2.0), 4 * 2.0**3, rtol=1e-6)


def test_taylor_mode_equals_nested_forward_mode_through_a_network():
    network = eqx.nn.MLP(3, 2, 8, 2, activation=jnp.tanh, key=jax.random.key(0))
    rate = lambda t, u: network(jnp.concatenate([jnp.sin(t)[None], u]))
    t, u = jnp.asarray(0.3), jnp.array([0.2, -0.4])
    for order in (1, 2, 3, 4):
        taylor = _taylor._by_taylor(rate, t, u, order)
        np.testing.assert_allclose(taylor, _taylor._by_nesting(rate, t, u, order), rtol=1e-10)


def test_what_taylor_mode_has_no_rule_for_is_nested():
    rate = lambda t, u: jax.scipy.special.betainc(2.0, 3.0, u)
    t, u = jnp.asarray(0.3), jnp.array([0.2, 0.4])
    with pytest.raises((NotImplementedError, KeyError)):
        _taylor._by_taylor(rate, t, u, 3)
    found = time_derivative(rate, t, u, 3)
    np.testing.assert_array_equal(found, _taylor._by_nesting(rate, t, u, 3))


def test_states_of_several_arrays_are_taken():
    field = lambda t, y, args: {"a": 2 * y["b"], "b": -2 * y["a"]}
    start = {"a": jnp.array([1.0, 0.0]), "b": jnp.array([0.0, 1.0])}
    sol = sm.diffeqsolve(
        dfx.ODETerm(field),
        dfx.Tsit5(),
        0.0,
        1.0,
        0.05,
        start,
        regularise=sm.taylor_cost(3),
    )
    np.testing.assert_allclose(sol.stats["cost"], 2 * 64, rtol=1e-6)


def test_random_ends_are_within_the_width_of_the_end():
    keys = jax.random.split(jax.random.key(0), 2000)
    t0, ends = jax.vmap(lambda key: sm.steer((0, 1), width=0.5, key=key))(keys)
    assert float(jnp.max(jnp.abs(t0))) == 0
    assert 0.5 <= float(ends.min()) < 0.52
    assert 1.48 < float(ends.max()) < 1.5
    np.testing.assert_allclose(np.mean(ends), 1, atol=0.03)


def test_a_solve_goes_to_the_random_end():
    t = sm.steer((0, 1), width=0.5, key=jax.random.key(1))
    sol = sm.solve(TURNING, t=t, saveat=dfx.SaveAt(t1=True))
    np.testing.assert_allclose(sol[x][0], np.cos(2 * float(t[1])), rtol=1e-4)


@pytest.mark.parametrize("width", [0, -1, 1, np.nan])
def test_widths_that_would_turn_the_interval_round_are_refused(width):
    with pytest.raises(sm.DeclarationError, match="the width is a positive number, less than"):
        sm.steer((0, 1), width=width, key=jax.random.key(0))
