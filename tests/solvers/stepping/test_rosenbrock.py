"""Rosenbrock methods: order, stiff problems and DAEs to every digit, structure, derivatives."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import sciml as sm
from benchmarks import problems
from sciml.solvers.linear import SparseLU, Unrolled
from sciml.solvers.stepping._tableaus import RODAS5P, ROSENBROCK23

WHEN = jnp.linspace(0.0, 1.0, 87)


def riccati(t, y, args):
    return jnp.stack([-2 * t * y[0] ** 2, y[0] * y[1] / 2])


def riccati_exact(t):
    return jnp.stack([1 / (1 + t**2), jnp.exp(jnp.arctan(t) / 2)])


def kaps(t, y, args):
    """Stiff and nonlinear, Hairer and Wanner II (1996), section IV.2: ``u = (e^-2t, e^-t)``."""
    stiff = 1e8
    return jnp.stack([-(2 + stiff) * y[0] + stiff * y[1] ** 2, y[0] - y[1] - y[1] ** 2])


def kaps_exact(t):
    return jnp.stack([jnp.exp(-2 * t), jnp.exp(-t)])


@eqx.filter_jit
def errors(solver, field, exact, dt):
    sol = dfx.diffeqsolve(
        dfx.ODETerm(field), solver, 0.0, 1.0, dt, exact(jnp.zeros(())),
        saveat=dfx.SaveAt(t1=True, ts=WHEN), max_steps=4096,
    )  # fmt: skip
    error = jnp.abs(sol.ys - jax.vmap(exact)(jnp.append(WHEN, 1.0)))
    return error[-1].max(), error.max()


@pytest.mark.parametrize(
    ("solver", "field", "exact", "steps", "order", "between"),
    [
        (sm.Rodas5P(), riccati, riccati_exact, 20, 5, 4),
        (sm.Rodas5P(), kaps, kaps_exact, 8, 5, 4),
        (sm.Rosenbrock23(), riccati, riccati_exact, 40, 2, 2),
        (sm.Rosenbrock23(), kaps, kaps_exact, 40, 2, 2),
    ],
)
def test_the_order_of_convergence(solver, field, exact, steps, order, between):
    coarse = errors(solver, field, exact, jnp.asarray(1 / steps))
    fine = errors(solver, field, exact, jnp.asarray(1 / (2 * steps)))
    at_end, within = (float(jnp.log2(a / b)) for a, b in zip(coarse, fine, strict=True))
    assert at_end > order - 0.2
    assert within > between - 0.2
    if field is riccati:
        assert at_end < order + 0.5


@pytest.mark.parametrize("tableau", [RODAS5P, ROSENBROCK23])
def test_the_methods_are_stable_at_infinity(tableau):
    """``R(z) -> 0`` for the equation ``u' = z u``."""

    def damped(z):
        solver = sm.Rodas5P() if tableau is RODAS5P else sm.Rosenbrock23()
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: z * y), solver, 0.0, 1.0, 1.0, jnp.ones(1)
        )
        return float(sol.ys[0, 0])

    assert abs(damped(-1e8)) < 1e-6
    assert damped(-0.01) == pytest.approx(np.exp(-0.01), rel=1e-6)


STIFF = [
    (problems.robertson, 1e-14, 4e-10),
    (problems.hires, 1e-13, 4e-10),
    (problems.oregonator, 1e-10, 4e-10),
    (problems.pollu, 1e-14, 4e-10),
    (problems.van_der_pol, 1e-10, 4e-9),
]


@pytest.mark.parametrize(("problem", "atol", "accuracy"), STIFF)
def test_rodas5p_reaches_the_listed_digits(problem, atol, accuracy):
    case = problem()
    sol = sm.solve(
        case.system, t=(0, case.end), saveat=[case.end], solver=sm.Rodas5P(), rtol=1e-10, atol=atol,
        max_steps=60_000,
    )  # fmt: skip
    for symbol, (listed,) in case.listed.items():
        assert float(sol[symbol][-1]) == pytest.approx(float(listed), rel=accuracy)


