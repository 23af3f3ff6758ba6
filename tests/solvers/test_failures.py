"""A solve that fails says where, and names the unknown and its equation."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D

x, y, u = sm.unknown("x"), sm.unknown("y"), sm.unknown("u", shape=2)
k = sm.parameter("k", 1.0)
# x has a pole at t = 1/k; y is harmless
POLE = sm.System(sm.Eq(D(y), -y), sm.Eq(D(x), k * x**2), initial={x: 1, y: 1})
EULER = {"solver": dfx.Euler(), "dt0": 0.125}


def failing(system, **options):
    with pytest.raises(sm.SolveError) as caught:
        sm.solve(system, **{"t": (0, 2), "saveat": [2.0], **options})
    return str(caught.value)


def test_a_blow_up_names_the_unknown_its_equation_and_the_time():
    message = failing(POLE)
    assert "stopped at t = 1 after 4096 steps" in message
    assert "x grows without bound" in message
    assert "D(x) = k*x**2" in message
    assert "test_failures.py" in message
    assert "end before t = 1" in message


def test_a_root_of_a_negative_number_names_the_unknown():
    root = sm.System(sm.Eq(D(y), -y), sm.Eq(D(x), sympy.sqrt(x)), initial={x: -1, y: 1})
    message = failing(root)
    assert "the rate of x is infinite or not a number there" in message
    assert "D(x) = sqrt(x)" in message
    assert "look for square roots" in message


def test_an_unknown_that_runs_into_the_edge_of_its_equation_is_named():
    edge = sm.System(sm.Eq(D(y), -y), sm.Eq(D(x), -1 - sympy.sqrt(x)), initial={x: 1, y: 1})
    message = failing(edge)
    assert f"stopped at t = {2 - 2 * np.log(2):.6g}" in message  # where x reaches 0
    assert "the rate of x is infinite or not a number just beyond" in message


def test_an_array_that_fails_is_named():
    array = sm.System(sm.Eq(D(y), -y), sm.Eq(D(u), sympy.log(u)), initial={y: 1, u: [1, -1]})
    message = failing(array)
    assert "the rate of u is infinite or not a number" in message


def test_too_few_steps_name_what_changes_fastest_and_the_options():
    fast = sm.System(sm.Eq(D(y), -y), sm.Eq(D(x), -1000 * x), initial={x: 1, y: 1})
    message = failing(fast, max_steps=5)
    assert "after 5 steps, all that max_steps allows" in message
    assert "x changes fastest there" in message
    assert 'solver="stiff"' in message
    assert "raise max_steps" in message


def test_fixed_steps_that_overflow_are_a_failure_too():
    message = failing(POLE, t=(0, 4), saveat=np.linspace(0, 4, 33), **EULER)
    assert "x became infinite or not a number" in message
    time = float(message.split("t = ")[1].split()[0])
    assert 1 < time < 4  # where it happened, not where the solve ended


def test_throw_false_returns_what_was_reached_with_the_result():
    sol = sm.solve(POLE, t=(0, 2), throw=False)
    assert sol.result == dfx.RESULTS.max_steps_reached
    assert 0.98 < float(sol.ts[-1]) <= 1
    assert np.all(np.isfinite(sol.ys))
    np.testing.assert_allclose(sol[x][:50], 1 / (1 - sol.ts[:50]), rtol=1e-4)
    np.testing.assert_allclose(sol[y], np.exp(-sol.ts), rtol=1e-4)


@pytest.fixture(scope="module")
def end_of_pole():
    def end(rate, throw):
        sol = sm.solve(POLE, t=(0, 2), values={k: rate}, saveat=[1.0, 2.0], throw=throw)
        return sol.ts, sol[x], sol.result == dfx.RESULTS.successful

    return end


def test_inside_jit_a_failure_raises(end_of_pole):
    with pytest.raises(Exception, match="run it without jit, vmap and grad"):
        jax.block_until_ready(jax.jit(lambda rate: end_of_pole(rate, True))(1.0))


def test_members_of_a_batch_fail_one_by_one_with_throw_false(end_of_pole):
    ts, values, good = jax.vmap(lambda rate: end_of_pole(rate, False))(jnp.array([0.25, 0.75]))
    assert good.tolist() == [True, False]
    np.testing.assert_allclose(values[:, 0], [4 / 3, 4], rtol=1e-5)
    np.testing.assert_allclose(values[0, 1], 2, rtol=1e-5)
    assert np.isinf(ts[1, 1])
    assert np.isinf(values[1, 1])
