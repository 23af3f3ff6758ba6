"""Runge-Kutta-Chebyshev: order, stability, stages, the spectral radius, and derivatives."""

from __future__ import annotations

import itertools

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from benchmarks.stiff_problems import brusselator_2d
from sciml.solvers.stepping._chebyshev import RKC, _coefficients, _stretch

POINTS = 32
GRID = np.arange(1, POINTS + 1) / (POINTS + 1)
SCALE = (POINTS + 1) ** 2  # of second differences: eigenvalues down to -4 SCALE
DAMPED = 2 * SCALE * (1 - np.cos(np.pi / (POINTS + 1)))  # of the slowest wave


def heat(t, y, args):
    """Diffusion of a wave that is fed so that it is ``exp(-t)`` times itself."""
    second = jnp.pad(y, 1)[2:] - 2 * y + jnp.pad(y, 1)[:-2]
    wave = jnp.sin(np.pi * GRID)
    return SCALE * second + (DAMPED - 1) * jnp.exp(-t) * wave


def logistic(t, y, args):
    return y * (1 - y)


def solved(field, y0, t1, steps, *, times=None, **options):
    saveat = dfx.SaveAt(t1=True) if times is None else dfx.SaveAt(ts=times)
    return dfx.diffeqsolve(
        dfx.ODETerm(field), RKC(**options), 0.0, t1, t1 / steps, y0,
        stepsize_controller=dfx.ConstantStepSize(), saveat=saveat,
    ).ys  # fmt: skip


@pytest.mark.parametrize("kind", ["stiff", "other"])
def test_ends_and_dense_output_converge_by_order_two(kind):
    field = heat if kind == "stiff" else logistic
    y0 = jnp.sin(np.pi * GRID) if kind == "stiff" else jnp.asarray([0.2])
    times = jnp.linspace(0.0, 1.0, 101)

    def exact(t):
        if kind == "stiff":
            return jnp.exp(-t)[:, None] * y0[None]
        start = y0[None]
        return start / (start + (1 - start) * jnp.exp(-t)[:, None])

    counts = (16, 32, 64, 128)
    found = [solved(field, y0, 1.0, n, times=times) for n in counts]
    off = jnp.stack([jnp.abs(ys - exact(times)) for ys in found])
    for errors in (off[:, -1].max(axis=-1), off.max(axis=(1, 2))):
        orders = [float(jnp.log2(a / b)) for a, b in itertools.pairwise(errors)]
        assert orders[-1] == pytest.approx(2, abs=0.2), orders


@pytest.mark.parametrize("stages", [2, 7, 60])
def test_each_number_of_stages_is_consistent_and_as_stable_as_published(stages):
    """``|R(z)| <= 1`` for -z up to 0.65 s^2, and R agrees with the exponential to order 2."""
    table = _coefficients(60, jnp.int32(stages), jnp.asarray(1.0))

    def growth(z):
        before, now = jnp.ones_like(z), 1 + table[1, 3] * z
        for n in range(2, stages + 1):
            start, one, two, own, begin, _ = table[n]
            before, now = now, start + one * now + two * before + own * z * now + begin * z
        return now

    z = -jnp.linspace(0, 0.65 * (stages**2 - 1), 2000)
    assert float(jnp.abs(growth(z)).max()) <= 1 + 1e-10
    tiny = jnp.asarray(0.0)
    first = jax.grad(growth)
    assert float(first(tiny)) == pytest.approx(1, abs=1e-9)
    assert float(jax.grad(first)(tiny)) == pytest.approx(1, abs=1e-9)
    # the time of a stage is its weight of all rates before it
    assert float(table[stages, 5]) < 1


def test_steps_of_any_size_are_stable_and_stages_grow_with_the_root_of_the_stiffness():
    counted = []

    def field(t, y, args):
        jax.debug.callback(counted.append, 1)
        return -args * y + jnp.asarray([0.0, 0.0])

    def evaluations(stiffness):
        counted.clear()
        dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: field(t, y, args)), RKC(radius=stiffness), 0.0, 1.0, 0.1,
            jnp.ones(2), jnp.asarray([1.0, stiffness]), adjoint=dfx.ForwardMode(),
        )  # fmt: skip
        jax.effects_barrier()
        return len(counted)

    few, many = evaluations(1e3), evaluations(1e5)
    assert 8 < many / few < 11
    end = solved(lambda t, y, args: jnp.asarray([-1.0, -1e5]) * y, jnp.ones(2), 1.0, 10)
    assert abs(float(end[0, 0]) - np.exp(-1)) < 1e-3
    assert abs(float(end[0, 1])) < 1e-3


