"""Local costs: one more step from a random time, under every adjoint."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.solvers import with_working_root_finder
from sciml.solvers.regularise._estimates import Scale
from sciml.solvers.regularise._local import first_step_size, slows_down
from sciml.solvers.regularise._watch import Sample, Watched

RTOL, ATOL = 1e-3, 1e-3
CONTROL = dfx.PIDController(rtol=RTOL, atol=ATOL)
START = jnp.array([1.0, 0.5])
MATRIX = jnp.array([[-0.5, 2.0], [-2.0, -0.5]])
KEY = jax.random.key(2)
UNIFORM = sm.solver_cost("error", where="local")
STEPS = sm.solver_cost("error", where="local", sampling="steps")


def rate(t, y, args):
    return args * (MATRIX @ y**3) + jnp.cos(3 * t)


def solve(args, cost, *, key=KEY, solver=None, t1=2.0, **options):
    options = {"stepsize_controller": CONTROL, "max_steps": 256, **options}
    return sm.diffeqsolve(
        dfx.ODETerm(rate),
        dfx.Tsit5() if solver is None else solver,
        0.0,
        t1,
        None,
        START,
        args,
        regularise=cost,
        key=key,
        **options,
    )


def sampled(cost, key=KEY):
    """The time that is drawn, the state there, and the step size of the rule, by another solve."""
    if cost.sampling == "uniform":
        time = 2.0 * jax.random.uniform(key, ())
        sol = solve(1.2, None, saveat=dfx.SaveAt(ts=time[None]))
    else:
        sol = dfx.diffeqsolve(
            dfx.ODETerm(rate),
            Watched(dfx.Tsit5(), {"steps": Sample(key)}),
            0.0,
            2.0,
            None,
            START,
            1.2,
            saveat=dfx.SaveAt(solver_state=True),
            stepsize_controller=CONTROL,
        )
        time = sol.solver_state[1]["steps"][1]
        sol = solve(1.2, None, saveat=dfx.SaveAt(ts=time[None]))
    return float(time), sol.ys[0]


def by_hand(args, time, state, size, first):
    """Error times step size of one step of Tsit5 in numpy's manner, from its tableau."""
    tableau = dfx.Tsit5.tableau
    stages = [first]
    for c, row in zip(tableau.c, tableau.a_lower, strict=True):
        inner = state + size * sum(a * k for a, k in zip(row, stages, strict=True))
        stages.append(rate(time + c * size, inner, args))
    after = state + size * sum(b * k for b, k in zip(tableau.b_sol, stages, strict=True))
    error = size * sum(b * k for b, k in zip(tableau.b_error, stages, strict=True))
    scaled = error / (ATOL + RTOL * jnp.maximum(jnp.abs(state), jnp.abs(after)))
    return jnp.sqrt(jnp.mean(scaled**2)) * size


@pytest.mark.parametrize(
    ("cost", "adjoint"),
    [(UNIFORM, "checkpointed"), (STEPS, "forward"), (UNIFORM, "backsolve"), (STEPS, "backsolve")],
    ids=["uniform", "steps", "uniform-backsolve", "steps-backsolve"],
)
def test_value_and_gradient_are_those_of_one_step_by_hand(cost, adjoint):
    time, state = sampled(cost)
    first = rate(time, state, 1.2)
    scale = Scale(RTOL, ATOL)
    term, end = dfx.ODETerm(rate), jnp.asarray(2.0)
    size = first_step_size(term, dfx.Tsit5(), jnp.asarray(time), state, first, 1.2, scale, end)
    differentiate = jax.jacfwd if adjoint == "forward" else jax.grad
    value = lambda args: solve(args, cost, adjoint=adjoint).stats["cost"]
    found, slope = value(1.2), jax.jit(differentiate(value))(1.2)
    np.testing.assert_allclose(found, by_hand(1.2, time, state, size, first), rtol=1e-5)
    h = 1e-6  # so small that the error keeps its sign
    ahead, behind = (by_hand(1.2 + d, time, state, size, first) for d in (h, -h))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), rtol=1e-4)
    assert float(slope) != 0


