"""Claims about strategies: each finds what plain descent misses, and keeps to its definition."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._collocation import _Curve, can_match, matching
from sciml.train._data import read_data
from sciml.train._shooting import cut, segment_starts
from sciml.train._space import build_space

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False)
x, y = sm.unknowns("x y")
w = sm.parameter("w", bounds=(0, None))
TIMES = np.linspace(0.0, 40.0, 161)
SPRING = sm.System(sm.Eq(D(x, 2), -(w**2) * x), initial={x: 1, D(x): 0}, values={w: 1.0})
DATA = {t: TIMES, x: np.cos(1.5 * TIMES) + 0.05 * np.random.default_rng(0).normal(size=161)}


@pytest.fixture(scope="module")
def plain():
    return fit(SPRING, DATA, steps=100)


def test_plain_descent_gets_stuck_on_a_long_oscillation(plain):
    assert abs(plain["w"] - 1.5) > 0.1
    assert plain.loss > 0.3


@pytest.mark.parametrize(
    "strategy", [sm.MultipleShooting(20), sm.GrowingHorizon((0.05, 0.1, 0.2, 0.4, 1))]
)
def test_a_strategy_finds_the_frequency_of_a_long_oscillation(plain, strategy):
    fitted = fit(SPRING, DATA, steps=100, strategy=strategy)
    np.testing.assert_allclose(fitted["w"], 1.5, rtol=1e-3)
    assert fitted.loss < 0.01 < plain.loss


def test_segments_share_the_times_and_meet_at_their_ends():
    model = sm.compile(SPRING)
    short = {t: TIMES[:9], x: DATA[x][:9]}
    data = read_data(model, [DATA, short])
    segments = cut(model, data, sm.MultipleShooting(4), np.array([2.0, 3.0]))
    assert segments.index.shape == (2, 4, 41)
    for row, count in enumerate((161, 9)):
        index = np.asarray(segments.index[row])
        assert index[0, 0] == 0
        assert index[-1, -1] == count - 1
        np.testing.assert_array_equal(index[:-1, -1], index[1:, 0])
        owner, place = (np.asarray(a[row, :count]) for a in (segments.owner, segments.place))
        np.testing.assert_array_equal(index[owner, place], np.arange(count))
    starts = segment_starts([model, model], data, segments) * segments.scale[None, None]
    np.testing.assert_allclose(starts[0, :, 0], DATA[x][[40, 80, 120]])
    np.testing.assert_allclose(starts[1, :, 0], DATA[x][[2, 4, 6]])
    np.testing.assert_array_equal(starts[..., 1], 0)


def test_more_segments_than_times_allow_are_refused():
    model = sm.compile(SPRING)
    data = read_data(model, {t: TIMES[:9], x: DATA[x][:9]})
    with pytest.raises(sm.FitError, match="5 segments need 10 times or more, and there are 9: use"):
        cut(model, data, sm.MultipleShooting(5), np.ones(2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: sm.GrowingHorizon(()),
        lambda: sm.GrowingHorizon((0.5, 0.9)),
        lambda: sm.GrowingHorizon((0.0, 1.0)),
        lambda: sm.GrowingHorizon((0.5, 0.5, 1.0)),
        lambda: sm.MultipleShooting(1),
        lambda: sm.MultipleShooting(5, weight=0.0),
        lambda: sm.Collocation(0),
        lambda: sm.Collocation(learning_rate=0.0),
        lambda: sm.Collocation(smoothing=-1.0),
    ],
)
def test_strategies_that_make_no_sense_are_refused(make):
    with pytest.raises(sm.DeclarationError):
        make()


@pytest.mark.parametrize("logarithms", [False, True])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_smoothed_curve_has_the_slopes_of_what_was_measured(logarithms, order):
    """Of exp(t^2 / 2), whose logarithm is a parabola, and of a cubic."""
    times = np.linspace(0.0, 1.5, 60)
    if logarithms:
        polynomial = (1, times, times**2 + 1, times**3 + 3 * times)[order]
        values, expected = np.exp(times**2 / 2), polynomial * np.exp(times**2 / 2)
    else:
        values, expected = times**3, (times**3, 3 * times**2, 6 * times, 6 + 0 * times)[order]
    curve = _Curve("x", times, values, 0.0, logarithms)
    inside = slice(10, -10)  # a natural spline is bent at its ends
    tolerance = (1e-6, 1e-4, 1e-2, 0.1)[order]
    np.testing.assert_allclose(curve(times, order)[inside], expected[inside], rtol=tolerance)


def growth(**options):
    """x' = f(x), which is x (1 - x) in truth."""
    net = eqx.nn.MLP("scalar", "scalar", 8, 1, activation=jnp.tanh, key=jax.random.key(1))
    return sm.System(sm.Eq(D(x), sm.neural("f", net)(x)), initial={x: 0.1}, **options)


GROWN = {t: np.linspace(0, 6, 25), x: 1 / (1 + 9 * np.exp(-np.linspace(0, 6, 25)))}


def test_derivative_matching_alone_learns_a_rate():
    fitted = fit(growth(), GROWN, pretrain=sm.Collocation(600), steps=0)
    untrained = fit(growth(), GROWN, pretrain=None, steps=0)
    assert fitted.loss < 1e-3 < 0.1 < untrained.loss
    again = fit(fitted.model, GROWN, pretrain=sm.Collocation(1), steps=0)
    np.testing.assert_allclose(again.loss, fitted.loss, rtol=1e-6)  # kept: it was better


def test_derivative_matching_is_the_default_where_networks_are_measured():
    model = sm.compile(growth())
    assert can_match(model, read_data(model, GROWN))
    assert not can_match(model, read_data(model, {t: GROWN[t], 2 * x: GROWN[x]}))
    assert not can_match(model, read_data(model, {t: GROWN[t][:4], x: GROWN[x][:4]}))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({x: TIMES, 2 * y: TIMES}, "needs every unknown to be measured; y is not"),
        ({x: TIMES, y: [1.0] + [np.nan] * 160}, "two measurements or more of y"),
        (
            {x: np.where(TIMES < 9, 1.0, np.nan), y: np.where(TIMES > 9, 1.0, np.nan)},
            "measured over times that do not overlap",
        ),
    ],
)
def test_what_cannot_be_matched_is_refused(columns, message):
    model = sm.compile(
        sm.System(sm.Eq(D(x), -w * y), sm.Eq(D(y), w * x), initial={x: 1, y: 0}, values={w: 1})
    )
    data = read_data(model, {t: TIMES, **columns})
    space, _ = build_space(model, data)
    with pytest.raises(sm.FitError, match=message):
        matching(model, data, space, sm.Collocation(), False)


def test_columns_that_end_early_are_matched_where_all_are_known():
    model = sm.compile(
        sm.System(sm.Eq(D(x), -w * y), sm.Eq(D(y), w * x), initial={x: 1, y: 0}, values={w: 1})
    )
    late = np.where(TIMES < 30, np.sin(TIMES), np.nan)
    data = read_data(model, {t: TIMES, x: np.cos(TIMES), y: late})
    space, point = build_space(model, data)
    objective = matching(model, data, space, sm.Collocation(), False)
    assert float(objective.times[0, -1]) < 30
    loss, *_ = objective.losses(point, jnp.ones(()))
    assert float(loss) < 1e-4  # w is right as it stands
