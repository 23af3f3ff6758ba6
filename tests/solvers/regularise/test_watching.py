"""A solver that is watched takes the same steps to the same states, to the last bit."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import sciml as sm
from sciml.solvers import with_working_root_finder
from sciml.solvers.regularise._count import counted
from sciml.solvers.regularise._estimates import Scale, Step, error_size
from sciml.solvers.regularise._watch import Watched

MIX = jax.random.normal(jax.random.key(0), (3, 3))
START = jnp.array([1.0, -0.5, 0.2])
CONTROL = dfx.PIDController(rtol=1e-6, atol=1e-8)
STIFF = with_working_root_finder(dfx.Kvaerno5())
SLOW = pytest.mark.slow
GLOBAL, LOCAL = sm.solver_cost("error"), sm.solver_cost("error", where="local", sampling="steps")


def rate(t, y, args):
    strength, mix = args
    return jnp.tanh(mix @ y + t) * strength - 2 * y


def gradient(solve, differentiate, args, **options):
    """The gradient of a plain loss, the states, and the counts of steps."""

    def loss(args):
        sol = solve(
            dfx.ODETerm(rate),
            options["solver"],
            0.0,
            2.0,
            1.0,  # which is rejected
            START,
            args,
            saveat=dfx.SaveAt(ts=jnp.linspace(0.0, 2.0, 5)),
            stepsize_controller=CONTROL,
            max_steps=256,
            **{k: v for k, v in options.items() if k != "solver"},
        )
        counts = sol.stats["num_steps"], sol.stats["num_rejected_steps"]
        return jnp.sum(sol.ys**2), (sol.ys, counts)

    return jax.jit(differentiate(loss, has_aux=True))(args)


@pytest.mark.parametrize(
    ("solver", "adjoint"),
    [
        pytest.param(dfx.Tsit5(), dfx.RecursiveCheckpointAdjoint(), id="checkpointed"),
        pytest.param(dfx.Tsit5(), dfx.ForwardMode(), id="forward"),
        pytest.param(dfx.Tsit5(), dfx.BacksolveAdjoint(), id="backsolve", marks=SLOW),
        pytest.param(dfx.Dopri8(), dfx.ForwardMode(), id="dopri8", marks=SLOW),
        pytest.param(STIFF, dfx.ForwardMode(), id="kvaerno5", marks=SLOW),
    ],
)
def test_states_steps_and_gradients_are_the_same_to_the_last_bit(solver, adjoint):
    differentiate = jax.jacfwd if isinstance(adjoint, dfx.ForwardMode) else jax.grad
    cost = LOCAL if isinstance(adjoint, dfx.BacksolveAdjoint) else GLOBAL
    options = {"solver": solver, "adjoint": adjoint}
    plain = gradient(dfx.diffeqsolve, differentiate, (1.3, MIX), **options)
    watched = gradient(
        sm.diffeqsolve,
        differentiate,
        (1.3, MIX),
        **options,
        regularise=cost,
        key=jax.random.key(0),
    )
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(watched), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(plain[1][1][1]) > 0  # some steps were rejected


def test_what_diffrax_asks_of_a_solver_is_passed_on():
    finder = optx.Newton(rtol=1e-3, atol=1e-3)
    for solver in (dfx.Tsit5(scan_kind="lax"), dfx.Kvaerno5(root_finder=finder), dfx.SPaRK()):
        watched = Watched(solver, {})
        for kind in (
            dfx.AbstractAdaptiveSolver,
            dfx.AbstractImplicitSolver,
            dfx.AbstractStratonovichSolver,
            dfx.AbstractItoSolver,
            dfx.AbstractRungeKutta,
            dfx.AbstractSRK,
            type(solver),
        ):
            assert isinstance(watched, kind) == isinstance(solver, kind)
        for name in (
            "term_structure",
            "interpolation_cls",
            "term_compatible_contr_kwargs",
            "scan_kind",
            "root_finder",
            "root_find_max_steps",
            "tableau",
            "calculate_jacobian",
            "minimal_levy_area",
        ):
            assert getattr(watched, name, None) == getattr(solver, name, None), name
        for order in ("order", "strong_order", "error_order"):
            terms = dfx.ODETerm(rate)
            assert getattr(watched, order)(terms) == getattr(solver, order)(terms)


@pytest.mark.parametrize("solver", [dfx.Tsit5(), sm.BDF(), sm.Radau5()])
@pytest.mark.parametrize("options", [{}, {"regularise": GLOBAL}], ids=["no cost", "a cost"])
def test_states_that_the_user_asks_for_are_those_of_the_solver_and_the_controller(solver, options):
    def solve(how, t0=0.0, t1=1.0, y0=START, **options):
        return how(
            dfx.ODETerm(lambda t, y, args: -y),
            solver,
            t0,
            t1,
            0.1,
            y0,
            saveat=dfx.SaveAt(t1=True, solver_state=True, controller_state=True),
            stepsize_controller=CONTROL,
            **options,
        )

    plain, watched = solve(dfx.diffeqsolve), solve(sm.diffeqsolve, **options)
    assert eqx.tree_equal(plain.solver_state, watched.solver_state)
    assert eqx.tree_equal(plain.controller_state, watched.controller_state)
    assert watched.solver_state is not None
    states = {"solver_state": watched.solver_state, "controller_state": watched.controller_state}
    after = solve(dfx.diffeqsolve, 1.0, 2.0, watched.ys[-1], **states)
    np.testing.assert_allclose(after.ys[-1], START * jnp.exp(-2.0), rtol=1e-4)


def test_a_counted_controller_has_the_tolerances_of_the_controller():
    clipped = dfx.ClipStepSizeController(CONTROL, step_ts=jnp.array([0.5]))
    both = counted(clipped)
    assert (both.rtol, both.atol, both.norm) == (1e-6, 1e-8, optx.rms_norm)


def test_a_failed_solve_fails_as_without_a_cost():
    x = sm.unknown("x")
    blows_up = sm.System(sm.Eq(sm.D(x), x**2), initial={x: 1})
    with pytest.raises(sm.SolveError, match="x grows without bound"):
        sm.solve(blows_up, t=(0, 2), regularise=GLOBAL)
    sol = sm.solve(blows_up, t=(0, 2), regularise=GLOBAL, throw=False)
    assert np.isfinite(sol.stats["cost"])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_error_that_is_no_number_adds_nothing_to_value_and_gradient(bad):
    def size(y1, error):
        step = Step(None, 0.0, 1.0, START, y1, None, error, None)
        return error_size(step, Scale(1e-3, 1e-3))[0]

    broken = jnp.array([1.0, bad, 1.0])
    for arguments in ((START, broken), (broken, broken)):
        value, slopes = jax.value_and_grad(size, argnums=(0, 1))(*arguments)
        assert float(value) == 0
        np.testing.assert_array_equal(slopes, 0)