@pytest.mark.parametrize("side", [8, 16])
def test_the_spectral_radius_is_found(side):
    model = sm.compile(brusselator_2d(side).system)
    y = model.state()
    field = model.vector_field
    state = RKC().init(None, 0.0, 1.0, y, None)
    radius, _, age = _stretch(RKC(), field, state, jnp.asarray(True), jnp.asarray(0.0), y)
    true = np.abs(np.linalg.eigvals(jax.jacfwd(lambda z: field(0.0, z))(y))).max()
    assert 1.0 < float(radius) / true < 1.25
    assert int(age) == 0


def test_a_reaction_on_a_torus_is_solved_as_by_a_stiff_stepper():
    case = brusselator_2d(8)
    settings = {"t": (0, 1.5), "saveat": [1.5]}
    ours = sm.solve(case.system, solver=sm.RKC(), rtol=1e-7, atol=1e-7, **settings)
    other = sm.solve(case.system, solver=sm.BDF(), rtol=1e-9, atol=1e-9, **settings)
    u = case.system.unknowns[0]
    np.testing.assert_allclose(ours[u][-1], other[u][-1], rtol=1e-5)
    assert "RKC" in ours.method


@pytest.mark.parametrize("adjoint", ["checkpointed", "direct", "forward"])
def test_derivatives_are_those_of_the_steps(adjoint):
    x, k = sm.unknown("x", shape=6), sm.parameter("k")
    around = sm.roll(x, 1) - 2 * x + sm.roll(x, -1)
    system = sm.System(
        sm.Eq(sm.D(x), k * around - x**3), initial={x: np.arange(6.0)}, values={k: 20.0}
    )
    model = sm.compile(system)
    steps = dfx.ConstantStepSize()

    def end(k):
        sol = sm.solve(
            model, t=(0, 0.5), saveat=[0.5], solver=sm.RKC(radius=90.0), adjoint=adjoint,
            values={"k": k}, stepsize_controller=steps, dt0=0.05,
        )  # fmt: skip
        return jnp.sum(sol.ys[-1] ** 2)

    derivative = jax.jacfwd(end) if adjoint == "forward" else jax.grad(end)
    eps = 1e-4
    expected = (end(20.0 + eps) - end(20.0 - eps)) / (2 * eps)
    assert float(derivative(jnp.asarray(20.0))) == pytest.approx(float(expected), rel=1e-6)


def test_steps_that_would_take_too_many_stages_are_refused():
    control = dfx.PIDController(rtol=1e-3, atol=1e-3)
    sol = dfx.diffeqsolve(
        dfx.ODETerm(lambda t, y, args: -1e4 * (y - jnp.cos(t))), RKC(most=10), 0.0, 1.0, 0.1,
        jnp.ones(2), stepsize_controller=control, max_steps=10_000,
    )  # fmt: skip
    assert float(sol.ys[-1, 0]) == pytest.approx(np.cos(1.0), abs=1e-3)
    assert int(sol.stats["num_accepted_steps"]) > 1e4 / (0.7 * 10**2)


def test_algebraic_equations_are_refused():
    x, z = sm.unknowns("x z")
    system = sm.System(sm.Eq(sm.D(x), -z), sm.Eq(0, z**3 + z - x), initial={x: 1, z: 0.7})
    with pytest.raises(sm.DeclarationError, match="RKC"):
        sm.solve(system, t=(0, 1), solver=sm.RKC())


def test_it_works_in_single_precision_and_under_vmap():
    ends = jax.vmap(lambda y0: solved(heat, y0, 1.0, 40))(
        jnp.stack([jnp.sin(np.pi * GRID), jnp.ones(POINTS)])
    )
    one = solved(heat, jnp.ones(POINTS), 1.0, 40)
    np.testing.assert_allclose(ends[1], one, rtol=1e-9)
    field = lambda t, y, args: jnp.asarray([1.0, 1e4], jnp.float32) * (jnp.cos(t) - y)
    single = dfx.diffeqsolve(
        dfx.ODETerm(field), RKC(), jnp.float32(0), jnp.float32(1), jnp.float32(0.01),
        jnp.ones(2, jnp.float32),
    ).ys  # fmt: skip
    assert single.dtype == jnp.float32
    assert float(single[0, 1]) == pytest.approx(np.cos(1.0), abs=1e-3)
