"""Controls: equations that a path drives, against closed forms; and paths through data."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.interpolate

import sciml as sm
from sciml import D

x = sm.unknown("x")
X = sm.control("X")
TIMES = np.array([0.0, 0.4, 1.0, 1.5, 2.0])


def test_the_rate_of_a_control_integrates_to_the_control():
    system = sm.System(sm.Eq(D(x), D(X)), initial={x: 0})
    values = np.sin(TIMES)
    for kind in ("linear", "hermite", "cubic"):
        curve = sm.path(TIMES, values, kind=kind)
        sol = sm.solve(system, t=(0, 2), saveat=TIMES, controls={X: curve}, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(sol[x], values - values[0], atol=1e-7)
        np.testing.assert_allclose(sol[X], values, atol=1e-12)


def test_a_control_that_is_a_line_gives_the_exponential():
    system = sm.System(sm.Eq(D(x), x * D(X)), initial={x: 1})
    sol = sm.solve(system, t=(0, 2), controls={"X": (TIMES, 0.5 * TIMES)}, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(sol[x], np.exp(0.5 * sol.ts), rtol=1e-8)
    np.testing.assert_allclose(sol[D(X)][1:-1], 0.5)


def test_gradients_go_to_the_data_of_a_path():
    system = sm.System(sm.Eq(D(x), x * D(X)), initial={x: 1})

    def end(values):
        curve = sm.path(jnp.asarray(TIMES), values, kind="linear")
        steps = dfx.ClipStepSizeController(
            dfx.PIDController(rtol=1e-8, atol=1e-10), jump_ts=jnp.asarray(TIMES)
        )  # the rate jumps at the knots
        options = {"controls": {X: curve}, "stepsize_controller": steps}
        return sm.solve(system, t=(0, 2), saveat=[2.0], **options)[x][-1]

    slope = jax.grad(end)(jnp.asarray(0.5 * TIMES))
    np.testing.assert_allclose(slope, [-np.e, 0, 0, 0, np.e], atol=1e-4)


def test_a_natural_spline_is_that_of_scipy():
    values = np.stack([np.cos(TIMES), TIMES**3], axis=1)
    curve = sm.path(TIMES, values, kind="cubic")
    exact = scipy.interpolate.CubicSpline(TIMES, values, bc_type="natural")
    for time in (0.1, 0.77, 1.99):
        value, rate = curve(jnp.asarray(time))
        np.testing.assert_allclose(value, exact(time), rtol=1e-12)
        np.testing.assert_allclose(rate, exact(time, 1), rtol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "hermite", "cubic"])
def test_a_channel_is_constant_before_its_first_and_behind_its_last_value(kind):
    values = np.stack([np.cos(TIMES), np.array([np.nan, 1.0, np.nan, 3.0, np.nan])], axis=1)
    curve = sm.path(TIMES, values, kind=kind)
    found = np.stack([curve(jnp.asarray(time)) for time in (0.0, 0.2, 0.4, 1.5, 2.0)])
    np.testing.assert_allclose(found[:, 0, 1], [1, 1, 1, 3, 3], atol=1e-12)
    np.testing.assert_allclose(found[:2, 1, 1], 0, atol=1e-12)
    np.testing.assert_allclose(found[[0, 2, 3, 4], 0, 0], np.cos(TIMES[[0, 1, 3, 4]]), atol=1e-12)


def test_a_rectilinear_path_moves_time_first():
    values = np.stack([TIMES, TIMES**2], axis=1)
    curve = sm.path(TIMES, values, kind="rectilinear")
    places = np.linspace(0, 2, 9)
    found = np.stack([curve(jnp.asarray(p))[0] for p in places])
    np.testing.assert_allclose(found[::2], values)
    np.testing.assert_allclose(found[1::2, 0], TIMES[1:])
    np.testing.assert_allclose(found[1::2, 1], values[:-1, 1])


@pytest.mark.parametrize(
    ("times", "values", "message"),
    [
        ([0.0, 1.0, 1.0], [1.0, 2.0, 3.0], "the times must increase, and 1 is followed by 1"),
        ([0.0, 2.0, 1.0], [1.0, 2.0, 3.0], "the times must increase, and 2 is followed by 1"),
        ([0.0, 1.0], [np.nan, np.nan], "all values are missing in channel 0"),
        ([0.0, 1.0], [[1.0, np.nan], [2.0, np.nan]], "all values are missing in channel 1"),
        ([0.0], [1.0], r"needs times of shape \(n,\)"),
    ],
)
def test_data_that_give_no_path_are_refused(times, values, message):
    with pytest.raises(sm.DataError, match=message):
        sm.path(times, values)


def test_controls_that_do_not_fit_are_refused():
    system = sm.System(sm.Eq(D(x), D(X)), initial={x: 0})
    for controls, message in (
        ({"Y": (TIMES, TIMES)}, "Y is no control of this system; it has X"),
        ({X: TIMES}, "X is a pair"),
        ({X: (TIMES, np.ones((5, 2)))}, r"X was declared with shape \(\)"),
    ):
        with pytest.raises(sm.DeclarationError, match=message):
            sm.solve(system, t=(0, 2), controls=controls)


@pytest.mark.parametrize("kind", ["linear", "hermite", "cubic"])
@pytest.mark.parametrize("place", range(5))
def test_a_channel_that_is_known_once_is_constant(kind, place):
    values = np.full(5, np.nan)
    values[place] = 1.5
    curve = sm.path(TIMES, values, kind=kind)
    for time in (0.0, 0.2, 1.2, 2.0):
        np.testing.assert_allclose(curve(jnp.asarray(time)), [1.5, 0.0])
