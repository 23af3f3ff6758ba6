"""Global costs are what adding up over the saved steps gives, and so are their gradients."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers import with_working_root_finder

RTOL, ATOL = 1e-5, 1e-7
CONTROL = dfx.PIDController(rtol=RTOL, atol=ATOL)
START = jnp.array([1.0, 0.5])
MATRIX = jnp.array([[-0.5, 2.0], [-2.0, -0.5]])


def rate(t, y, args):
    return args * (MATRIX @ y**3) + jnp.cos(3 * t)


def solve(args, cost=None, *, solver=None, saveat=None, controller=CONTROL, **options):
    return sm.diffeqsolve(
        dfx.ODETerm(rate),
        dfx.Tsit5() if solver is None else solver,
        0.0,
        2.0,
        None if isinstance(controller, dfx.PIDController | dfx.StepTo) else 0.1,
        START,
        args,
        regularise=cost,
        saveat=saveat,
        stepsize_controller=controller,
        max_steps=512,
        **options,
    )


def errors_of(solver, terms, args, ts, ys):
    """The scaled error and the size of each step between saved states, one step after another."""

    def estimate(t0, t1, y0):
        state = solver.init(terms, t0, t1, y0, args)
        return solver.step(terms, t0, t1, y0, args, state, True)[1]

    estimate, sizes, errors = jax.jit(estimate), [], []
    for t0, t1, y0, y1 in zip(ts[:-1], ts[1:], ys[:-1], ys[1:], strict=True):
        scaled = np.asarray(estimate(t0, t1, y0)) / (
            ATOL + RTOL * np.maximum(np.abs(y0), np.abs(y1))
        )
        errors.append(np.sqrt(np.mean(scaled**2)))
        sizes.append(t1 - t0)
    return np.asarray(errors), np.asarray(sizes)


def saved_steps(sol):
    count = int(sol.stats["num_accepted_steps"]) + 1
    return sol.ts[:count], sol.ys[:count]


@pytest.mark.parametrize("name", ["Tsit5", "Dopri5", "Dopri8", "Bosh3"])
def test_the_error_is_the_sum_over_the_saved_steps(name):
    solver = getattr(dfx, name)()
    saveat = dfx.SaveAt(t0=True, steps=True)
    costs = tuple(
        sm.solver_cost(kind, reduce=reduce)
        for kind in ("error", "error_squared")
        for reduce in ("sum", "mean", "max")
    )
    sol = solve(1.2, costs, solver=solver, saveat=saveat)
    errors, sizes = errors_of(solver, dfx.ODETerm(rate), 1.2, *saved_steps(sol))
    exact = [
        reduced(values)
        for values in (errors * sizes, errors**2)
        for reduced in (np.sum, np.mean, np.max)
    ]
    np.testing.assert_allclose(sol.stats["cost"], exact, rtol=1e-6)
    assert int(sol.stats["num_rejected_steps"]) > 0


def test_the_error_of_an_implicit_solver_is_the_sum_over_the_saved_steps():
    finder = with_working_root_finder(dfx.Kvaerno5()).root_finder
    solver = dfx.Kvaerno5(root_finder=type(finder)(rtol=1e-11, atol=1e-11))
    sol = solve(1.2, sm.solver_cost("error"), solver=solver, saveat=dfx.SaveAt(t0=True, steps=True))
    errors, sizes = errors_of(solver, dfx.ODETerm(rate), 1.2, *saved_steps(sol))
    np.testing.assert_allclose(sol.stats["cost"], np.sum(errors * sizes), rtol=1e-6)


def noisy(solver, end=0.5):
    area = dfx.SpaceTimeLevyArea if isinstance(solver, dfx.SPaRK) else dfx.BrownianIncrement
    path = dfx.VirtualBrownianTree(0.0, end, 1e-4, (), jax.random.key(3), levy_area=area)
    diffusion = lambda t, y, args: 0.3 * y
    return dfx.MultiTerm(dfx.ODETerm(rate), dfx.ControlTerm(diffusion, path))


def test_the_error_of_an_adaptive_solver_of_noise_is_the_sum_over_the_saved_steps():
    solver, terms = dfx.SPaRK(), noisy(dfx.SPaRK())
    sol = sm.diffeqsolve(
        terms,
        solver,
        0.0,
        0.5,
        0.01,
        START,
        1.2,
        regularise=sm.solver_cost("error", rtol=RTOL, atol=ATOL),
        saveat=dfx.SaveAt(t0=True, steps=True),
        stepsize_controller=dfx.PIDController(rtol=1e-2, atol=1e-2, dtmin=1e-3),
        max_steps=512,
    )
    errors, sizes = errors_of(solver, terms, 1.2, *saved_steps(sol))
    np.testing.assert_allclose(sol.stats["cost"], np.sum(errors * sizes), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "adjoint"),
    [
        ("error", dfx.RecursiveCheckpointAdjoint()),
        ("error_squared", dfx.ForwardMode()),
        ("stiffness", dfx.DirectAdjoint()),
    ],
)
def test_the_gradient_equals_finite_differences_on_the_same_steps(kind, adjoint):
    cost = sm.solver_cost(kind, reduce="mean", rtol=RTOL, atol=ATOL)
    ts, _ = saved_steps(solve(1.2, saveat=dfx.SaveAt(t0=True, steps=True)))
    frozen = dfx.StepTo(ts=ts)
    differentiate = jax.jacfwd if isinstance(adjoint, dfx.ForwardMode) else jax.grad
    value = lambda args, **options: solve(args, cost, **options).stats["cost"]
    found = jax.jit(differentiate(lambda args: value(args, adjoint=adjoint)))(1.2)
    fixed = jax.jit(lambda args: value(args, controller=frozen))
    np.testing.assert_allclose(fixed(1.2), value(1.2), rtol=1e-9)
    h = 1e-5
    difference = (fixed(1.2 + h) - fixed(1.2 - h)) / (2 * h)
    np.testing.assert_allclose(found, difference, rtol=1e-4)
    assert abs(float(found)) > 1e-3


def test_errors_as_they_are_need_no_tolerance():
    cost = sm.solver_cost("error", scaled=False)
    fixed = solve(1.2, cost, controller=dfx.ConstantStepSize())
    finer = sm.diffeqsolve(
        dfx.ODETerm(rate), dfx.Tsit5(), 0.0, 2.0, 0.05, START, 1.2, regularise=cost
    )
    order = np.log2(fixed.stats["cost"] / finer.stats["cost"])
    np.testing.assert_allclose(order, 5, atol=0.4)  # of the embedded method, for each unit of time


def test_a_batch_is_a_loop():
    cost = sm.solver_cost("error")
    value = lambda args: solve(args, cost, adjoint="forward").stats["cost"]
    both = jax.jit(lambda args: jax.jvp(value, (args,), (jnp.ones_like(args),)))
    rates = jnp.array([0.3, 1.2, 2.0])
    batch, loop = jax.jit(jax.vmap(both))(rates), [both(rate) for rate in rates]
    np.testing.assert_allclose(np.asarray(batch).T, loop, rtol=1e-9)


def test_an_error_that_is_zero_has_a_gradient_that_is_zero():
    def value(speed):
        sol = sm.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: jnp.full_like(y, args)),
            dfx.Tsit5(),
            0.0,
            1.0,
            0.1,
            START,
            speed,
            regularise=(sm.solver_cost("error"), sm.solver_cost("stiffness")),
            stepsize_controller=CONTROL,
            max_steps=16,
        )
        return sum(sol.stats["cost"])

    value, slope = jax.value_and_grad(value)(0.0)
    assert float(value) == float(slope) == 0


def test_single_precision_stays_single():
    costs = (
        sm.solver_cost("error"),
        sm.solver_cost("stiffness", reduce="max"),
        sm.solver_cost("error_squared", where="local"),
        sm.solver_cost("error", where="local", sampling="steps"),
        sm.taylor_cost(2),
    )
    sol = sm.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: -y),
        dfx.Tsit5(),
        jnp.float32(0),
        jnp.float32(1),
        None,
        START.astype(jnp.float32),
        regularise=costs,
        key=jax.random.key(0),
        stepsize_controller=CONTROL,
    )
    assert sol.ys.dtype == jnp.float32
    assert {value.dtype for value in sol.stats["cost"]} == {jnp.dtype("float32")}


def test_times_may_go_backwards():
    cost = sm.solver_cost("error", reduce="mean")
    forth = lambda t, y, args: -y * jnp.cos(t)
    back = lambda t, y, args: y * jnp.cos(-t)
    options = {"regularise": cost, "stepsize_controller": CONTROL}
    one = sm.diffeqsolve(dfx.ODETerm(forth), dfx.Tsit5(), 2.0, 0.0, None, START, **options)
    other = sm.diffeqsolve(dfx.ODETerm(back), dfx.Tsit5(), -2.0, 0.0, None, START, **options)
    np.testing.assert_allclose(one.stats["cost"], other.stats["cost"], rtol=1e-9)


x, k = sm.unknown("x"), sm.parameter("k", 3.0)
DECAY = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})


def test_nothing_is_compiled_again_for_other_numbers_weights_and_keys(monkeypatch):
    traced = []
    step = dfx.Tsit5.step

    def seen(*given, **options):
        traced.append(given)
        return step(*given, **options)

    monkeypatch.setattr(dfx.Tsit5, "step", seen)
    system = sm.System(sm.Eq(sm.D(x), -k * x + x**3 / 9), initial={x: 1})

    def value(rate, weight, seed):
        cost = sm.solver_cost("error", where="local", weight=weight)
        key = jax.random.key(seed)
        return sm.solve(system, t=(0, 1), values={k: rate}, regularise=cost, key=key)

    value(2.0, 1.0, 0)
    count = len(traced)
    assert count > 0
    value(3.0, lambda step: 10.0 / (1 + step), 1)
    assert len(traced) == count


def test_a_cost_of_a_model_is_differentiated_by_its_parameters():
    cost = sm.solver_cost("stiffness", reduce="max")
    options = {"t": (0, 1), "regularise": cost, "saveat": [1.0], "adjoint": "forward"}
    value = lambda v: sm.solve(DECAY, values={k: v}, **options).stats["cost"]
    np.testing.assert_allclose(jax.jacfwd(value)(3.0), 1 / 3.5068, rtol=1e-6)


def test_weights_are_numbers_or_schedules():
    falling = sm.solver_cost("error", weight=lambda step: 100 * 0.1 ** (step / 300))
    assert sm.solver_cost("error", weight=2.0).weight_at(17) == 2.0
    np.testing.assert_allclose(falling.weight_at(300), 10.0)
