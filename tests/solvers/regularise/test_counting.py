"""Evaluations are counted as often as the rates are really called."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers import KnotSteps, Reversible

START = jnp.array([1.0, 0.5])
CONTROL = dfx.PIDController(rtol=1e-4, atol=1e-6)


class Calls:
    """Counts the calls of a function at run time."""

    def __init__(self):
        self.count = 0

    def one(self):
        self.count += 1

    def rate(self, t, y, args):
        jax.debug.callback(self.one)
        return jnp.cos(5 * t) - y**3

    def of(self, solver, *, terms=None, controller=CONTROL, dt0=None, **options):
        """How many there were, and how many were counted, in a solve."""
        sol = sm.diffeqsolve(
            dfx.ODETerm(self.rate) if terms is None else terms(self.rate),
            solver,
            0.0,
            1.0,
            dt0,
            START,
            stepsize_controller=controller,
            **options,
        )
        jax.effects_barrier()
        return self.count, sol.stats


@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (dfx.Tsit5(), {"dt0": 1.0}),  # whose first step is rejected
        (dfx.Tsit5(), {}),
        (dfx.Dopri8(), {"dt0": 1.0}),
        (dfx.Bosh3(), {}),
        (dfx.Heun(), {}),
        (dfx.HalfSolver(dfx.Tsit5()), {"dt0": 1.0}),
        (dfx.HalfSolver(dfx.Heun()), {}),
        (dfx.Euler(), {"controller": dfx.ConstantStepSize(), "dt0": 0.1}),
        (dfx.Tsit5(), {"controller": dfx.ConstantStepSize(), "dt0": 0.1}),
        (dfx.Tsit5(), {"controller": dfx.StepTo(ts=jnp.array([0.0, 0.3, 1.0]))}),
        (dfx.Tsit5(), {"controller": KnotSteps(ts=jnp.array([0.2, 0.3, 1.0]))}),
        (
            dfx.Tsit5(),
            {"controller": dfx.ClipStepSizeController(CONTROL, jump_ts=jnp.array([0.5]))},
        ),
    ],
)
def test_every_call_is_counted(solver, options):
    called, stats = Calls().of(solver, **options)
    assert int(stats["num_evaluations"]) == called
    if options.get("dt0") == 1.0:
        assert int(stats["num_rejected_steps"]) > 0


def test_every_call_of_the_drift_is_counted():
    path = dfx.VirtualBrownianTree(
        0.0, 1.0, 1e-4, (2,), jax.random.key(0), levy_area=dfx.SpaceTimeLevyArea
    )
    constant, own = jnp.ones(2), lambda t, y, args: jnp.diag(y)
    coefficients = {True: lambda t, y, args: jnp.diag(constant), False: own}
    fixed = {"controller": dfx.ConstantStepSize(), "dt0": 0.1}
    adapted = {"controller": dfx.PIDController(rtol=1e-2, atol=1e-2, dtmin=1e-3), "dt0": 0.1}
    for solver, options in [
        (dfx.SPaRK(), adapted),
        (dfx.SlowRK(), fixed),
        (dfx.SRA1(), fixed),
        (dfx.ItoMilstein(), fixed),
    ]:
        g = coefficients[isinstance(solver, dfx.SRA1)]
        noise = dfx.ControlTerm(g, path)
        terms = lambda rate, noise=noise: dfx.MultiTerm(dfx.ODETerm(rate), noise)
        called, stats = Calls().of(solver, terms=terms, **options)
        assert int(stats["num_evaluations"]) == called, type(solver).__name__


@pytest.mark.parametrize("sampling", ["uniform", "steps"])
def test_a_local_cost_takes_one_step_and_what_its_size_takes(sampling):
    cost = sm.solver_cost("error", where="local", sampling=sampling)
    called, stats = Calls().of(dfx.Tsit5(), regularise=cost, key=jax.random.key(0))
    without, _ = Calls().of(dfx.Tsit5())
    assert called == int(stats["num_evaluations"])
    assert called - without == 7 + 1  # the stages of a step, and the second one of its rule


def test_a_global_cost_takes_none():
    called, stats = Calls().of(dfx.Tsit5(), regularise=sm.solver_cost("error"))
    without, _ = Calls().of(dfx.Tsit5())
    assert called == without == int(stats["num_evaluations"])


def test_steps_that_can_be_taken_back_are_counted():
    for solver, adjoint in [
        (dfx.Tsit5(), "reversible"),
        (Reversible(dfx.Tsit5()), "checkpointed"),
        (dfx.Heun(), "reversible"),
    ]:
        called, stats = Calls().of(solver, adjoint=adjoint)
        assert int(stats["num_evaluations"]) == called


def test_those_of_an_implicit_solver_are_not_told():
    x = sm.unknown("x")
    decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    assert "num_evaluations" not in sm.solve(decay, t=(0, 1), solver=dfx.Kvaerno5()).stats
    assert "num_evaluations" in sm.solve(decay, t=(0, 1)).stats


def test_each_member_of_a_batch_has_its_own_count():
    def count(speed):
        sol = sm.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: jnp.cos(args * t) - y**3),
            dfx.Tsit5(),
            0.0,
            1.0,
            1.0,
            START,
            speed,
            stepsize_controller=CONTROL,
        )
        return sol.stats["num_evaluations"]

    speeds = jnp.array([1.0, 10.0, 40.0])
    counts = jax.jit(jax.vmap(count))(speeds)
    np.testing.assert_array_equal(counts, [count(speed) for speed in speeds])
    assert len(set(counts.tolist())) == 3
