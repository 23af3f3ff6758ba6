"""Stiffness is the size of the rates' Jacobian, in units of what the solver is stable for."""

from __future__ import annotations

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers.regularise._estimates import stability, stage_matrix, twin_stages

x, k = sm.unknown("x"), sm.parameter("k", 4.0)
DECAY = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
PUBLISHED = {"Tsit5": 3.5068, "Dopri5": 3.3066}  # of OrdinaryDiffEq.jl


@pytest.mark.parametrize("solver", [dfx.Tsit5(), dfx.Dopri5(), dfx.Dopri8()])
def test_of_a_decay_at_a_rate_it_is_the_rate_at_every_step(solver):
    hard = sm.solver_difficulty(DECAY, t=(0, 2), solver=solver, dt0=0.1)
    length = PUBLISHED.get(type(solver).__name__, stability(solver.tableau))
    assert hard.stiffness.size > 5
    np.testing.assert_allclose(hard.stiffness, 4 / length, rtol=1e-6)


def test_reductions_are_those_of_the_steps():
    costs = tuple(sm.solver_cost("stiffness", reduce=r) for r in ("sum", "mean", "max"))
    sol = sm.solve(DECAY, t=(0, 2), regularise=costs)
    np.testing.assert_allclose(sol.stats["cost"], np.array([2, 1, 1]) * 4 / 3.5068, rtol=1e-6)


def test_it_is_the_largest_rate_of_a_system_where_the_others_have_decayed():
    y = sm.unknown("y")
    system = sm.System(sm.Eq(sm.D(x), -k * x), sm.Eq(sm.D(y), -50 * (y - x)), initial={x: 1, y: 1})
    hard = sm.solver_difficulty(system, t=(0, 10))
    np.testing.assert_allclose(hard.stiffness[-1] * 3.5068, 50, rtol=1e-2)
    limited = np.asarray(hard.stiffness * hard.sizes)[-20:]
    np.testing.assert_allclose(np.mean(limited), 1, atol=0.3)  # stability limits the steps


def test_an_implicit_solver_gives_it_by_time():
    cost = sm.solver_cost("stiffness", reduce="mean", scaled=False)
    sol = sm.solve(DECAY, t=(0, 1), solver=dfx.Kvaerno5(), regularise=cost, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(sol.stats["cost"], 4, rtol=1e-3)


def test_steps_without_any_do_not_count():
    rest = sm.System(sm.Eq(sm.D(x), k * jnp.pi), initial={x: 1})
    cost = sm.solver_cost("stiffness", reduce="mean")
    assert float(sm.solve(rest, t=(0, 1), regularise=cost).stats["cost"]) == 0


def test_intervals_of_stability_are_the_published_ones():
    for name, length in PUBLISHED.items():
        assert stability(getattr(dfx, name).tableau) == length
    assert stability(dfx.Heun.tableau) == 2  # of every method of order 2 in 2 stages
    np.testing.assert_allclose(stability(dfx.Bosh3.tableau), 2.5127, atol=1e-4)
    for name in ("Kvaerno3", "Kvaerno4", "Kvaerno5"):
        assert stability(getattr(dfx, name).tableau) == np.inf


def test_the_two_stages_are_found_in_every_tableau():
    found = {"Tsit5": (6, 5), "Dopri5": (6, 5), "Dopri8": (13, 12), "Kvaerno3": (3, 2)}
    found |= {"Kvaerno4": (4, 3), "Kvaerno5": (6, 5), "Bosh3": None, "Heun": None, "Ralston": None}
    for name, pair in found.items():
        tableau = getattr(dfx, name).tableau
        assert twin_stages(tableau) == pair
        rows = stage_matrix(tableau).sum(axis=1)  # each stage at its time
        np.testing.assert_allclose(rows, [tableau.c1, *tableau.c], atol=1e-12)


def test_several_costs_are_those_of_each_alone():
    costs = (sm.solver_cost("error"), sm.solver_cost("stiffness", reduce="max"))
    together = sm.solve(DECAY, t=(0, 1), regularise=costs).stats["cost"]
    alone = [sm.solve(DECAY, t=(0, 1), regularise=cost).stats["cost"] for cost in costs]
    np.testing.assert_array_equal(together, alone)