def test_a_structure_changes_nothing_but_the_speed():
    case = problems.hires()
    model = sm.compile(case.system)
    sols = [
        sm.solve(model, t=(0, 100), saveat=[100.0], solver=sm.Rodas5P(structure=structure))
        for structure in (
            SparseLU(model.jacobian_pattern.with_diagonal()),
            Unrolled(8, tuple((i, j) for i in range(8) for j in range(8))),
            sm.solvers.Dense(8),
        )
    ]
    for sol in sols[1:]:
        assert int(sol.stats["num_steps"]) == int(sols[0].stats["num_steps"])
        np.testing.assert_allclose(sol.ys, sols[0].ys, rtol=1e-9)


def test_evaluations_are_counted():
    case = problems.robertson(100.0)
    sol = sm.solve(case.system, t=(0, 100), saveat=[100.0], solver="stiff", rtol=1e-6, atol=1e-9)
    steps = int(sol.stats["num_steps"])
    assert int(sol.stats["num_evaluations"]) == 8 * steps + 2  # for the first step
    sol = sm.solve(
        case.system, t=(0, 100), saveat=[100.0], solver=sm.Rosenbrock23(), rtol=1e-3, atol=1e-6
    )
    steps = int(sol.stats["num_steps"])
    assert 2 * steps < int(sol.stats["num_evaluations"]) <= 2 * steps + 7


@pytest.mark.parametrize("solver", [sm.Rodas5P(), sm.Rosenbrock23()])
def test_gradients_are_those_of_the_steps_taken(solver):
    """On a frozen grid, against central differences; reverse and forward mode."""
    case = problems.robertson(100.0)
    model = sm.compile(case.system)
    grid = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-4, 100.0, 40)])

    def end(scale, adjoint):
        sol = sm.solve(
            model, t=(0, 100), initial={"y1": scale}, saveat=dfx.SaveAt(t1=True), solver=solver,
            stepsize_controller=dfx.StepTo(grid), adjoint=adjoint,
        )  # fmt: skip
        return sol["y1"][-1] + 1e4 * sol["y2"][-1]

    step = 1e-5
    up, down = (end(jnp.asarray(1 + s), "checkpointed") for s in (step, -step))
    slope = (up - down) / (2 * step)
    reverse = jax.jit(jax.grad(lambda s: end(s, "checkpointed")))(1.0)
    forward = jax.jit(lambda s: jax.jvp(lambda s: end(s, "forward"), (s,), (1.0,))[1])(1.0)
    np.testing.assert_allclose(reverse, slope, rtol=1e-6)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)


def test_batches_are_solved_at_once():
    model = sm.compile(problems.hires().system)

    def end(start):
        sol = sm.solve(model, t=(0, 50), initial={"y1": start}, saveat=[50.0], solver="stiff")
        return sol.ys[-1]

    starts = jnp.asarray([0.9, 1.0, 1.2])
    together = jax.jit(jax.vmap(end))(starts)
    np.testing.assert_allclose(together, [end(s) for s in starts], rtol=1e-9)


def test_a_state_of_several_arrays_is_taken():
    term = dfx.ODETerm(lambda t, y, args: {"a": -1e4 * (y["a"] - y["b"]), "b": -y["b"]})
    y0 = {"a": jnp.zeros((2,)), "b": jnp.ones((2,))}
    control = dfx.PIDController(rtol=1e-8, atol=1e-10)
    sol = dfx.diffeqsolve(term, sm.Rodas5P(), 0.0, 1.0, None, y0, stepsize_controller=control)
    np.testing.assert_allclose(sol.ys["b"][-1], np.exp(-1), rtol=1e-7)
    np.testing.assert_allclose(sol.ys["a"][-1], np.exp(-1) / (1 - 1e-4), rtol=1e-7)


def robertson_dae() -> sm.System:
    y1, y2, y3 = sm.unknowns("y1 y2 y3")
    return sm.System(
        sm.Eq(sm.D(y1), -0.04 * y1 + 1e4 * y2 * y3),
        sm.Eq(sm.D(y2), 0.04 * y1 - 1e4 * y2 * y3 - 3e7 * y2**2),
        sm.Eq(y1 + y2 + y3, 1),
        initial={y1: 1, y2: 0, y3: 0.3},
        name="Robertson, DAE",
    )


