"""Switching: explicit where it is not stiff, implicit where it is, and it says so."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import sciml as sm
from benchmarks import problems


def test_what_is_not_stiff_stays_explicit_and_is_what_tsit5_makes_of_it():
    case = problems.lotka_volterra()
    auto, plain = (
        sm.solve(case.system, t=(0, 10), saveat=[10.0], solver=solver) for solver in ("auto", None)
    )
    assert int(auto.stats["num_implicit_steps"]) == 0
    # the first step is another: diffrax takes 0.01
    assert abs(int(auto.stats["num_steps"]) - int(plain.stats["num_steps"])) < 5
    np.testing.assert_allclose(auto.ys, plain.ys, rtol=1e-5)


def test_what_becomes_stiff_is_switched_over():
    case = problems.robertson()
    sol = sm.solve(
        case.system, t=(0, case.end), saveat=[case.end], solver="auto", rtol=1e-7, atol=1e-10
    )
    steps, implicit = int(sol.stats["num_steps"]), int(sol.stats["num_implicit_steps"])
    assert steps < 300
    assert 0 < implicit < steps
    for symbol, (listed,) in case.listed.items():
        assert float(sol[symbol][-1]) == pytest.approx(float(listed), rel=1e-6)


def test_it_switches_back_on_a_relaxation_oscillator():
    mu = 100.0
    y, x = sm.unknowns("y x")
    system = sm.System(
        sm.Eq(sm.D(y), mu * ((1 - x**2) * y) - x), sm.Eq(sm.D(x), y), initial={y: 0, x: 2}
    )
    auto, stiff = (
        sm.solve(
            system, t=(0, 200), saveat=[200.0], solver=s, rtol=1e-8, atol=1e-10, max_steps=9999
        )
        for s in ("auto", "stiff")
    )
    assert int(auto.stats["num_switches"]) >= 3
    np.testing.assert_allclose(auto.ys, stiff.ys, rtol=1e-4)


def test_a_solve_that_explicit_steps_cannot_end_goes_over_by_itself():
    case = problems.robertson(100.0)
    sol = sm.solve(case.system, t=(0, case.end), saveat=[case.end], max_steps=1000)
    assert sol.method == "Switching, after 1000 steps of Tsit5 that were too few"
    assert "Switching" in str(sol)
    for symbol, (listed,) in case.listed.items():
        assert float(sol[symbol][-1]) == pytest.approx(float(listed), rel=1e-4)


@pytest.mark.slow
def test_dense_output_and_gradients_go_through_both_methods():
    case = problems.robertson(100.0)
    model = sm.compile(case.system)
    tight = {"rtol": 1e-9, "atol": 1e-12}
    auto = sm.solve(model, t=(0, 100), solver="auto", **tight)
    stiff = sm.solve(model, t=(0, 100), solver="stiff", **tight)
    times = np.geomspace(1e-3, 100, 50)
    np.testing.assert_allclose(auto(times)["y1"], stiff(times)["y1"], rtol=1e-7)

    def end(start):
        sol = sm.solve(
            model, t=(0, 100), initial={"y1": start}, saveat=[100.0], solver="auto", **tight
        )
        return sol["y1"][-1]

    step = 1e-3
    slope = (end(1 + step) - end(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(end))(1.0), slope, rtol=1e-5)
