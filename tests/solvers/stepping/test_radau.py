"""Radau IIA of order 5: its order, stiff problems and DAEs, its steps, derivatives and failures."""

from __future__ import annotations

import dataclasses

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from scipy.integrate import solve_ivp

import sciml as sm
from benchmarks import problems
from sciml.solvers.linear._dense import Dense
from sciml.solvers.linear._structure import AbstractStructure
from sciml.solvers.stepping._radau import Radau5

TIGHT = {"rtol": 1e-13, "atol": 1e-14}
WHEN = jnp.linspace(0.0, 1.0, 87)

# At t = 1e5, by Radau IIA of order 9 in 30 digits (150 and 250 steps agree). The listed digits of
# the first two end in ...1423 and ...6852.
ROBERTSON = (0.0178659211421, 7.27475146844e-8, 0.98213400611)


@eqx.filter_jit
def errors(field, exact, args, dt):
    """At the end, and the greatest within steps, of each unknown."""
    sol = dfx.diffeqsolve(
        dfx.ODETerm(field),
        Radau5(**TIGHT),
        0.0,
        1.0,
        dt,
        exact(jnp.zeros(())),
        args,
        saveat=dfx.SaveAt(t1=True, ts=WHEN),
    )
    error = jnp.abs(sol.ys - jax.vmap(exact)(jnp.append(WHEN, 1.0)))
    return error[-1].max(), error.max(axis=0)


def orders(field, exact, args, dt):
    """Of the end and of the dense output, from steps of two sizes."""
    sizes = jnp.asarray(dt), jnp.asarray(dt / 2)
    (coarse, between), (fine, among) = (errors(field, exact, args, dt) for dt in sizes)
    return float(jnp.log2(coarse / fine)), np.log2(between / among)


def riccati(t, y, args):
    return jnp.stack([-2 * t * y[0] ** 2, y[0] * y[1] / 2])


def riccati_exact(t):
    return jnp.stack([1 / (1 + t**2), jnp.exp(jnp.arctan(t) / 2)])


def kaps(t, y, epsilon):
    return jnp.stack([(y[1] ** 2 - y[0]) / epsilon - 2 * y[0], y[0] - y[1] - y[1] ** 2])


def kaps_exact(t):
    return jnp.stack([jnp.exp(-2 * t), jnp.exp(-t)])


def test_the_order_is_five_and_that_of_dense_output_too():
    end, dense = orders(riccati, riccati_exact, None, 1 / 8)
    assert end == pytest.approx(5, abs=0.2)
    assert dense[0] == pytest.approx(5, abs=0.2)


def test_the_order_is_five_on_a_stiff_problem_and_dense_output_loses_one_in_fast_unknowns():
    end, (fast, slow) = orders(kaps, kaps_exact, jnp.asarray(1e-8), 1 / 8)
    assert end == pytest.approx(5, abs=0.2)
    assert slow == pytest.approx(5, abs=0.2)
    assert fast == pytest.approx(4, abs=0.2)


def test_the_order_falls_where_steps_times_stiffness_are_neither_small_nor_great():
    end, _ = orders(kaps, kaps_exact, jnp.asarray(1e-4), 1 / 16)
    assert 3 < end < 3.7  # order reduction: Hairer and Wanner, section IV.15


@eqx.filter_jit
def solved(field, solver, end, y0, args, rtol, atol, **options):
    return dfx.diffeqsolve(
        dfx.ODETerm(field),
        solver,
        0.0,
        end,
        None,
        y0,
        args,
        stepsize_controller=dfx.PIDController(rtol=rtol, atol=atol),
        throw=False,
        max_steps=50_000,
        **options,
    )


def reached(case, atol):
    model = sm.compile(case.system)
    sol = solved(
        model.vector_field,
        Radau5(rtol=1e-10, atol=atol),
        case.end,
        model.state(),
        None,
        1e-10,
        atol,
    )
    return {s: float(y) for s, y in zip(case.listed, sol.ys[-1], strict=True)}


@pytest.mark.parametrize(
    ("problem", "atol"), [(problems.hires, 1e-14), (problems.van_der_pol, 1e-12)]
)
def test_stiff_problems_reach_every_listed_digit(problem, atol):
    case = problem()
    for symbol, value in reached(case, atol).items():
        (digits,) = case.listed[symbol]
        assert value == pytest.approx(float(digits), rel=2e-11), symbol


