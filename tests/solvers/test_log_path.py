"""Paths of log-signatures: what they hold, and the log-ODE method against exact solutions."""

import functools

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import sciml as sm
from sciml import D

RNG = np.random.default_rng(0)
TIMES = np.cumsum(RNG.uniform(0.5, 1.5, size=12))
VALUES = np.cumsum(RNG.normal(size=(12, 2)), axis=0)


def test_with_depth_and_window_1_it_is_the_linear_path():
    line = sm.path(TIMES, VALUES, kind="linear")
    found = sm.log_path(TIMES, VALUES, window=1, depth=1)
    assert found.shape == (2,)
    for time in jnp.linspace(TIMES[0], TIMES[-1], 40):
        np.testing.assert_allclose(found(time), line(time), atol=1e-12)


def test_in_each_window_its_rate_is_the_log_signature_over_the_length():
    found = sm.log_path(TIMES, VALUES, window=4, depth=3)
    np.testing.assert_array_equal(found.knots, TIMES[[0, 4, 8, 11]])  # the last one is shorter
    for first, last in ((0, 4), (4, 8), (8, 11)):
        within = jnp.asarray(0.3 * TIMES[first] + 0.7 * TIMES[last])
        logarithm = sm.log_signature(jnp.asarray(VALUES[first : last + 1]), depth=3)
        np.testing.assert_allclose(
            found(within)[1], logarithm / (TIMES[last] - TIMES[first]), atol=1e-12
        )


def test_at_window_ends_it_has_the_values_of_the_data_and_begins_with_zeros_beyond():
    found = sm.log_path(TIMES, VALUES, window=5)
    np.testing.assert_array_equal(found(found.t0)[0], [*VALUES[0], 0])
    ends = jnp.stack([found(time)[0] for time in found.knots])
    np.testing.assert_allclose(ends[:, :2], VALUES[[0, 5, 10, 11]], atol=1e-12)


def test_missing_entries_are_those_of_a_linear_path():
    holes = VALUES.copy()
    holes[[0, 3, 4, 11], 1] = np.nan
    line = sm.path(TIMES, holes, kind="linear")
    full = np.stack([line(time)[0] for time in jnp.asarray(TIMES)])
    found = [sm.log_path(TIMES, data, window=4) for data in (holes, full)]
    for time in jnp.linspace(TIMES[0], TIMES[-1], 9):
        np.testing.assert_allclose(found[0](time), found[1](time), atol=1e-12)


def test_traced_times_and_values_give_the_same_path():
    def rate(times, values):
        found = sm.log_path(times, values, window=4)
        return found(0.5 * (found.knots[1] + found.knots[2]))[1]

    many = jnp.asarray(RNG.normal(size=(3, 12, 2)))
    times = jnp.asarray(TIMES)
    together = jax.jit(jax.vmap(rate, in_axes=(None, 0)))(times, many)
    np.testing.assert_allclose(together, [rate(TIMES, one) for one in many], rtol=1e-10)
    single = jax.jit(rate)(times.astype(jnp.float32), many[0].astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, together[0], rtol=1e-3)


MATRICES = 0.5 * np.random.default_rng(4).normal(size=(2, 3, 3))
START = np.array([1.0, -0.5, 0.2])
FINE = np.linspace(0.0, 2.0, 1025)
SMOOTH = np.stack([np.sin(2 * FINE) + FINE, np.cos(3 * FINE)], axis=1)


def lie_brackets(first, second, depth):
    """Brackets of the fields z -> A z at the Lyndon words 0, 1, 01, 001, 011.

    That of the fields A z and B z is (B A - A B) z. With two letters these brackets have no other
    Lyndon word of their length and letters, so that their coefficients are those of the words.
    """

    def bracket(a, b):
        return b @ a - a @ b

    both = bracket(first, second)
    found = [first, second, both, bracket(first, both), bracket(both, second)]
    return np.stack(found[: sm.log_signature_size(2, depth)])


def exactly():
    """The solution at the end of dz = A_0 z dx_0 + A_1 z dx_1; data are linear in between."""
    state = START
    for change in np.diff(SMOOTH, axis=0):
        state = scipy.linalg.expm(np.tensordot(change, MATRICES, axes=1)) @ state
    return state


@functools.cache
def log_ode(window, depth):
    """The error of the log-ODE method for that equation."""
    size = sm.log_signature_size(2, depth)
    z, X = sm.unknown("z", shape=3), sm.control("X", channels=size)
    fields = lie_brackets(*MATRICES, depth)
    rates = [sm.matmul(sm.constant(a), z) * sm.index(D(X), k) for k, a in enumerate(fields)]
    system = sm.System(sm.Eq(D(z), sum(rates)), initial={z: START})
    series = sm.log_path(FINE, SMOOTH, window=window, depth=depth)
    sol = sm.solve(
        system,
        t=(0, 2),
        controls={X: series},
        saveat=[2.0],
        stepsize_controller=series.steps(dfx.PIDController(rtol=1e-12, atol=1e-13)),
        solver=dfx.Dopri8(),
    )
    return np.linalg.norm(sol[z][-1] - exactly())


@pytest.mark.parametrize(("depth", "order"), [(1, 2), (2, 4), (3, 4)])
def test_the_error_of_the_log_ode_method_falls_with_the_window_as_that_of_magnus(depth, order):
    """Blanes, Casas, Oteo, Ros, The Magnus expansion (2009), section 5: along smooth paths the
    terms 2, 3 and 4 of the logarithm are of the orders 3, 5 and 5 in the window."""
    slope = np.log2(log_ode(64, depth) / log_ode(32, depth))
    np.testing.assert_allclose(slope, order, atol=0.15)