def akzo_nobel() -> sm.System:
    """Mazzia and Magherini, Test Set for IVP Solvers (2008): five rates, one algebraic equation."""
    y = sm.unknowns("y1 y2 y3 y4 y5 y6")
    y1, y2, y3, y4, y5, y6 = y
    k1, k2, k3, k4, ratio, ks = 18.7, 0.58, 0.09, 0.42, 34.4, 115.83
    r1, r2, r3 = k1 * y1**4 * y2**0.5, k2 * y3 * y4, k2 / ratio * y1 * y5
    r4, r5, flow = k3 * y1 * y4**2, k4 * y6**2 * y2**0.5, 3.3 * (0.9 / 737 - y2)
    return sm.System(
        sm.Eq(sm.D(y1), -2 * r1 + r2 - r3 - r4),
        sm.Eq(sm.D(y2), -r1 / 2 - r4 - r5 / 2 + flow),
        sm.Eq(sm.D(y3), r1 - r2 + r3),
        sm.Eq(sm.D(y4), -r2 + r3 - 2 * r4),
        sm.Eq(sm.D(y5), r2 - r3 + r5),
        sm.Eq(0, ks * y1 * y4 - y6),
        initial=dict(zip(y, (0.444, 0.00123, 0, 0.007, 1, 0), strict=True)),
        name="Chemical Akzo Nobel",
    )


@pytest.mark.parametrize("solver", [None, sm.BDF(), sm.Radau5()])
def test_robertson_as_a_dae_reaches_the_listed_digits(solver):
    tight = {"rtol": 1e-10, "atol": 1e-14}
    sol = sm.solve(
        robertson_dae(), t=(0, 1e5), saveat=[1e5], solver=solver, max_steps=60_000, **tight
    )
    accuracy = 2e-8 if isinstance(solver, sm.BDF) else 4e-10
    for name, listed in (("y1", 0.0178659211423), ("y2", 7.27475146852e-8), ("y3", 0.98213400611)):
        assert float(sol[name][-1]) == pytest.approx(listed, rel=accuracy)


def test_the_chemical_akzo_nobel_problem_reaches_the_listed_digits():
    sol = sm.solve(akzo_nobel(), t=(0, 180), saveat=[180.0], rtol=1e-10, atol=1e-14, max_steps=9999)
    listed = (0.179236694936, 8.23662373e-5, 0.171660622672, 0.0661877670866, 2.20648799152)
    for number, value in enumerate(listed, 1):
        assert float(sol[f"y{number}"][-1]) == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(sol["y6"], 115.83 * sol["y1"] * sol["y4"], rtol=1e-10)
    assert sol.method.startswith("Rodas5P, for the algebraic equations")


def test_a_pole_ends_the_solve_with_the_unknown_that_has_it():
    x = sm.unknown("x")
    pole = sm.System(sm.Eq(sm.D(x), x**2), initial={x: 1})
    with pytest.raises(sm.SolveError, match="x"):
        sm.solve(pole, t=(0, 2), solver="stiff", max_steps=500)


@pytest.mark.parametrize("solver", [sm.Rodas5P(), sm.Rosenbrock23(), sm.BDF(), sm.Radau5()])
def test_time_may_run_backwards(solver):
    term = dfx.ODETerm(lambda t, y, args: -y + 0.1 * t)
    control = dfx.PIDController(rtol=1e-6, atol=1e-8)
    y0 = jnp.asarray([1.0])
    sol = dfx.diffeqsolve(term, solver, 1.0, 0.0, None, y0, stepsize_controller=control)
    exact = (1.0 - 0.1 * (1 - 1)) * np.e - 0.1  # u = 0.1 (t - 1) + c exp(-t)
    np.testing.assert_allclose(sol.ys[0, 0], exact, rtol=1e-4)


def test_events_end_the_solve():
    term = dfx.ODETerm(lambda t, y, args: -1e3 * (y - 1 + t))
    event = dfx.Event(lambda t, y, args, **kwargs: y[0] - 0.5, optx.Newton(1e-10, 1e-10))
    control = dfx.PIDController(rtol=1e-8, atol=1e-10)
    sol = dfx.diffeqsolve(
        term, sm.Rodas5P(), 0.0, 2.0, None, jnp.ones(1), stepsize_controller=control, event=event
    )
    assert float(sol.ts[0]) == pytest.approx(0.5 + 1e-3, abs=1e-8)