def robertson(t, y, args):
    a, b, c = (1.0, 1.0, 1.0) if args is None else args
    slow, mixed, fast = 0.04 * a * y[0], 1e4 * b * y[1] * y[2], 3e7 * c * y[1] ** 2
    return jnp.stack([mixed - slow, slow - mixed - fast, fast])


def robertson_dae(t, y, args):
    return jnp.append(robertson(t, y, args)[:2], y.sum() - 1)


START = jnp.array([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("field", "mass"), [(robertson, None), (robertson_dae, jnp.array([1.0, 1.0, 0.0]))]
)
def test_robertson_reaches_every_digit_with_rates_and_with_a_conservation_law(field, mass):
    solver = Radau5(mass=mass, rtol=1e-10, atol=1e-15)
    sol = solved(field, solver, 1e5, START, None, 1e-10, 1e-15)
    np.testing.assert_allclose(sol.ys[-1], ROBERTSON, rtol=5e-12)


def test_robertson_takes_no_more_steps_than_scipy_in_a_batch_too():
    solver = Radau5(rtol=1e-6, atol=1e-9)

    def member(speed):
        rates = (speed, speed, speed)
        return solved(robertson, solver, 1e5 / speed, START, rates, 1e-6, 1e-9)

    sol = jax.vmap(member)(jnp.array([1.0, 4.0]))
    np.testing.assert_allclose(sol.ys[:, -1], [ROBERTSON, ROBERTSON], rtol=1e-7)
    peer = solve_ivp(
        lambda t, y: np.array(
            [
                -0.04 * y[0] + 1e4 * y[1] * y[2],
                0.04 * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] ** 2,
                3e7 * y[1] ** 2,
            ]
        ),
        (0, 1e5),
        [1.0, 0.0, 0.0],
        method="Radau",
        rtol=1e-6,
        atol=1e-9,
    )
    assert int(sol.stats["num_steps"].max()) <= len(peer.t) - 1  # 156 and 176
    assert int(sol.stats["num_rejected_steps"].max()) <= 8


@dataclasses.dataclass(frozen=True)
class Opaque(AbstractStructure):
    """A structure that Radau5 knows nothing of."""

    size: int

    def jacobian(self, f, y):
        return Dense(self.size).jacobian(f, y)

    def diagonal(self, values):
        return Dense(self.size).diagonal(values)

    def apply(self, matrix, x):
        return Dense(self.size).apply(matrix, x)

    def factor(self, matrix):
        return Dense(self.size).factor(matrix)

    def solve(self, factors, b):
        return Dense(self.size).solve(factors, b)

    def solve_transposed(self, factors, b):
        return Dense(self.size).solve_transposed(factors, b)

    def describe(self):
        return "opaque"


# Of a size that the transient at the beginning allows.
GRID = jnp.append(jnp.linspace(0.0, 5e-3, 16), jnp.geomspace(8e-3, 40.0, 20)).at[-1].set(40.0)


def replayed(values, adjoint):
    """Of two rates and an initial value: a scalar of the end and of dense output."""

    def field(t, y, args):
        return robertson(t, y, (args, 1.0, values[1]))  # closes over one of the parameters

    sol = dfx.diffeqsolve(
        dfx.ODETerm(field),
        Radau5(**TIGHT),
        0.0,
        40.0,
        None,
        START.at[0].set(values[2]),
        values[0],
        stepsize_controller=dfx.StepTo(GRID),
        saveat=dfx.SaveAt(t1=True, ts=jnp.array([GRID[1] / 3, 17.0])),
        adjoint=adjoint,
        max_steps=len(GRID),
    )
    return jnp.sum(jnp.array([[1.0, 2e4, 3.0], [2.0, 1e4, -1.0], [1.0, 1e4, 5.0]]) * sol.ys)


def differences(f, x, step=4e-3):
    """Central differences of order 6."""
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    shifts = jnp.concatenate([s * k * step * jnp.eye(x.size) for k in weights for s in (1, -1)])
    values = jax.vmap(f)(x[None] + shifts).reshape(3, 2, x.size)
    return jnp.asarray(list(weights.values())) @ (values[:, 0] - values[:, 1]) / step