def test_deeper_log_signatures_are_better():
    errors = [log_ode(64, depth) for depth in (1, 2, 3)]
    assert errors[0] > 10 * errors[1] > 10 * errors[2]


def test_the_reference_is_the_solution_along_the_smooth_path():
    """A second method for what the log-ODE method is compared with, the path itself."""
    z, X = sm.unknown("z", shape=3), sm.control("X", channels=2)
    rates = [sm.matmul(sm.constant(a), z) * sm.index(D(X), k) for k, a in enumerate(MATRICES)]
    system = sm.System(sm.Eq(D(z), sum(rates)), initial={z: START})
    curve = sm.path(FINE, SMOOTH, kind="cubic")
    sol = sm.solve(system, t=(0, 2), controls={X: curve}, saveat=[2.0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(sol[z][-1], exactly(), rtol=1e-4)


def test_a_method_keeps_its_order_at_the_knots_and_takes_one_step_for_each_stretch():
    """dx = x dX along pieces of slope +-1: steps that saw the slope before would stay away."""
    x, X = sm.unknown("x"), sm.control("X")
    system = sm.System(sm.Eq(D(x), x * D(X)), initial={x: 1})

    def run(pieces, solver):
        times = np.linspace(0.0, 2.0, pieces + 1)
        series = sm.path(times, 2 / pieces * (np.arange(pieces + 1) % 2), kind="linear")
        options = {"solver": solver, "stepsize_controller": series.steps(), "saveat": times}
        return sm.solve(system, t=(0, 2), controls={X: series}, **options)

    for solver, order in ((dfx.Heun(), 2), (dfx.Tsit5(), 5)):
        errors = []
        for pieces in (4, 8):
            sol = run(pieces, solver)
            assert int(sol.stats["num_steps"]) == pieces
            errors.append(abs(float(sol[x][1]) - np.exp(2 / pieces)))
        assert np.log2(errors[0] / errors[1]) > order + 0.5  # of one step
    np.testing.assert_allclose(run(8, dfx.Tsit5())[x][::2], 1, atol=1e-6)


def test_steps_of_an_adaptive_controller_are_cut_at_the_knots():
    x, X = sm.unknown("x"), sm.control("X")
    system = sm.System(sm.Eq(D(x), x * D(X)), initial={x: 1})
    series = sm.path([0.0, 1.0, 3.0], [0.0, 5.0, 4.0], kind="linear")
    tight = series.steps(dfx.PIDController(rtol=1e-9, atol=1e-12))
    options = {"stepsize_controller": tight, "saveat": [1.0, 3.0]}
    sol = sm.solve(system, t=(0, 3), controls={X: series}, **options)
    np.testing.assert_allclose(sol[x], np.exp([5.0, 4.0]), rtol=1e-8)
    assert int(sol.stats["num_rejected_steps"]) < 5


def test_derivatives_go_through_the_steps():
    x, X = sm.unknown("x"), sm.control("X")
    system = sm.System(sm.Eq(D(x), x * D(X)), initial={x: 1})

    def end(values):
        series = sm.path(jnp.asarray([0.0, 1.0, 1.5]), values, kind="linear")
        options = {"stepsize_controller": series.steps(), "saveat": [1.5]}
        return sm.solve(system, t=(0, 1.5), controls={X: series}, **options)[x][-1]

    slope = jax.grad(end)(jnp.asarray([0.0, 0.1, 0.3]))
    np.testing.assert_allclose(slope, [-np.exp(0.3), 0, np.exp(0.3)], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"window": 0}, sm.DeclarationError, "window = 0: it is 1 or more"),
        ({"depth": 0}, sm.DeclarationError, "depth = 0: it is 1 or more"),
        ({"times": TIMES[::-1]}, sm.DataError, "heights: the times must increase"),
        ({"times": TIMES[:5]}, sm.DataError, r"heights needs times of shape \(n,\)"),
        ({"values": VALUES[:, 0]}, sm.DataError, r"heights needs values of shape \(n, channel\)"),
        ({"values": VALUES * [1, np.nan]}, sm.DataError, "all values are missing in channel 1"),
    ],
)
def test_what_gives_no_path_is_refused(change, error, message):
    given = {"times": TIMES, "values": VALUES, "window": 3, **change}
    with pytest.raises(error, match=message):
        sm.log_path(given.pop("times"), given.pop("values"), name="heights", **given)


def test_a_control_of_other_channels_says_how_many_there_are():
    z, X = sm.unknown("z"), sm.control("X", channels=2)
    system = sm.System(sm.Eq(D(z), sm.index(D(X), 0)), initial={z: 0})
    series = sm.log_path(TIMES, VALUES, window=3, depth=3)
    message = r'shape \(5,\): declare it as sm.control\("X", channels=5\)'
    with pytest.raises(sm.DeclarationError, match=message):
        sm.solve(system, t=(1, 2), controls={X: series})


def test_a_smooth_path_has_no_knots():
    smooth = sm.path(TIMES, VALUES)
    assert smooth.knots is None
    with pytest.raises(sm.DeclarationError, match="has no knots to step to: leave stepsize_contr"):
        smooth.steps()
