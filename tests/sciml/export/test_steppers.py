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
    assert order - 0.25 < rates[1, 0] < order + 0.6
    assert dense - 0.25 < rates[1, 1]


def swing(t, y, args, fixed):
    return jnp.stack([y[1], -args["g"] * jnp.sin(y[0]) - args["c"] * y[1] + 0.3 * jnp.cos(t)])


RUN = jax.jit(integrate, static_argnums=(0, 1, 2))


def ends(t0, y0, args, ts, method):
    given = (swing, method, 4096, t0, jnp.asarray(2.0), y0, args, (), ts, 1e-10, 1e-10)
    ys = trajectory(*given)["ys"]
    return jnp.sum(jnp.sin(ys) * jnp.arange(1.0, 1 + ys.size).reshape(ys.shape))


@METHODS
def test_derivatives_agree_with_finite_differences_of_another_solver(method, order, dense):
    def other(vector):
        t0, y0, (g, c), ts = vector[0], vector[1:3], vector[3:5], vector[5:]

        def field(t, y):
            return [y[1], -g * np.sin(y[0]) - c * y[1] + 0.3 * np.cos(t)]

        settings = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "t_eval": ts}
        ys = solve_ivp(field, (t0, 2.0), y0, **settings).y.T
        return np.sum(np.sin(ys) * np.arange(1.0, 1 + ys.size).reshape(ys.shape))

    start = np.array([0.0, 1.0, 0.0, 9.0, 0.2, 0.7, 1.9])
    shifts = np.eye(len(start)) * 1e-5
    expected = [(other(start + s) - other(start - s)) / 2e-5 for s in shifts]
    gradient = jax.jit(jax.grad(ends, (0, 1, 2, 3)), static_argnums=4)
    parts = (start[0], start[1:3], dict(zip("gc", start[3:5], strict=True)), start[5:])
    by_t0, by_y0, by_args, by_ts = gradient(*jax.tree.map(jnp.asarray, parts), method)
    received = [by_t0, *by_y0, by_args["g"], by_args["c"], *by_ts]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_time_may_run_backwards_and_times_come_in_any_order():
    ts = jnp.asarray([0.5, 0.0, 1.0])
    one = jnp.asarray(1.0)
    y0 = jnp.asarray(solution(1.0))
    result, _ = RUN(known, TSIT5, 4096, one, 0 * one, y0, (), (), ts, 1e-10, 1e-10)
    assert result["success"]
    np.testing.assert_allclose(result["ys"], solution(np.asarray(ts)).T, rtol=1e-8)


def growth(t, y, args, fixed):
    return args["square"] * y**2 - args["decay"] * y + args["inverse"] / y


@jax.jit
def grown(args, y0, t1):
    """The result, and a derivative of it."""

    def run(y0):
        t0, ts = jnp.zeros(()), jnp.asarray([0.0, 0.5, 1.5])
        result = trajectory(growth, TSIT5, 1024, t0, t1, y0, args, (), ts, 1e-6, 1e-9)
        return jnp.sum(result["ys"]), result

    return jax.grad(run, has_aux=True)(y0)


@pytest.mark.parametrize(
    ("reason", "args", "start", "t1", "reached"),
    [
        ("largest number of steps", {"decay": 1e6}, 1.0, 2.0, 1),
        ("fell to nothing", {"square": 1.0}, 1.0, 2.0, 2),
        ("not finite", {}, np.nan, 2.0, 0),
        ("not finite", {"inverse": 1.0}, 0.0, 2.0, 1),
        ("not between", {"decay": 1.0}, 1.0, 1.0, 2),
    ],
)
def test_a_solve_that_fails_says_why_and_invents_no_states(reason, args, start, t1, reached):
    args = {"square": 0.0, "decay": 0.0, "inverse": 0.0, **args}
    gradient, result = grown(args, jnp.asarray([start]), t1)
    assert not result["success"]
    assert reason in MESSAGES[int(result["status"])]
    finite = np.isfinite(result["ys"][:, 0])
    assert finite.tolist() == [i < reached for i in range(3)]
    assert np.isnan(gradient).all()


def test_times_that_miss_the_end_by_rounding_are_answered():
    ts = jnp.asarray(np.arange(0, 1.05, 0.1) * (1 + 2e-16))
    end = jnp.asarray(1.0)
    result, _ = RUN(known, TSIT5, 4096, 0 * end, end, jnp.ones(2), (), (), ts, 1e-8, 1e-8)
    assert result["success"]
    assert np.isfinite(result["ys"]).all()
