"""Stochastic systems: strong orders, moments, noise that solvers refuse, transformations."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D

x, y, B = sm.unknowns("x y B")
W, V = sm.brownian("W"), sm.brownian("V")
a, b = sm.parameters("a b")
KEYS = jax.random.split(jax.random.key(7), 200)
STEPS = (16, 32, 64, 128)

GEOMETRIC = sm.System(
    sm.Eq(D(x), a * x + b * x * D(W)),
    sm.Eq(D(B), D(W)),  # the path itself
    initial={x: 1, B: 0},
    values={a: 0.5, b: 0.7},
)
# dX = (b/sqrt(1+t) - X/(2(1+t))) dt + a b/sqrt(1+t) dW; X = (X0 + b (t + a W))/sqrt(1+t)
ROOT = sympy.sqrt(1 + sm.t)
ADDITIVE = sm.System(
    sm.Eq(D(x), b / ROOT - x / (2 * ROOT**2) + a * b / ROOT * D(W)),
    sm.Eq(D(B), D(W)),
    initial={x: 0.5, B: 0},
    values={a: 0.1, b: 0.05},
)


def geometric_end(path):
    return jnp.exp(0.5 - 0.245 + 0.7 * path)


def additive_end(path):
    return (0.5 + 0.05 * (1 + 0.1 * path)) / jnp.sqrt(2.0)


def strong_order(system, solver, exact):
    """The slope of the root mean square error at t = 1, over paths, by the number of steps."""

    @jax.jit
    def error(step):  # compiled once for all steps
        def one(key):
            sol = sm.solve(system, t=(0, 1), saveat=[1.0], dt0=step, solver=solver, key=key)
            return sol[x][-1] - exact(sol[B][-1])

        return jnp.sqrt(jnp.mean(jax.vmap(one)(KEYS) ** 2))

    return -np.polyfit(np.log(STEPS), np.log([error(1 / n) for n in STEPS]), 1)[0]


# Noise of one Brownian motion commutes: methods of order 0.5 in general have 1 here.
@pytest.mark.parametrize(
    ("solver", "calculus", "order"),
    [
        (dfx.Euler(), "ito", 0.5),
        (dfx.ItoMilstein(), "ito", 1.0),
        (dfx.EulerHeun(), "stratonovich", 1.0),
        (dfx.Heun(), "stratonovich", 1.0),
        (dfx.Midpoint(), "stratonovich", 1.0),
        (dfx.Ralston(), "stratonovich", 1.0),
        (dfx.ReversibleHeun(), "stratonovich", 1.0),
        (dfx.StratonovichMilstein(), "stratonovich", 1.0),
        (dfx.SPaRK(), "stratonovich", 1.0),
        (dfx.GeneralShARK(), "stratonovich", 1.0),
        (dfx.SlowRK(), "stratonovich", 1.5),
    ],
)
def test_geometric_brownian_motion_converges_with_the_strong_order(solver, calculus, order):
    system = GEOMETRIC if calculus == "ito" else sm.to_stratonovich(GEOMETRIC)
    assert strong_order(system, solver, geometric_end) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(
    ("solver", "order"),
    # The end is a function of the path's end alone, so that the area, which limits the last two
    # to 1.5 in general, has no part in their error: it is of the drift's order, 2.
    [(dfx.Euler(), 1.0), (dfx.SEA(), 1.0), (dfx.SRA1(), 2.0), (dfx.ShARK(), 2.0)],
)
def test_additive_noise_converges_with_the_strong_order(solver, order):
    assert strong_order(ADDITIVE, solver, additive_end) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", [dfx.SRA1(), dfx.ShARK()])
def test_additive_noise_in_a_nonlinear_equation_converges_with_order_one_and_a_half_or_more(solver):
    system = sm.System(sm.Eq(D(x), 3 * sympy.sin(x) + D(W)), initial={x: 1})

    @jax.jit
    def ends(step):
        def one(key):
            return sm.solve(system, t=(0, 1), saveat=[1.0], dt0=step, solver=solver, key=key)[x][-1]

        return jax.vmap(one)(KEYS)

    fine, steps = ends(1 / 4000), (100, 200, 400)
    errors = [np.sqrt(np.mean((ends(1 / n) - fine) ** 2)) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] > 1.35


def test_the_default_solver_follows_the_noise():
    assert strong_order(ADDITIVE, None, additive_end) > 1.35
    assert strong_order(GEOMETRIC, None, geometric_end) > 0.85


def test_an_ornstein_uhlenbeck_process_has_the_exact_moments():
    system = sm.System(sm.Eq(D(x), -2 * x + 0.5 * D(W)), initial={x: 3})
    end = jax.jit(
        jax.vmap(lambda key: sm.solve(system, t=(0, 1), saveat=[1.0], dt0=0.02, key=key)[x][-1])
    )(jax.random.split(jax.random.key(0), 20_000))
    spread = 0.5 * np.sqrt((1 - np.exp(-4)) / 4)
    assert np.mean(end) == pytest.approx(3 * np.exp(-2), abs=4 * spread / np.sqrt(20_000))
    assert np.std(end) == pytest.approx(spread, rel=0.02)


def test_correlated_noise_has_its_correlation():
    Z = sm.brownian("Z", correlation=[[1, -0.6], [-0.6, 1]])
    u = sm.unknown("u", shape=2)
    system = sm.System(sm.Eq(D(u), D(Z)), initial={u: 0})
    end = jax.jit(
        jax.vmap(lambda key: sm.solve(system, t=(0, 1), saveat=[1.0], dt0=0.5, key=key)[u][-1])
    )(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_allclose(np.cov(end.T), [[1, -0.6], [-0.6, 1]], atol=0.04)


def test_a_geometric_process_in_its_logarithm_is_never_negative_and_exact():
    logarithm = sm.change_variables(GEOMETRIC, {x: sympy.exp(y)})

    def one(key):
        sol = sm.solve(logarithm, t=(0, 1), saveat=[1.0], dt0=1.0, solver=dfx.Euler(), key=key)
        return sol[x][-1], sol[B][-1]

    found, path = jax.jit(jax.vmap(one))(KEYS)
    assert np.all(found > 0)
    np.testing.assert_allclose(found, geometric_end(path), rtol=1e-12)


def test_noise_of_networks_and_arrays_is_solved():
    u, Z = sm.unknown("u", shape=3), sm.brownian("Z", shape=3)
    g = sm.neural("g", lambda v: 0.1 + v**2)
    system = sm.System(sm.Eq(D(u), -u + g(u) * D(Z)), initial={u: 1})
    sol = sm.solve(system, t=(0, 1), dt0=0.1, key=jax.random.key(0), solver=dfx.Euler())
    assert np.all(np.isfinite(sol[u]))
    matrix = sm.compile(system).diffusion(0.0, jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(matrix, np.diag([1.1, 4.1, 9.1]))


def test_gradients_go_through_a_path():
    def end(value):
        sol = sm.solve(
            GEOMETRIC, t=(0, 1), saveat=[1.0], dt0=1e-3, values={b: value}, key=jax.random.key(3)
        )
        return sol[x][-1], sol[B][-1]

    (found, path), slope = end(0.7), jax.grad(lambda v: end(v)[0])(0.7)
    assert slope == pytest.approx(float(found * (path - 0.7)), rel=1e-2)


@pytest.mark.parametrize(
    ("equations", "calculus", "solver", "message"),
    [
        (
            [sm.Eq(D(x), x * D(W))],
            "ito",
            dfx.Tsit5(),
            "Tsit5 does not take the noise of W.*for equations without noise. Those that do: Euler",
        ),
        ([sm.Eq(D(x), x * D(W))], "ito", dfx.Heun(), "to_stratonovich"),
        ([sm.Eq(D(x), x * D(W))], "stratonovich", dfx.Euler(), "to_ito"),
        ([sm.Eq(D(x), x * D(W))], "ito", dfx.ShARK(), "this solver is for additive noise"),
        (
            [sm.Eq(D(x), y * D(W)), sm.Eq(D(y), x * D(V))],
            "ito",
            dfx.ItoMilstein(),
            "its noise is general.*needs noise that commutes",
        ),
        ([sm.Eq(D(x), x * D(W))], "ito", "stiff", "'stiff' does not take the noise of W"),
    ],
)
def test_a_solver_that_cannot_take_the_noise_is_refused_with_those_that_can(
    equations, calculus, solver, message
):
    system = sm.System(*equations, initial={x: 1, y: 1} if len(equations) > 1 else {x: 1})
    system = system.replace(calculus=calculus)
    with pytest.raises(sm.DeclarationError, match=message):
        sm.solve(system, t=(0, 1), solver=solver, key=jax.random.key(0))


def test_a_missing_key_is_named_with_the_noise():
    with pytest.raises(sm.DeclarationError, match=r"the path of W is drawn at random: give key="):
        sm.solve(GEOMETRIC, t=(0, 1))


def test_the_same_key_is_the_same_path():
    one, other = (sm.solve(GEOMETRIC, t=(0, 1), key=jax.random.key(k)) for k in (5, 5))
    np.testing.assert_array_equal(one[x], other[x])
    third = sm.solve(GEOMETRIC, t=(0, 1), key=jax.random.key(6))
    assert not np.allclose(one[x], third[x])


# -- noise drawn step by step ----------------------------------------------------------------------


@pytest.mark.parametrize("solver", [dfx.Euler(), dfx.ShARK(), dfx.SRA1()])
def test_noise_drawn_step_by_step_has_the_moments_of_a_brownian_motion(solver):
    w = sm.unknown("w", shape=2)
    system = sm.System(sm.Eq(D(w), 2 * D(sm.brownian("B", shape=2))), initial={w: 0})
    options = {"t": (0, 1), "saveat": [0.5, 1.0], "dt0": 0.125, "solver": solver}
    draw = lambda key: sm.solve(system, noise="stepwise", key=key, **options)[w]
    ends = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 20_000)))
    first, second = ends[:, 0], ends[:, 1] - ends[:, 0]
    for part in (first, second):
        np.testing.assert_allclose(part.mean(0), 0, atol=0.05)
        np.testing.assert_allclose(part.var(0), 2, rtol=0.04)
    mixed = np.corrcoef(np.concatenate([first, second], axis=1).T)
    np.testing.assert_allclose(mixed, np.eye(4), atol=0.03)


def test_the_areas_drawn_step_by_step_have_their_variances():
    from sciml.solvers._increments import Increments

    for kind, variances in (
        (dfx.BrownianIncrement, [1]),
        (dfx.SpaceTimeLevyArea, [1, 1 / 12]),
        (dfx.SpaceTimeTimeLevyArea, [1, 1 / 12, 1 / 720]),
    ):
        step = jnp.asarray(0.25)
        noise = Increments(jnp.zeros(()), jnp.ones(()), step, jax.random.key(1), 40_000, kind)
        drawn = noise.evaluate(0.5, 0.75, use_levy=True)
        assert drawn.dt == 0.25
        parts = np.array([getattr(drawn, name) for name in "WHK"[: len(variances)]])
        np.testing.assert_allclose(parts.var(1) / 0.25, variances, rtol=0.03)
        np.testing.assert_array_equal(noise.evaluate(0.5, 0.75), drawn.W)
        assert not np.any(noise.evaluate(0.25, 0.5) == drawn.W)


def test_the_slope_through_noise_drawn_step_by_step_is_that_of_finite_differences():
    x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    system = sm.System(sm.Eq(D(x), -k * x + k * x * D(sm.brownian("B"))), initial={x: 1})

    def end(k0):
        values = {k: k0}
        options = {"values": values, "dt0": 0.1, "key": jax.random.key(3), "noise": "stepwise"}
        return sm.solve(system, t=(0, 1), saveat=[1.0], **options)[x][-1]

    slope, h = jax.grad(end)(0.5), 1e-6
    np.testing.assert_allclose(slope, (end(0.5 + h) - end(0.5 - h)) / (2 * h), rtol=1e-6)


def test_noise_drawn_step_by_step_is_refused_where_steps_are_not_constant():
    x = sm.unknown("x")
    system = sm.System(sm.Eq(D(x), -x + D(sm.brownian("B"))), initial={x: 1})
    control = dfx.PIDController(rtol=1e-2, atol=1e-2)
    with pytest.raises(sm.DeclarationError, match="belongs to constant steps"):
        sm.solve(
            system, t=(0, 1), key=jax.random.key(0), solver=dfx.SPaRK(), noise="stepwise",
            stepsize_controller=control, dt0=0.1,
        )  # fmt: skip
    with pytest.raises(sm.DeclarationError, match="noise is one of 'refinable', 'stepwise'"):
        sm.solve(system, t=(0, 1), key=jax.random.key(0), noise="fine")
