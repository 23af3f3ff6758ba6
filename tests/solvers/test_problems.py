"""The non-stiff problems of the field, at tolerance 1e-10: every digit that is listed."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from benchmarks import problems
from sciml import D

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def rounded(value: float, listed: str) -> str:
    """`value` with as many decimals as `listed` has."""
    return f"{float(value):.{len(listed.partition('.')[2])}f}"


@pytest.mark.parametrize(
    "problem",
    [
        problems.lotka_volterra,
        problems.fitzhugh_nagumo,
        problems.pleiades,
        problems.pleiades_scalar,
    ],
)
def test_every_listed_digit_appears_at_tolerance_1e_10(problem):
    case = problem()
    sol = sm.solve(case.system, t=(0, case.end), saveat=[case.end], **TIGHT)
    for symbol, listed in case.listed.items():
        values = np.atleast_1d(sol[symbol][-1])
        assert [rounded(v, d) for v, d in zip(values, listed, strict=True)] == list(listed)


def test_arenstorfs_orbit_closes_after_one_period():
    case = problems.arenstorf()
    sol = sm.solve(case.system, t=(0, case.end), saveat=[0, case.end], **TIGHT)
    assert np.max(np.abs(sol.ys[1] - sol.ys[0])) < 1e-8


@pytest.fixture(scope="module")
def lotka_volterra_at_the_end():
    case = problems.lotka_volterra()
    a, b, c = sm.parameters("a b c")
    x, y = sm.unknowns("x y")

    def at_the_end(parameters, adjoint):
        values = dict(zip((a, b, c), parameters, strict=True))
        span = (0, case.end)
        sol = sm.solve(
            case.system, t=span, values=values, saveat=[case.end], adjoint=adjoint, **TIGHT
        )
        return jnp.stack([sol[x][-1], sol[y][-1]])

    return at_the_end


@pytest.mark.parametrize(
    ("jacobian", "adjoint"),
    [
        (jax.jacfwd, dfx.ForwardMode()),
        (jax.jacrev, dfx.RecursiveCheckpointAdjoint()),
    ],
    ids=["forward", "reverse"],
)
def test_sensitivities_of_lotka_volterra_have_every_listed_digit(
    lotka_volterra_at_the_end, jacobian, adjoint
):
    parameters = jnp.array([1.5, 1.0, 3.0])
    found = jax.jit(jacobian(lambda p: lotka_volterra_at_the_end(p, adjoint)))(parameters)
    for row, listed in zip(found, problems.LOTKA_VOLTERRA_SENSITIVITIES.values(), strict=True):
        assert [rounded(v, d) for v, d in zip(row, listed, strict=True)] == list(listed)


@pytest.mark.parametrize(("solver", "order"), [(dfx.Heun(), 2), (dfx.Tsit5(), 5)], ids=str)
def test_fixed_steps_converge_with_the_order_of_the_method(solver, order):
    x, y = sm.unknowns("x y")
    turn = sm.System(sm.Eq(D(x), -y), sm.Eq(D(y), x), initial={x: 1, y: 0})
    errors = []
    for steps in (16, 32, 64):
        sol = sm.solve(
            turn,
            t=(0, 1),
            solver=solver,
            stepsize_controller=dfx.ConstantStepSize(),
            dt0=1 / steps,
            saveat=[1.0],
        )
        assert int(sol.stats["num_steps"]) == steps
        errors.append(float(np.hypot(sol[x][-1] - np.cos(1), sol[y][-1] - np.sin(1))))
    observed = np.diff(-np.log2(errors))
    np.testing.assert_allclose(observed, order, atol=0.25)