def test_derivatives_are_those_of_the_steps_taken():
    x = jnp.array([1.0, 0.9, 1.0])
    reverse, forward = dfx.RecursiveCheckpointAdjoint(), dfx.ForwardMode()
    expected = jax.jit(lambda x: differences(lambda x: replayed(x, reverse), x))(x)
    pulled = jax.jit(jax.grad(lambda x: replayed(x, reverse)))(x)
    pushed = jax.jit(jax.jacfwd(lambda x: replayed(x, forward)))(x)
    np.testing.assert_allclose(pulled, expected, rtol=1e-8)
    np.testing.assert_allclose(pushed, pulled, rtol=1e-10)


def stepped(x, structure):
    """One step, of the DAE: the end, and what it tells."""
    solver = Radau5(structure=structure, mass=jnp.array([1.0, 1.0, 0.0]), **TIGHT)
    term, times = dfx.ODETerm(robertson_dae), (jnp.zeros(()), x[2])
    y0 = jnp.stack([1 - x[3], jnp.zeros(()), x[3]])
    state = solver.init(term, *times, y0, (x[0], x[1], x[1]))
    y1, error, _, _, result = solver.step(term, *times, y0, (x[0], x[1], x[1]), state, False)
    return y1, (error, result == dfx.RESULTS.successful)


def test_a_dae_is_differentiated_with_a_structure_of_its_own():
    x, structure = jnp.array([1.0, 0.9, 2e-4, 1e-3]), Opaque(3)
    slopes, _ = jax.jit(jax.jacrev(lambda x: stepped(x, structure), has_aux=True))(x)
    weights = jnp.array([1.0, 1e4, 1.0])
    expected = jax.jit(lambda x: differences(lambda x: weights @ stepped(x, None)[0], x, 4e-5))(x)
    np.testing.assert_allclose(weights @ slopes, expected, rtol=1e-8)


def test_a_step_that_fails_tells_so_and_does_not_spoil_derivatives():
    x = jnp.array([1.0, 0.9, 1.0, 1e-3])
    slopes, (error, found) = jax.jit(jax.jacrev(lambda x: stepped(x, None), has_aux=True))(x)
    assert not bool(found)
    assert bool(jnp.isinf(error).all())
    assert bool(jnp.isfinite(slopes).all())


def test_an_event_is_found_where_it_is():
    event = dfx.Event(lambda t, y, args, **_: y[1] - 0.5, optx.Newton(1e-10, 1e-10))
    y0, epsilon = jnp.ones(2), jnp.asarray(1e-6)
    sol = solved(kaps, Radau5(), 5.0, y0, epsilon, 1e-8, 1e-10, event=event)
    assert float(sol.ts[-1]) == pytest.approx(np.log(2), rel=1e-8)


def test_a_pytree_of_single_precision_goes_back_in_time():
    control = dfx.PIDController(rtol=1e-4, atol=1e-5)
    t0, t1 = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
    y0 = {"a": jnp.ones((2, 1), jnp.float32), "b": jnp.ones((), jnp.float32)}
    term = dfx.ODETerm(lambda t, y, args: jax.tree.map(lambda x: -t * x, y))
    sol = dfx.diffeqsolve(term, Radau5(), t0, t1, None, y0, stepsize_controller=control)
    assert sol.ys["a"].dtype == jnp.float32
    np.testing.assert_allclose(sol.ys["a"][-1], np.exp(0.5) * np.ones((2, 1)), rtol=1e-3)


@eqx.filter_jit
def briefly(control, undefined_from):
    """How ``y' = y^2`` ends, which is infinite at t = 1."""
    return dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: jnp.where(t > args, jnp.nan, y**2)),
        Radau5(),
        0.0,
        2.0,
        None,
        jnp.ones(1),
        undefined_from,
        stepsize_controller=control,
        throw=False,
        max_steps=500,
    ).result


def test_what_cannot_be_solved_ends_without_success():
    control = dfx.PIDController(rtol=1e-6, atol=1e-8)
    for undefined_from in (5.0, 0.5):
        result = briefly(control, jnp.asarray(undefined_from))
        assert result == dfx.RESULTS.max_steps_reached


def test_complex_states_are_refused():
    with pytest.raises(ValueError, match="real numbers"):
        Radau5().init(
            dfx.ODETerm(lambda t, y, args: y), 0.0, 1.0, jnp.ones(1, jnp.complex128), None
        )
