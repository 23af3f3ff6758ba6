"""BDF: orders, stiff problems, few evaluations and factorisations, derivatives, DAEs, failures."""

from __future__ import annotations

import itertools

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import sciml as sm
from benchmarks import problems
from benchmarks.stiff_problems import brusselator_1d, brusselator_2d
from sciml.solvers.stepping._bdf import _advanced, _rescaled


@pytest.mark.parametrize(
    ("problem", "atol"),
    [(problems.robertson, 1e-14), (problems.hires, 1e-13), (problems.oregonator, 1e-10)],
)
def test_the_error_follows_the_tolerance(problem, atol):
    case = problem()
    sol = sm.solve(
        case.system, t=(0, case.end), saveat=[case.end], solver=sm.BDF(), rtol=1e-10, atol=atol,
        max_steps=60_000,
    )  # fmt: skip
    for symbol, (listed,) in case.listed.items():
        assert float(sol[symbol][-1]) == pytest.approx(float(listed), rel=2e-7)


@pytest.mark.parametrize("problem", [problems.robertson, problems.hires])
def test_it_takes_as_many_steps_as_scipys(problem):
    case = problem()
    model = sm.compile(case.system)
    tight = {"rtol": 1e-6, "atol": 1e-10}
    sol = sm.solve(model, t=(0, case.end), saveat=[case.end], solver=sm.BDF(), **tight)
    rates = jax.jit(lambda t, y: model.vector_field(t, y))
    slopes = jax.jit(jax.jacfwd(lambda t, y: model.vector_field(t, y), argnums=1))
    theirs = solve_ivp(
        lambda t, y: np.asarray(rates(t, y)), (0, case.end), np.asarray(model.state()),
        method="BDF", jac=lambda t, y: np.asarray(slopes(t, y)), **tight,
    )  # fmt: skip
    assert int(sol.stats["num_steps"]) < 1.2 * (theirs.t.size - 1)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kernel", [True, False])
def test_differences_of_a_polynomial_are_carried_and_rescaled_exactly(order, kernel):
    """Backward differences of ``t^order`` on a grid, by their definition."""
    h, t1 = 0.3, 2.0

    def differences(end, step):
        values = [(end - i * step) ** order for i in range(8)]
        found = []
        while values:
            found.append(values[0])
            values = [a - b for a, b in itertools.pairwise(values)]
        return jnp.asarray(found)[:, None]

    kept = jnp.arange(8)[:, None] <= order
    rescaled = _rescaled(kernel, differences(t1, h), jnp.asarray(order), jnp.asarray(0.7))
    wanted = differences(t1, 0.7 * h)
    np.testing.assert_allclose(
        jnp.where(kept, rescaled, 0), jnp.where(kept, wanted, 0), rtol=1e-9, atol=1e-11
    )
    before, after = differences(t1, h), differences(t1 + h, h)
    change = after[0] - jnp.sum(jnp.where(kept, before, 0), axis=0)
    moved = _advanced(before, jnp.asarray(order), change)
    np.testing.assert_allclose(
        jnp.where(kept, moved, 0), jnp.where(kept, after, 0), rtol=1e-9, atol=1e-11
    )


def test_the_factors_are_kept_over_many_steps():
    """Evaluations in accepted steps: fewer than two in each."""
    case = problems.pollu()
    model = sm.compile(case.system)
    solver = sm.solvers.with_tolerances_of(
        sm.solvers.choose_solver(sm.BDF(), 1e-6, model), dfx.PIDController(rtol=1e-6, atol=1e-10)
    )
    sol = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: model.vector_field(t, y)), solver, 0.0, case.end, None,
        model.state(), stepsize_controller=dfx.PIDController(rtol=1e-6, atol=1e-10),
        saveat=dfx.SaveAt(t1=True, solver_state=True),
    )  # fmt: skip
    assert int(sol.solver_state.evaluations) < 2 * int(sol.stats["num_steps"])


def test_dense_output_lies_on_the_solution():
    x = sm.unknown("x")
    decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    sol = sm.solve(decay, t=(0, 3), solver=sm.BDF(), rtol=1e-9, atol=1e-12)
    times = np.linspace(0, 3, 77)
    np.testing.assert_allclose(sol(times)[x], np.exp(-times), rtol=2e-7)


def test_gradients_agree_with_differences_and_both_modes_with_each_other():
    case = problems.robertson(100.0)
    model = sm.compile(case.system)
    tight = {"rtol": 1e-10, "atol": 1e-14, "max_steps": 8000}

    def end(start, adjoint):
        sol = sm.solve(
            model, t=(0, 100), initial={"y1": start}, saveat=[100.0], solver=sm.BDF(),
            adjoint=adjoint, **tight,
        )  # fmt: skip
        return sol["y1"][-1] + 1e4 * sol["y2"][-1]

    reverse = jax.jit(jax.grad(lambda s: end(s, "checkpointed")))(1.0)
    forward = jax.jit(lambda s: jax.jvp(lambda s: end(s, "forward"), (s,), (1.0,))[1])(1.0)
    step = 1e-3
    slope = (end(1 + step, "checkpointed") - end(1 - step, "checkpointed")) / (2 * step)
    np.testing.assert_allclose(forward, reverse, rtol=1e-6)
    np.testing.assert_allclose(reverse, slope, rtol=1e-5)


def test_a_rod_is_solved_by_blocks():
    model = sm.compile(brusselator_1d(512).system)
    ends = {}
    for solver in ("stiff", sm.Rodas5P()):
        sol = sm.solve(model, t=(0, 10), saveat=[10.0], solver=solver, rtol=1e-8, atol=1e-10)
        assert "three diagonals" in sol.method
        ends[sol.method[:3]] = sol.ys[-1]
    np.testing.assert_allclose(ends["BDF"], ends["Rod"], rtol=1e-6)


def test_gradients_through_each_structure_are_those_of_dense_elimination():
    model = sm.compile(brusselator_2d(6).system)
    pattern = model.jacobian_pattern.with_diagonal()
    kinds = (
        sm.solvers.Dense(pattern.shape[0]),
        *(
            kind(pattern)
            for kind in (sm.solvers.SparseLU, sm.solvers.BlockTridiagonal, sm.solvers.Krylov)
        ),
    )

    def end(alpha, structure):
        sol = sm.solve(
            model, t=(0, 1), saveat=[1.0], values={"alpha": alpha}, rtol=1e-7, atol=1e-7,
            solver=sm.BDF(structure=structure), max_steps=512,
        )  # fmt: skip
        return jnp.sum(sol.ys[-1] ** 2), sol.stats["num_steps"]

    found = [
        jax.jit(jax.value_and_grad(lambda a, k=kind: end(a, k), has_aux=True))(0.1)
        for kind in kinds
    ]
    (exact, others), wanted = found[0]
    for (near, steps), slope in found[1:]:
        assert float(near) == pytest.approx(float(exact), rel=1e-6)
        assert float(slope) == pytest.approx(float(wanted), rel=1e-5)
        assert int(steps) < 1.1 * int(others)


def test_rates_that_are_no_numbers_end_the_solve():
    x = sm.unknown("x")
    root = sm.System(sm.Eq(sm.D(x), -1 - x**0.5), initial={x: 1})
    with pytest.raises(sm.SolveError, match="rate of x"):
        sm.solve(root, t=(0, 5), solver=sm.BDF(), max_steps=500)
