"""Claims about estimates and their standard errors: scipy and closed forms say the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import sciml as sm
from sciml import D, t
from sciml.data import hare_lynx

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False, steps=20)
tight = {"rtol": 2e-8, "atol": 1e-10}  # still Tsit5, which compiles faster than Dopri8
RNG = np.random.default_rng(3)
TIMES = np.linspace(0.0, 3.0, 16)
NORMAL = 2 * np.exp(-0.7 * TIMES) + 0.05 * RNG.normal(size=16)
LOGNORMAL = 2 * np.exp(-0.7 * TIMES + 0.1 * RNG.normal(size=16))
COUNTS = RNG.poisson(40 * np.exp(-0.7 * TIMES)).astype(float)
LOGNORMAL[5] = np.nan

x, y = sm.unknowns("x y")
k = sm.parameter("k", guess=1.0, unit="1/s")


def decay(**options):
    return sm.System(sm.Eq(D(x), -k * x), **options)


def curve(times, rate, start):
    return start * np.exp(-rate * times)


@pytest.mark.parametrize("noise", [None, 0.05])
def test_least_squares_is_that_of_curve_fit(noise):
    fitted = fit(decay(), {t: TIMES, x: NORMAL}, noise=noise, **tight)
    known = {} if noise is None else {"sigma": np.full(16, noise), "absolute_sigma": True}
    best, covariance = scipy.optimize.curve_fit(curve, TIMES, NORMAL, (1.0, 1.0), **known)
    found = [fitted.estimates[name] for name in ("k", "x(t0)")]
    np.testing.assert_allclose([e.value for e in found], best, rtol=1e-6)
    np.testing.assert_allclose([e.error for e in found], np.sqrt(np.diag(covariance)), rtol=1e-4)
    assert found[0].unit == "1/s"


def test_lognormal_errors_are_those_of_a_straight_line_through_logarithms():
    fitted = fit(decay(), {t: TIMES, x: LOGNORMAL}, loss="lognormal", **tight)
    known = np.isfinite(LOGNORMAL)
    line = scipy.stats.linregress(TIMES[known], np.log(LOGNORMAL[known]))
    rate, start = fitted.estimates["k"], fitted.estimates["x(t0)"]
    np.testing.assert_allclose([rate.value, start.value], [-line.slope, np.exp(line.intercept)])
    np.testing.assert_allclose(
        [rate.error, start.error / start.value], [line.stderr, line.intercept_stderr], rtol=1e-6
    )


def test_poisson_errors_are_fishers():
    fitted = fit(decay(), {t: TIMES, x: COUNTS}, loss="poisson", **tight)

    def loss(point):
        rate = curve(TIMES, *point)
        return np.sum(rate - COUNTS * np.log(rate))

    best = scipy.optimize.minimize(loss, (1.0, 30.0), method="Nelder-Mead", tol=1e-10).x
    expected = curve(TIMES, *best)
    slopes = np.stack([-TIMES * expected, expected / best[1]], axis=1)
    covariance = np.linalg.inv(slopes.T @ (slopes / expected[:, None]))
    found = [fitted.estimates[name] for name in ("k", "x(t0)")]
    np.testing.assert_allclose([e.value for e in found], best, rtol=1e-5)
    np.testing.assert_allclose([e.error for e in found], np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_hare_and_lynx_agree_with_independent_least_squares():
    """Source: independent least squares; posterior means published with the data are .55, .028,
    .80, .024 (Carpenter, 2018)."""
    table = hare_lynx()
    h, w = sm.unknowns("h w", bounds=(0, None))
    a, b, c, d = sm.parameters("a b c d", bounds=(0, None))
    system = sm.System(
        sm.Eq(D(h), a * h - b * h * w),
        sm.Eq(D(w), d * h * w - c * w),
        values={a: 0.5, b: 0.03, c: 0.8, d: 0.03},
    )
    data = {t: table.times - 1900, h: table["hare"], w: table["lynx"]}
    fitted = sm.fit(system, data, loss="lognormal", key=jax.random.key(0), progress=False)
    found = [fitted[s] for s in (a, b, c, d, h, w)]
    expected = [0.5402, 0.02717, 0.7964, 0.02369, 34.60, 5.844]
    np.testing.assert_allclose(found, expected, rtol=5e-4)
    np.testing.assert_allclose(np.sqrt(2 * fitted.loss), 0.2192, rtol=5e-4)
    assert fitted.diverged is False
    assert all(0 < e.error < e.value / 4 for e in fitted.estimates.values())


def bounded(upper, start):
    rate, offset = sm.parameter("rate", start, bounds=(0, upper)), sm.parameter("offset", 0.0)
    return sm.System(sm.Eq(D(x), -rate * (x - offset)), initial={x: 2.0})


@pytest.mark.parametrize("start", [0.2, 0.0, 0.5])
def test_an_optimum_outside_the_bounds_is_approached_from_inside(start):
    data = {t: TIMES, x: NORMAL}
    fitted = fit(bounded(0.5, start), data, free="rate", steps=200, learning_rate=0.3)
    assert 0.495 < fitted["rate"] <= 0.5
    assert fitted.estimates["rate"].bounds == (0, 0.5)


def test_fixed_parameters_stay_and_what_is_fitted_follows_them():
    system = bounded(5.0, 1.0).replace(values={"offset": 0.3})
    values = 0.3 + 1.7 * np.exp(-0.7 * TIMES)
    fitted = fit(system, {t: TIMES, x: values}, free="rate")
    assert fitted.free == ("rate",)
    np.testing.assert_allclose(fitted["rate"], 0.7, rtol=1e-4)
    assert float(fitted.model.parameters["offset"]) == 0.3
    with pytest.raises(sm.DeclarationError, match="offset was not estimated; there are rate"):
        fitted["offset"]


def test_sums_that_were_measured_are_enough_where_they_tell_unknowns_apart():
    q = sm.parameter("q", 2.0)
    system = sm.System(sm.Eq(D(x), -k * x), sm.Eq(D(y), -q * y), initial={x: 1, y: 2})
    total = np.exp(-0.7 * TIMES) + 2 * np.exp(-3 * TIMES)
    fitted = fit(system, {t: TIMES, x + y: total}, **tight)
    np.testing.assert_allclose([fitted[k], fitted[q]], [0.7, 3.0], rtol=1e-6)


def test_each_trajectory_has_its_own_initial_value_at_its_own_time():
    data = [
        {t: TIMES + 1, x: curve(TIMES + 1, 0.7, 2)},
        {t: TIMES[:9], x: curve(TIMES[:9], 0.7, 5)},
    ]
    fitted = fit(decay(), data, t0=[0, -1], **tight)
    np.testing.assert_allclose(fitted[k], 0.7, rtol=1e-6)
    np.testing.assert_allclose(fitted[x], [2, 5 * np.exp(0.7)], rtol=1e-6)
    assert fitted.estimates["x(t0)"].error.shape == (2,)
    second = fitted.solve(trajectory=1)
    np.testing.assert_allclose(second.ts[jnp.asarray([0, -1])], [-1, TIMES[8]])
    np.testing.assert_allclose(second[x][0], 5 * np.exp(0.7), rtol=1e-6)
    assert len(fitted.residuals(1)["x"]) == 9


def huber(predicted, measured):
    gap = jnp.abs(predicted["x"] - measured["x"]) / 0.05
    return jnp.nansum(jnp.where(gap < 1, 0.5 * gap**2, gap - 0.5))


def test_a_users_loss_is_minimised_as_scipy_does():
    spoilt = np.where(np.arange(16) == 3, 9.0, NORMAL)
    fitted = fit(decay(initial={x: 2.0}), {t: TIMES, x: spoilt}, loss=huber, **tight)

    def loss(rate):
        gap = np.abs(curve(TIMES, rate, 2.0) - spoilt) / 0.05
        return np.sum(np.where(gap < 1, 0.5 * gap**2, gap - 0.5))

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 2), options={"xatol": 1e-10})
    np.testing.assert_allclose(fitted[k], best.x, rtol=1e-5)
    np.testing.assert_allclose(fitted.loss, best.fun, rtol=1e-8)
    assert np.isnan(fitted.estimates["k"].error)


def test_a_penalty_draws_the_estimate_as_a_prior_would():
    def penalty(model):
        return 3 * (model.parameters["k"] - 1.0) ** 2

    data = {t: TIMES, x: NORMAL}
    fitted = fit(decay(initial={x: 2.0}), data, noise=0.2, penalty=penalty, **tight)

    def loss(rate):
        gap = (curve(TIMES, rate, 2.0) - NORMAL) / 0.2
        return 0.5 * np.mean(gap**2) + 3 * (rate - 1) ** 2

    best = scipy.optimize.minimize_scalar(loss, bounds=(0.1, 2), options={"xatol": 1e-10})
    np.testing.assert_allclose(fitted[k], best.x, rtol=1e-6)
    np.testing.assert_allclose(fitted.loss, best.fun, rtol=1e-8)


def test_array_unknowns_and_parameters_are_fitted_whole():
    u = sm.unknown("u", shape=2)
    rates = sm.parameter("rates", shape=2, guess=[1.0, 1.0], bounds=(0, None))
    system = sm.System(sm.Eq(D(u), -rates * u), initial={u: [2.0, 3.0]})
    seen = np.stack([curve(TIMES, 0.7, 2), curve(TIMES, 2.0, 3)], axis=1)
    seen[4, 1] = np.nan
    fitted = fit(system, {t: TIMES, u: seen}, **tight)
    np.testing.assert_allclose(fitted[rates], [0.7, 2.0], rtol=1e-6)
    assert fitted.residuals()["u"].shape == (16, 2)
    assert "rates[1]" in str(fitted)