def test_it_trains_under_an_adjoint_that_returns_saved_states_alone():
    tight = dfx.PIDController(rtol=1e-6, atol=1e-8)
    options = {"stepsize_controller": tight}
    value = lambda args, adjoint: solve(args, UNIFORM, adjoint=adjoint, **options).stats["cost"]
    found = jax.jit(jax.grad(lambda args: value(args, "reversible")))(1.2)
    exact = jax.jit(jax.jacfwd(lambda args: value(args, "forward")))(1.2)
    np.testing.assert_allclose(found, exact, rtol=1e-3)  # at a state that is slightly another one


def test_what_is_saved_is_what_was_asked_for_beside_the_sample():
    saveat = dfx.SaveAt(t0=True, ts=jnp.array([0.1, 1.9]), t1=True)
    plain = solve(1.2, None, adjoint="reversible", saveat=saveat)
    sampled = solve(1.2, UNIFORM, adjoint="reversible", saveat=saveat)
    np.testing.assert_array_equal(plain.ts, sampled.ts)
    np.testing.assert_array_equal(plain.ys, sampled.ys)


def test_each_start_of_a_step_is_as_likely_as_any_other():
    solver = lambda key: Watched(dfx.Tsit5(), {"steps": Sample(key)})

    def start(key):
        sol = dfx.diffeqsolve(
            dfx.ODETerm(rate),
            solver(key),
            0.0,
            2.0,
            0.1,
            START,
            1.2,
            saveat=dfx.SaveAt(t0=True, steps=True, solver_state=True),
            stepsize_controller=dfx.PIDController(rtol=1e-3, atol=1e-3),
            max_steps=32,
        )
        return sol.solver_state[1]["steps"][1], sol.ts, sol.stats["num_accepted_steps"]

    starts, ts, steps = jax.jit(jax.vmap(start))(jax.random.split(KEY, 2000))
    count = int(steps[0])
    places = np.searchsorted(np.asarray(ts[0, :count]), np.asarray(starts))
    seen = np.bincount(places, minlength=count)
    assert seen.size == count  # never the end
    expected = 2000 / count
    assert np.sum((seen - expected) ** 2 / expected) < count - 1 + 4 * np.sqrt(2 * count)


@pytest.mark.parametrize("exponent", [-3, 0, 3])
def test_the_size_of_the_step_is_that_of_the_published_rule(exponent):
    speed = 10.0**exponent
    y = jnp.array([2.0])
    field = dfx.ODETerm(lambda t, y, args: -speed * y)
    h = first_step_size(
        field, dfx.Tsit5(), jnp.asarray(0.0), y, -speed * y, None, Scale(0.0, 1.0), jnp.asarray(1e9)
    )
    d0, d1, d2 = 2, 2 * speed, 2 * speed**2  # value, rate, and change of the rate by time
    h0 = 0.01 * d0 / d1
    np.testing.assert_allclose(h, min(100 * h0, (0.01 / max(d1, d2)) ** (1 / 5)), rtol=1e-9)


def test_the_first_stage_is_a_constant_where_that_slows_the_rates_down():
    found = {"Tsit5": True, "Dopri5": True, "Dopri8": False, "Bosh3": False}
    for name, slows in found.items():
        assert slows_down(getattr(dfx, name).tableau) == slows
    cost = sm.solver_cost("error", where="local", sampling="steps")

    def value(speed, solver):  # of u' = -speed u, by which the gradient is to be positive
        sol = sm.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: -args * y),
            solver,
            0.0,
            1.0,
            None,
            START,
            speed,
            regularise=cost,
            key=KEY,
            stepsize_controller=CONTROL,
            adjoint="forward",
        )
        return sol.stats["cost"]

    for name in ("Tsit5", "Dopri8"):
        assert jax.jacfwd(value)(3.0, getattr(dfx, name)()) > 0


