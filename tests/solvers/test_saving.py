"""What is saved, and when."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D

x = sm.unknown("x")
DECAY = sm.System(sm.Eq(D(x), -x), initial={x: 1})


def solve(**options):
    return sm.solve(DECAY, t=(0, 2), **options)


def check(sol, ts):
    np.testing.assert_allclose(sol.ts, ts, atol=1e-15)
    np.testing.assert_allclose(sol[x], np.exp(-np.asarray(ts)), rtol=1e-5)


def test_by_default_201_times_are_saved_with_dense_output():
    sol = solve()
    check(sol, np.linspace(0, 2, 201))
    np.testing.assert_allclose(sol(1.2345)[x], np.exp(-1.2345), rtol=1e-5)


@pytest.mark.parametrize(
    "times", [[0.5, 1.0], (0.5, 1.0), np.array([0.5, 1.0]), jnp.array([0.5, 1.0])]
)
def test_times_are_saved_as_given_without_dense_output(times):
    sol = solve(saveat=times)
    check(sol, [0.5, 1.0])
    assert sol.interpolation is None


@pytest.mark.parametrize(
    ("saveat", "ts"),
    [
        (dfx.SaveAt(t0=True, t1=True), [0, 2]),
        (dfx.SaveAt(t0=True, ts=[0.5, 2.0]), [0, 0.5, 2]),
    ],
)
def test_diffraxs_saveat_is_taken_as_it_is(saveat, ts):
    check(solve(saveat=saveat), ts)


def test_dense_output_alone_keeps_the_end():
    sol = solve(saveat=dfx.SaveAt(dense=True))
    check(sol, [2])
    np.testing.assert_allclose(sol([0.3, 1.7])[x], np.exp([-0.3, -1.7]), rtol=1e-5)


def test_every_step_is_saved_and_nothing_behind_the_last():
    sol = solve(saveat=dfx.SaveAt(t0=True, steps=True))
    assert sol.ts.shape == (int(sol.stats["num_accepted_steps"]) + 1,)
    check(sol, sol.ts)
    assert (float(sol.ts[0]), float(sol.ts[-1])) == (0, 2)


def test_inside_jit_the_room_left_for_more_steps_is_no_failure():
    model = sm.compile(DECAY)
    everything = dfx.SaveAt(t0=True, steps=True)

    @jax.jit
    def saved(start):
        sol = sm.solve(model, t=(0, 2), initial={x: start}, saveat=everything, max_steps=64)
        return sol.ts, sol[x]

    ts, found = saved(1.0)
    reached = np.isfinite(ts)
    assert 2 < np.sum(reached) < 64
    np.testing.assert_allclose(found[reached], np.exp(-ts[reached]), rtol=1e-5)


def test_every_third_step_is_saved_and_the_end_if_asked():
    options = {"solver": dfx.Heun(), "stepsize_controller": dfx.ConstantStepSize(), "dt0": 0.25}
    sol = solve(saveat=dfx.SaveAt(steps=3), **options)
    np.testing.assert_allclose(sol.ts, [0.75, 1.5])
    sol = solve(saveat=dfx.SaveAt(steps=3, t1=True), **options)
    np.testing.assert_allclose(sol.ts, [0.75, 1.5, 2])


def test_dense_output_is_left_away_where_it_would_be_large():
    u = sm.unknown("u", shape=1000)
    large = sm.System(sm.Eq(D(u), -u), initial={u: 1})
    assert sm.solve(large, t=(0, 1)).interpolation is None


@pytest.mark.parametrize(
    ("saveat", "message"),
    [
        ([1.0, 0.5], "increasing order"),
        ([0.5, 3.0], r"times from 0.5 to 3 lie outside t = \(0, 2\)"),
        (dfx.SaveAt(ts=[-1.0]), r"outside t = \(0, 2\)"),
        ([np.nan], "finite times"),
        (0.1, "a list of finite times"),
        ("x", "a list of finite times"),
        ([], "a list of finite times"),
        (dfx.SaveAt(t1=True, fn=lambda t, y, args: y), "ask the solution"),
        (dfx.SaveAt(subs=[dfx.SubSaveAt(t1=True)]), "solve once for each"),
        (dfx.SaveAt(t1=True, solver_state=True), "not kept"),
    ],
)
def test_what_cannot_be_saved_is_refused(saveat, message):
    with pytest.raises(sm.DeclarationError, match=message):
        solve(saveat=saveat)


@pytest.mark.parametrize("saveat", [dfx.SaveAt(dense=True), dfx.SaveAt(steps=True)])
def test_dense_output_and_steps_need_their_options(saveat):
    with pytest.raises(sm.DeclarationError, match="give max_steps="):
        solve(saveat=saveat, max_steps=None)
    with pytest.raises(sm.DeclarationError, match="BacksolveAdjoint keeps neither"):
        solve(saveat=saveat, adjoint=dfx.BacksolveAdjoint())


def test_without_a_bound_on_steps_times_are_saved():
    check(solve(max_steps=None, adjoint=dfx.ForwardMode()), np.linspace(0, 2, 201))
