"""Where a model is hard: the estimates of every step of its solution, and their picture."""

from __future__ import annotations

import sys

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm

x, y, mu = sm.unknown("x"), sm.unknown("y"), sm.parameter("mu", 20.0)
VAN_DER_POL = sm.System(
    sm.Eq(sm.D(x), y), sm.Eq(sm.D(y), mu * (1 - x**2) * y - x), initial={x: 2, y: 0}
)


@pytest.fixture(scope="module")
def hard():
    return sm.solver_difficulty(VAN_DER_POL, t=(0, 30), rtol=1e-4, atol=1e-4)


def test_it_adds_up_to_the_costs_of_the_solve(hard):
    costs = (
        sm.solver_cost("error"),
        sm.solver_cost("stiffness"),
        sm.solver_cost("stiffness", reduce="max"),
    )
    sol = sm.solve(VAN_DER_POL, t=(0, 30), rtol=1e-4, atol=1e-4, regularise=costs)
    found = [
        jnp.sum(hard.errors * hard.sizes),
        jnp.sum(hard.stiffness * hard.sizes),
        jnp.max(hard.stiffness),
    ]
    np.testing.assert_allclose(sol.stats["cost"], found, rtol=1e-6)
    assert hard.ts.size == int(sol.stats["num_accepted_steps"])


def test_accepted_steps_are_within_the_tolerance(hard):
    assert float(jnp.max(hard.errors)) <= 1
    np.testing.assert_allclose(hard.ts[1:], hard.ts[:-1] + hard.sizes[:-1])


def test_stiffness_is_high_where_the_oscillator_is_slow(hard):
    # there d(y')/dy = mu (1 - x^2) = -60 at x = 2
    early = np.asarray(hard.stiffness)[(np.asarray(hard.ts) > 1) & (np.asarray(hard.ts) < 3)]
    np.testing.assert_allclose(np.median(early) * 3.5068, 58, rtol=0.1)


def test_solvers_that_tell_one_of_the_two():
    fixed = sm.solver_difficulty(VAN_DER_POL, t=(0, 0.1), solver=dfx.Bosh3())
    assert fixed.stiffness is None
    assert fixed.errors is not None
    with pytest.raises(sm.DeclarationError, match="Euler tells nothing of its steps"):
        sm.solver_difficulty(VAN_DER_POL, t=(0, 0.1), solver=dfx.Euler(), dt0=0.01)


def test_systems_with_noise_have_errors():
    w = sm.brownian("W")
    system = sm.System(
        sm.Eq(sm.D(x), -x + 0.3 * x * sm.D(w)), initial={x: 1}, calculus="stratonovich"
    )
    control = dfx.PIDController(rtol=1e-2, atol=1e-2, dtmin=1e-3)
    options = {"solver": dfx.SPaRK(), "stepsize_controller": control, "key": jax.random.key(0)}
    hard = sm.solver_difficulty(system, t=(0, 1), dt0=0.01, **options)
    cost = sm.solve(system, t=(0, 1), dt0=0.01, regularise=sm.solver_cost(), **options)
    np.testing.assert_allclose(cost.stats["cost"], jnp.sum(hard.errors * hard.sizes), rtol=1e-6)
    assert hard.stiffness is None


def test_the_picture_has_a_staircase_for_each_quantity(hard):
    axes = hard.plot()
    assert [ax.get_ylabel() for ax in axes] == ["step size", "error / tolerance", "stiffness"]
    assert [ax.get_yscale() for ax in axes[:1]] == ["log"]
    (stairs,) = axes[0].patches
    np.testing.assert_allclose(stairs.get_data().values, hard.sizes)
    np.testing.assert_allclose(stairs.get_data().edges[[0, -1]], [0, 30])
    assert hard.plot(axes)[0] is axes[0]


def test_without_matplotlib_the_extra_is_named(hard, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(sm.SciMLError, match=r"pip install 'sciml-jax\[plot\]'"):
        hard.plot()