def test_no_step_goes_past_the_end():
    times = []

    def seen(t):
        times.append(float(t))

    def field(t, y, args):
        jax.debug.callback(seen, t)
        return -y

    for seed in range(5):
        sm.diffeqsolve(
            dfx.ODETerm(field),
            dfx.Tsit5(),
            0.0,
            1e-3,
            1e-3,
            START,
            regularise=UNIFORM,
            key=jax.random.key(seed),
            stepsize_controller=CONTROL,
        )
    jax.effects_barrier()
    assert max(times) <= 1e-3


def test_times_may_go_backwards():
    options = {"regularise": UNIFORM, "stepsize_controller": CONTROL, "key": KEY}
    forth = dfx.ODETerm(lambda t, y, args: -y * jnp.cos(t))
    back = dfx.ODETerm(lambda t, y, args: y * jnp.cos(-t))
    one = sm.diffeqsolve(forth, dfx.Tsit5(), 2.0, 0.0, None, START, **options)
    other = sm.diffeqsolve(back, dfx.Tsit5(), -2.0, 0.0, None, START, **options)
    np.testing.assert_allclose(one.stats["cost"], other.stats["cost"], rtol=1e-9)


def test_an_implicit_solver_takes_the_step_with_its_own_root_finder():
    solver = with_working_root_finder(dfx.Kvaerno5())
    value = lambda args: solve(args, STEPS, solver=solver, adjoint="forward").stats["cost"]
    found, slope = jax.jit(lambda a: jax.jvp(value, (a,), (1.0,)))(1.2)
    assert float(found) > 0
    assert np.isfinite(slope)


def test_with_noise_it_is_the_step_that_was_taken():
    path = dfx.VirtualBrownianTree(
        0.0, 0.5, 1e-4, (2,), jax.random.key(3), levy_area=dfx.SpaceTimeLevyArea
    )
    diffusion = lambda t, y, args: jnp.diag(0.3 * y)
    terms = dfx.MultiTerm(dfx.ODETerm(rate), dfx.ControlTerm(diffusion, path))
    largest = sm.solver_cost("error", reduce="max")
    smallest = []
    for seed in range(3):
        sol = sm.diffeqsolve(
            terms,
            dfx.SPaRK(),
            0.0,
            0.5,
            0.01,
            START,
            1.2,
            regularise=(STEPS, UNIFORM, largest),
            key=jax.random.key(seed),
            stepsize_controller=dfx.PIDController(rtol=1e-2, atol=1e-2, dtmin=1e-3),
        )
        of_steps, of_uniform, most = sol.stats["cost"]
        assert 0 < float(of_steps) <= float(most) * (1 + 1e-9)
        assert float(of_uniform) > 0
        smallest.append(float(of_steps))
    assert len(set(smallest)) > 1


def test_a_batch_is_a_loop():
    value = lambda args, key: solve(args, (UNIFORM, STEPS), key=key).stats["cost"]
    rates, keys = jnp.array([0.3, 1.2, 2.0]), jax.random.split(KEY, 3)
    batch = jax.jit(jax.vmap(value))(rates, keys)
    loop = [value(rate, key) for rate, key in zip(rates, keys, strict=True)]
    np.testing.assert_allclose(np.asarray(batch).T, loop, rtol=1e-8)


def test_a_model_with_noise_keeps_its_path():
    x, w = sm.unknown("x"), sm.brownian("W")
    system = sm.System(sm.Eq(sm.D(x), -x + 0.3 * sm.D(w)), initial={x: 1})
    cost = sm.solver_cost("error", where="local", scaled=False)
    options = {"key": KEY, "solver": dfx.Heun(), "dt0": 0.1}
    plain = sm.solve(system, t=(0, 1), **options)
    costly = sm.solve(system, t=(0, 1), regularise=cost, **options)
    np.testing.assert_array_equal(plain[x], costly[x])
    assert float(costly.stats["cost"]) > 0
