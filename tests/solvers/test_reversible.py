"""Reversible steps: their order, the way back, values between them, and what is refused."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D
from sciml.solvers._step_back import step_back

x = sm.unknown("x")
# x' = x cos t: x = exp(sin t)
WAVE = sm.System(sm.Eq(D(x), x * sympy.cos(sm.t)), initial={x: 1})


def pendulum(t, y, args):
    return jnp.stack([y[1], -jnp.sin(y[0]) * args + 0.1 * jnp.sin(t)])


@pytest.fixture(scope="module")
def exact():
    controller = dfx.PIDController(rtol=1e-13, atol=1e-14)
    return end(dfx.Dopri8(), None, stepsize_controller=controller)


def end(solver, dt0, **options):
    term, y0 = dfx.ODETerm(pendulum), jnp.array([1.2, 0.3])
    return dfx.diffeqsolve(term, solver, 0.0, 2.0, dt0, y0, jnp.array(0.8), **options).ys[0]


@pytest.mark.parametrize(
    ("base", "order", "steps"),
    [(dfx.Euler(), 1, 64), (dfx.Heun(), 2, 32), (dfx.Bosh3(), 3, 32), (dfx.Tsit5(), 5, 16)],
    ids=["Euler", "Heun", "Bosh3", "Tsit5"],
)
def test_the_order_is_that_of_the_wrapped_method_or_more(base, order, steps, exact):
    error = jax.jit(lambda dt0: jnp.linalg.norm(end(sm.Reversible(base), dt0) - exact))
    coarse, fine = (float(error(2 / n)) for n in (steps, 2 * steps))
    assert order - 0.15 < np.log2(coarse / fine) < order + 1


@pytest.mark.parametrize(
    "solver",
    [sm.Reversible(dfx.Tsit5(), coupling=0.5), dfx.ReversibleHeun(), sm.StormerVerlet(1)],
    ids=["Reversible", "ReversibleHeun", "StormerVerlet"],
)
def test_a_step_is_taken_back_to_rounding_with_the_pullback_of_the_step(solver):
    term, y0, args = dfx.ODETerm(pendulum), jnp.array([1.2, 0.3]), jnp.array(0.8)
    first, times = solver.init(term, 0.0, 0.1, y0, args), (jnp.array(0.1), jnp.array(0.25))
    y, _, _, state, _ = solver.step(term, 0.0, 0.1, y0, args, first, False)

    def step(y, state, args):
        y, _, dense, state, _ = solver.step(term, *times, y, args, state, False)
        return y, state, dense

    @jax.jit
    def forth_and_back(y, state, args):
        after, pull = jax.vjp(step, y, state, args)
        cotangents = jax.tree.map(jnp.cos, after)
        found = step_back(solver, lambda args: (term, args), args, *times, *after[:2])
        return (y, state, pull(cotangents)), (*found[:2], found[3](cotangents))

    close = lambda one, other: np.testing.assert_allclose(one, other, atol=1e-14)
    jax.tree.map(close, *forth_and_back(y, state, args))


def test_values_between_steps_meet_the_steps_and_are_as_good():
    sol = sm.solve(
        WAVE, t=(0, 2), solver=sm.Reversible(dfx.Tsit5(), coupling=0.5), rtol=1e-7, atol=1e-7,
        saveat=dfx.SaveAt(steps=True, dense=True),
    )  # fmt: skip
    np.testing.assert_allclose(sol(sol.ts)[x], sol[x], rtol=1e-14)
    times = np.linspace(0, 2, 77)
    np.testing.assert_allclose(sol(times)[x], np.exp(np.sin(times)), atol=3e-6)


def test_adaptive_steps_keep_the_two_states_together_where_the_solution_decays():
    relax = sm.System(sm.Eq(D(x), -20 * (x - sympy.cos(sm.t))), initial={x: 2})
    exact = lambda t: (400 * np.cos(t) + 20 * np.sin(t)) / 401 + (2 - 400 / 401) * np.exp(-20 * t)
    tolerances = {"rtol": 1e-5, "atol": 1e-5, "saveat": [1.0], "max_steps": 30_000}
    sol = sm.solve(relax, t=(0, 1), solver=sm.Reversible(dfx.Tsit5(), coupling=0.99), **tolerances)
    assert abs(float(sol[x][0]) - exact(1.0)) < 1e-3


def test_with_noise_the_strong_order_is_that_of_the_wrapped_method():
    term = lambda path: dfx.MultiTerm(
        dfx.ODETerm(lambda t, y, args: -0.3 * y),
        dfx.ControlTerm(lambda t, y, args: 0.7 * y[:, None], path),
    )

    @jax.jit
    @jax.vmap
    def error(key, dt0):
        path = dfx.VirtualBrownianTree(0.0, 1.0, 2e-3, (1,), key)
        solver, y0 = sm.Reversible(dfx.Heun()), jnp.ones(1)
        y1 = dfx.diffeqsolve(term(path), solver, 0.0, 1.0, dt0, y0).ys[0]
        return (y1 - jnp.exp(-0.3 + 0.7 * path.evaluate(1.0)))[0]

    keys, steps = jax.random.split(jax.random.key(0), 200), (16, 32, 64, 128)
    errors = [jnp.sqrt(jnp.mean(error(keys, jnp.full(200, 1 / n)) ** 2)) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (dfx.Kvaerno5(), "Kvaerno5 cannot be taken back: its stages are solved to a tolerance"),
        (dfx.HalfSolver(dfx.Euler()), "HalfSolver cannot .* it wraps another solver"),
        (dfx.LeapfrogMidpoint(), "LeapfrogMidpoint cannot .* no explicit Runge-Kutta method. Take"),
        (dfx.ReversibleHeun(), "ReversibleHeun is reversible as it is"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(solver, message):
    with pytest.raises(sm.DeclarationError, match=message):
        sm.Reversible(solver)


@pytest.mark.parametrize("coupling", [0.0, 1.5, -1.0])
def test_couplings_that_do_not_damp_are_refused(coupling):
    with pytest.raises(sm.DeclarationError, match="coupling is above 0 and at most 1"):
        sm.Reversible(dfx.Tsit5(), coupling=coupling)


def test_noise_of_ito_is_refused():
    path = dfx.VirtualBrownianTree(0.0, 1.0, 0.1, (), jax.random.key(0))
    term = dfx.ControlTerm(lambda t, y, args: y, path)
    with pytest.raises(sm.DeclarationError, match=r"Euler is of Ito.* take diffrax.Heun\(\)"):
        dfx.diffeqsolve(term, sm.Reversible(dfx.Euler()), 0.0, 1.0, 0.1, jnp.array(1.0))


def test_equal_solvers_are_equal_so_that_nothing_is_compiled_again():
    one, other = (sm.Reversible(dfx.Tsit5(), coupling=0.99) for _ in range(2))
    assert one == other
    assert one.interpolation_cls == other.interpolation_cls
    assert hash(one.interpolation_cls) == hash(other.interpolation_cls)
