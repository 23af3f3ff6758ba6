"""What has no cost, or one without a gradient, is refused with what would do."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import sciml as sm
from sciml.solvers import with_working_root_finder

START = jnp.array([1.0])
TERM = dfx.ODETerm(lambda t, y, args: -y)
CONTROL = dfx.PIDController(rtol=1e-6, atol=1e-8)
STIFF = with_working_root_finder(dfx.Kvaerno5())
PATH = dfx.VirtualBrownianTree(0.0, 1.0, 1e-3, (), jax.random.key(0))
NOISY = dfx.MultiTerm(TERM, dfx.ControlTerm(lambda t, y, args: 0.1 * y, PATH))


class OwnAdjoint(dfx.DirectAdjoint):
    """Of the kind that is taken."""


def refusal(kind="error", *, terms=TERM, solver=None, adjoint="checkpointed", **options):
    """The text with which a solve is refused."""
    passed = {k: options.pop(k) for k in ("stepsize_controller", "key", "saveat") if k in options}
    passed = {"stepsize_controller": CONTROL, "key": jax.random.key(0), **passed}
    cost = sm.taylor_cost(3) if kind == "taylor" else sm.solver_cost(kind, **options)
    solver = dfx.Tsit5() if solver is None else solver
    with pytest.raises(sm.DeclarationError) as caught:
        sm.diffeqsolve(
            terms, solver, 0.0, 1.0, 0.1, START, regularise=cost, adjoint=adjoint, **passed
        )
    return str(caught.value)


@pytest.mark.parametrize(
    ("adjoint", "name"), [("backsolve", "BacksolveAdjoint"), ("reversible", "ReversibleAdjoint")]
)
def test_a_global_cost_whose_gradient_would_be_zero(adjoint, name):
    assert refusal(adjoint=adjoint) == (
        f'solver_cost("error", where="global") is a sum over the steps of the solver, and {name} '
        "carries no gradient through them but that of the saved states: it would be zero. Take "
        'adjoint="checkpointed", "direct" or "forward", or where="local"'
    )


def test_a_taylor_cost_whose_gradient_would_be_zero():
    assert refusal("taylor", adjoint="backsolve").endswith(
        'it would be zero. Take adjoint="checkpointed", "direct" or "forward"'
    )


def test_the_gradient_would_indeed_be_zero():
    def value(speed):
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: -args * y),
            dfx.Tsit5(),
            0.0,
            1.0,
            0.1,
            START,
            speed,
            saveat=dfx.SaveAt(t1=True, solver_state=True),
            adjoint=dfx.BacksolveAdjoint(),
        )
        return sol.solver_state[1][0]

    assert float(jax.grad(value)(2.0)) == 0


def test_an_adjoint_that_is_one_of_those_that_serve_is_taken():
    cost = sm.solver_cost("error")
    sol = sm.diffeqsolve(
        TERM,
        dfx.Tsit5(),
        0.0,
        1.0,
        0.1,
        START,
        regularise=cost,
        stepsize_controller=CONTROL,
        adjoint=OwnAdjoint(),
        max_steps=16,
    )
    assert float(sol.stats["cost"]) > 0


def test_a_local_cost_of_the_way_to_a_steady_state():
    assert refusal(where="local", adjoint=dfx.ImplicitAdjoint()) == (
        'solver_cost("error", where="local") is of the way to the end, and ImplicitAdjoint is for '
        'steady states, whatever the way there: take adjoint="checkpointed", "direct" or "forward"'
    )


def test_a_local_cost_of_a_step_that_is_not_told():
    assert refusal(where="local", sampling="steps", adjoint="reversible") == (
        'solver_cost("error", where="local") needs a step that was taken, and ReversibleAdjoint '
        'does not tell: take sampling="uniform" and adaptive steps without noise, or '
        'adjoint="checkpointed", "direct" or "forward"'
    )
    saveat = dfx.SaveAt(steps=True)
    assert "saves one more time, which goes with ReversibleAdjoint if times are saved" in refusal(
        where="local", adjoint="reversible", saveat=saveat
    )


def test_a_local_cost_without_a_key():
    assert refusal(where="local", key=None) == (
        'solver_cost("error", where="local") draws a time at random: give key=jax.random.key(0), '
        "another one in each step of training"
    )


def test_a_solver_without_an_error_estimate():
    fixed = dfx.ConstantStepSize()
    assert refusal(solver=dfx.Euler(), stepsize_controller=fixed) == (
        'solver_cost("error", where="global"): Euler does not estimate its error. Take '
        "diffrax.Tsit5() (stiff: diffrax.Kvaerno5(), with noise: diffrax.SPaRK()), or "
        "diffrax.HalfSolver(diffrax.Euler()), which estimates it at three times the cost"
    )
    half = sm.diffeqsolve(
        TERM,
        dfx.HalfSolver(dfx.Euler()),
        0.0,
        1.0,
        0.1,
        START,
        regularise=sm.solver_cost("error"),
        stepsize_controller=dfx.PIDController(rtol=1e-2, atol=1e-2),
    )
    assert float(half.stats["cost"]) > 0


def test_steps_without_a_tolerance():
    assert refusal(stepsize_controller=dfx.ConstantStepSize()) == (
        'solver_cost("error", where="global") is in units of the tolerance, and ConstantStepSize '
        "has none: give rtol= and atol= to solver_cost, or scaled=False, or take "
        "stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-8)"
    )


@pytest.mark.parametrize(
    ("solver", "why"),
    [
        (dfx.Bosh3(), "Bosh3 has no two stages at one time"),
        (dfx.HalfSolver(dfx.Tsit5()), "HalfSolver keeps no stages"),
        (dfx.ImplicitEuler(root_finder=STIFF.root_finder), "ImplicitEuler keeps no stages"),
    ],
)
def test_a_tableau_without_two_stages_at_one_time(solver, why):
    assert refusal("stiffness", solver=solver) == (
        f'solver_cost("stiffness", where="global") compares two stages at one time, and {why}: '
        'take diffrax.Tsit5(), Dopri5() or Dopri8(), or kind="error"'
    )


def test_a_solver_that_stiffness_does_not_limit():
    assert refusal("stiffness", solver=STIFF) == (
        'solver_cost("stiffness", where="global") is in units of the interval of stability, and '
        "that of Kvaerno5 has no end: its steps are not limited by stiffness. Take scaled=False, "
        'for stiffness in 1/time, or kind="error", or diffrax.Tsit5()'
    )


def test_stages_that_hold_noise():
    assert refusal("stiffness", terms=NOISY, solver=dfx.Heun()) == (
        'solver_cost("stiffness", where="global") compares two stages of an ordinary differential '
        "equation, and with noise, controls or several terms (MultiTerm) there are none: take "
        'kind="error"'
    )
    assert "not MultiTerm and Heun: take" in refusal("taylor", terms=NOISY, solver=dfx.Heun())
    assert "not ODETerm and Euler: take" in refusal("taylor", solver=dfx.Euler())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "speed"}, 'kind is one of "error", "error_squared", "stiffness", not \'speed\''),
        ({"where": "here"}, 'where is one of "global", "local", not \'here\''),
        ({"sampling": "all"}, 'sampling is one of "uniform", "steps", not \'all\''),
        ({"reduce": "min"}, 'reduce is one of "sum", "mean", "max", not \'min\''),
        ({"rtol": 1e-3}, "rtol and atol scale together: give both, or neither"),
        ({"rtol": -1.0, "atol": 1.0}, "rtol=-1.0, atol=1.0: tolerances are positive numbers"),
        ({"weight": float("nan")}, "weight is a number, or a function of the number of steps"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(sm.DeclarationError) as caught:
        sm.solver_cost(**{"kind": "error", **options})
    assert message in str(caught.value)


def test_orders_that_are_no_positive_whole_number():
    with pytest.raises(sm.DeclarationError, match="order is a positive whole number, not 0"):
        sm.taylor_cost(0)


def test_what_is_no_cost():
    x = sm.unknown("x")
    decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    with pytest.raises(sm.DeclarationError, match=r"such as sm.solver_cost\(\), .* not str"):
        sm.solve(decay, t=(0, 1), regularise="error")
    with pytest.raises(sm.DeclarationError, match="a sum over the steps of the solver"):
        sm.solve(decay, t=(0, 1), regularise=sm.solver_cost(), adjoint="backsolve")
    assert eqx.is_array(sm.solve(decay, t=(0, 1), regularise=sm.solver_cost()).stats["cost"])
