"""Evaluations are counted as often as the rates are really called."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers import KnotSteps, Reversible
from sciml.solvers.linear import Unrolled

START = jnp.array([1.0, 0.5])
CONTROL = dfx.PIDController(rtol=1e-4, atol=1e-6)


def mild(t, y, args):
    return jnp.cos(5 * t) - y**3


def stiff(t, y, args):
    """Stiff around 0.3, and with a jump at 0.6."""
    strength = 1 + 3000 * jnp.exp(-(((t - 0.3) / 0.1) ** 2))
    return jnp.cos(5 * t) - strength * (y**3 - 0.1 * y[::-1]) + jnp.where(t < 0.6, 0.0, 5.0)


class Calls:
    """Counts the calls of a function at run time, those for its derivatives excepted."""

    def __init__(self, plain=mild):
        def called(t, y, args):
            jax.debug.callback(self.one, t)  # of an argument: once for each member of a vmap
            return plain(t, y, args)

        def derivative(primals, tangents):
            t, y, args = primals
            return jax.jvp(lambda t, y: plain(t, y, args), (t, y), tangents[:2])

        self.count = 0
        self.rate = jax.custom_jvp(called)
        self.rate.defjvp(derivative)

    def one(self, t):
        self.count += 1

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


TOLERANCES = {"rtol": 1e-4, "atol": 1e-6}
STEPPERS = {
    "BDF": sm.BDF(**TOLERANCES),
    "Radau5": sm.Radau5(**TOLERANCES),
    "RKC": sm.RKC(),
    "Switching": sm.Switching(),
    "ETDRK4": sm.ETDRK4(-jnp.ones(2)),
    "half of ETDRK4": dfx.HalfSolver(sm.ETDRK4(-jnp.ones(2))),
    "half of Rodas5P": dfx.HalfSolver(sm.Rodas5P()),
}
JUMPS = dfx.ClipStepSizeController(CONTROL, jump_ts=jnp.array([0.6]))
WAYS = {
    "rejected": {"dt0": 1.0},
    "of the rule": {},
    "jump": {"dt0": 1.0, "controller": JUMPS},
    "constant": {"dt0": 0.01, "controller": dfx.ConstantStepSize()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", STEPPERS)
def test_every_call_by_our_steppers_is_counted(name, way):
    called, stats = Calls(stiff).of(STEPPERS[name], **WAYS[way])
    assert int(stats["num_evaluations"]) == called
    assert (int(stats["num_rejected_steps"]) > 5) == (way != "constant")
    if name == "Switching" and way != "constant":
        assert 0 < int(stats["num_implicit_steps"]) < int(stats["num_accepted_steps"])


def test_steps_to_times_of_the_user_are_counted():
    times = dfx.StepTo(ts=jnp.linspace(0.0, 1.0, 101))
    called, stats = Calls(stiff).of(STEPPERS["BDF"], controller=times)
    assert int(stats["num_evaluations"]) == called > 101


def test_a_step_in_one_kernel_counts_as_one_in_many():
    """A callback keeps a step from being one kernel: without one, the count is the same."""
    full = Unrolled(2, ((0, 0), (0, 1), (1, 0), (1, 1)))
    solver = sm.BDF(structure=full, **TOLERANCES)
    called, _ = Calls(stiff).of(solver, dt0=1.0)
    _, stats = Calls(stiff).of(solver, terms=lambda rate: dfx.ODETerm(stiff), dt0=1.0)
    assert int(stats["num_evaluations"]) == called


REVERSE, FORWARD, GAUSS = dfx.RecursiveCheckpointAdjoint(), dfx.ForwardMode(), sm.GaussAdjoint()
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["BDF", *(pytest.param(n, marks=SLOW) for n in ("Radau5", "RKC", "Switching"))]
)
def test_gradients_leave_the_count_as_it_is(name):
    """Reverse and forward mode, and adjoint equations; gradients are those of Diffrax."""
    term = dfx.ODETerm(lambda t, y, args: stiff(t, args * y, None))
    solver = STEPPERS[name]

    def end(args, adjoint, solve=sm.diffeqsolve):
        stepper = sm.RKC(scan_kind="lax") if adjoint == FORWARD and name == "RKC" else solver
        options = {"stepsize_controller": CONTROL, "adjoint": adjoint, "max_steps": 256}
        sol = solve(term, stepper, 0.0, 1.0, 0.1, START, args, **options)
        return jnp.sum(sol.ys**2), sol.stats

    reverse = jax.jit(jax.grad(end, has_aux=True), static_argnums=(1, 2))
    forward = jax.jit(jax.jacfwd(end, has_aux=True), static_argnums=(1, 2))
    plain, _ = reverse(1.0, REVERSE, dfx.diffeqsolve)
    _, expected = end(1.0, REVERSE)
    found = [reverse(1.0, REVERSE), reverse(1.0, GAUSS)]
    if name != "Switching":  # whose explicit steps Diffrax differentiates backwards alone
        found.append(forward(1.0, FORWARD))
    assert np.isfinite(plain)
    for slope, stats in found:
        assert int(stats["num_evaluations"]) == int(expected["num_evaluations"])
        assert float(slope) == pytest.approx(float(plain), rel=0.1 if name == "RKC" else 1e-2)
    assert float(found[0][0]) == float(plain)


def test_every_call_forwards_is_counted_where_gradients_are_of_adjoint_equations():
    """Diffrax begins such a solve twice: of solvers whose beginning evaluates no rates."""
    for solver, options in [(dfx.Tsit5(), {"dt0": 1.0}), (STEPPERS["Radau5"], WAYS["jump"])]:
        called, stats = Calls(stiff).of(solver, adjoint="gauss", **options)
        assert int(stats["num_evaluations"]) == called


def test_the_choice_of_the_first_step_by_solve_is_counted():
    x = sm.unknown("x")
    decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    for dt0, further in [(None, 2), (1e-3, 0)]:
        stats = sm.solve(decay, t=(0, 1), solver=sm.Rodas5P(), dt0=dt0).stats
        assert int(stats["num_evaluations"]) == 8 * int(stats["num_steps"]) + further


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


def test_the_step_of_a_local_cost_counts_itself_where_it_iterates():
    cost = sm.solver_cost("error", where="local")
    called, stats = Calls().of(STEPPERS["BDF"], regularise=cost, key=jax.random.key(0))
    assert called == int(stats["num_evaluations"])


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


@pytest.mark.parametrize(
    "solver", [dfx.Tsit5(), *(STEPPERS[name] for name in ("BDF", "Radau5", "RKC", "Switching"))]
)
def test_each_member_of_a_batch_has_its_own_count(solver):
    term = dfx.ODETerm(lambda t, y, args: jnp.cos(args * t) - y**3)

    def count(speed):
        sol = sm.diffeqsolve(
            term,
            solver,
            0.0,
            1.0,
            1.0,
            START,
            speed,
            stepsize_controller=CONTROL,
        )
        return sol.stats["num_evaluations"]

    speeds = jnp.array([1.0, 10.0, 40.0])
    batch = jax.jit(jax.vmap(count))
    counts = batch(speeds)
    assert len(set(counts.tolist())) == 3
    for speed, own in zip(speeds, counts, strict=True):
        np.testing.assert_array_equal(batch(jnp.full(3, speed)), own)  # whatever the others do
        assert int(count(speed)) == pytest.approx(int(own), rel=0.05)  # rounded otherwise
