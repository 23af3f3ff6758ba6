"""The integrators that exported files carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.export._integrate import MESSAGES, integrate, trajectory
from sciml.export._rodas4 import METHOD as RODAS4
from sciml.export._tsit5 import METHOD as TSIT5

METHODS = pytest.mark.parametrize(
    ("method", "order", "dense"), [(TSIT5, 5, 4), (RODAS4, 4, 3)], ids=["tsit5", "rodas4"]
)


def known(t, y, args=(), fixed=()):
    """Solved by 1/(1 + sin t) and exp(sin t)."""
    return jnp.stack([-jnp.cos(t) * y[0] ** 2, jnp.cos(t) * y[1]])


def solution(t):
    return np.stack([1 / (1 + np.sin(t)), np.exp(np.sin(t))])


@METHODS
def test_each_method_converges_at_its_order(method, order, dense):
    step, interpolate, _ = method

    def run(n):
        h = 1.0 / n

        def advance(i, y):
            return step(known, i * h, y, known(i * h, y), h)[0]

        before = jax.lax.fori_loop(0, n - 1, advance, jnp.ones(2))
        start = (n - 1) * h
        y1, f1, _, stages = step(known, start, before, known(start, before), h)
        return y1, f1, interpolate(0.4, before, y1, h, stages)

    errors = {}
    for n in (16, 32, 64):
        y1, f1, between = jax.jit(run, static_argnums=0)(n)
        np.testing.assert_allclose(f1, known(1.0, y1), rtol=1e-12)
        exact = solution(1.0), solution(1 - 0.6 / n)
        errors[n] = [np.abs(y1 - exact[0]).max(), np.abs(between - exact[1]).max()]
    rates = np.log2(np.array([errors[16], errors[32]]) / np.array([errors[32], errors[64]]))
    assert rates[:, 0] == pytest.approx(order, abs=0.25)
    assert (rates[:, 1] > dense - 0.25).all()


def swing(t, y, args, fixed):
    return jnp.stack([y[1], -args["g"] * jnp.sin(y[0]) - args["c"] * y[1] + 0.3 * jnp.cos(t)])


ARGS = {"g": jnp.asarray(9.0), "c": jnp.asarray(0.2)}
RUN = jax.jit(integrate, static_argnums=(0, 1, 2))


def ends(t0, y0, args, ts, rule, method):
    given = (swing, method, 4096, t0, jnp.asarray(2.0), y0, args, (), ts, 1e-10, 1e-10)
    result = rule(*given)
    ys = (result[0] if rule is integrate else result)["ys"]
    return jnp.sum(jnp.sin(ys) * jnp.arange(1.0, 1 + ys.size).reshape(ys.shape))


@METHODS
def test_reverse_and_forward_derivatives_agree(method, order, dense):
    given = jnp.asarray(0.0), jnp.asarray([1.0, 0.0]), ARGS, jnp.asarray([2.0, 0.0, 0.7, 1.3])
    back = jax.jit(jax.grad(ends, (0, 1, 2, 3)), static_argnums=(4, 5))
    ahead = jax.jit(jax.jacfwd(ends, (0, 1, 2, 3)), static_argnums=(4, 5))
    received = jax.tree.leaves(back(*given, trajectory, method))
    expected = jax.tree.leaves(ahead(*given, integrate, method))
    for a, b in zip(received, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@METHODS
def test_derivatives_agree_with_finite_differences_of_another_solver(method, order, dense):
    ts = np.array([0.7, 2.0])

    def other(t0, y0, g, c):
        def field(t, y):
            return [y[1], -g * np.sin(y[0]) - c * y[1] + 0.3 * np.cos(t)]

        settings = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "t_eval": ts}
        ys = solve_ivp(field, (t0, 2.0), y0, **settings).y.T
        return np.sum(np.sin(ys) * np.arange(1.0, 1 + ys.size).reshape(ys.shape))

    start = np.array([0.0, 1.0, 0.0, 9.0, 0.2])  # t0, y0, g, c
    shifts = np.eye(5) * 1e-5
    parts = lambda v: (v[0], v[1:3], v[3], v[4])
    expected = [(other(*parts(start + s)) - other(*parts(start - s))) / 2e-5 for s in shifts]
    gradient = jax.jit(jax.grad(ends, (0, 1, 2)), static_argnums=(4, 5))
    y0 = jnp.asarray(start[1:3])
    by_t0, by_y0, by_args = gradient(
        jnp.asarray(0.0), y0, ARGS, jnp.asarray(ts), trajectory, method
    )
    received = [by_t0, *by_y0, by_args["g"], by_args["c"]]
    np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)


def test_time_may_run_backwards_and_times_come_in_any_order():
    ts = jnp.asarray([0.5, 0.0, 1.0])
    one = jnp.asarray(1.0)
    y0 = jnp.asarray(solution(1.0))
    result, _ = RUN(known, TSIT5, 4096, one, 0 * one, y0, (), (), ts, 1e-10, 1e-10)
    assert result["success"]
    np.testing.assert_allclose(result["ys"], solution(np.asarray(ts)).T, rtol=1e-8)


@pytest.mark.parametrize(
    ("reason", "rule", "start", "t1", "max_steps", "reached"),
    [
        ("largest number of steps", lambda t, y, a, f: -1e6 * y, 1.0, 2.0, 50, 1),
        ("fell to nothing", lambda t, y, a, f: y**2, 1.0, 2.0, 4096, 2),
        ("not finite", lambda t, y, a, f: -y, np.nan, 2.0, 4096, 0),
        ("not finite", lambda t, y, a, f: jnp.sqrt(y), -1.0, 2.0, 4096, 1),
        ("not between", lambda t, y, a, f: -y, 1.0, 1.0, 4096, 2),
    ],
)
def test_a_solve_that_fails_says_why_and_returns_no_invented_states(
    reason, rule, start, t1, max_steps, reached
):
    ts, t0 = jnp.asarray([0.0, 0.5, 1.5]), jnp.asarray(0.0)
    y0 = jnp.asarray([start])
    given = (t0, jnp.asarray(t1), y0, (), (), ts, jnp.asarray(1e-6), jnp.asarray(1e-9))
    run = jax.jit(trajectory, static_argnums=(0, 1, 2))
    result = run(rule, TSIT5, max_steps, *given)
    assert not result["success"]
    assert reason in MESSAGES[int(result["status"])]
    finite = np.isfinite(result["ys"][:, 0])
    assert finite.tolist() == [i < reached for i in range(3)]
    gradient = jax.grad(
        lambda y: jnp.sum(run(rule, TSIT5, max_steps, *given[:2], y, *given[3:])["ys"])
    )
    assert np.isnan(gradient(y0)).all()


def test_times_that_miss_the_end_by_rounding_are_answered():
    ts = jnp.asarray(np.arange(0, 1.05, 0.1) * (1 + 2e-16))
    end = jnp.asarray(1.0)
    result, _ = RUN(known, TSIT5, 4096, 0 * end, end, jnp.ones(2), (), (), ts, 1e-8, 1e-8)
    assert result["success"]
    assert np.isfinite(result["ys"]).all()
