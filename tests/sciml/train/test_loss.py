"""Claims about losses: they are the likelihoods of scipy, and say nothing where nothing is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import sciml as sm
from sciml import D, t
from sciml.train._data import read_data
from sciml.train._loss import build_loss, typical_size

x, y = sm.unknowns("x y")
TIMES = np.arange(6.0)
SEEN = {"x": np.array([3.0, 1, 4, np.nan, 5, 9]), "y": np.array([200.0, 700, 100, 800, 200, 800])}
FIRST = {"x": SEEN["x"] + 0.3, "y": SEEN["y"] + 20}
SECOND = {"x": np.array([2.0, 2, 3, 1, 6, 8]), "y": np.array([300.0, 600, 200, 700, 300, 700])}
FIRST["x"][3] = 1.0


@pytest.fixture(scope="module")
def data():
    system = sm.System(sm.Eq(D(x), -x), sm.Eq(D(y), -y), initial={x: 1, y: 1})
    return read_data(sm.compile(system), {t: TIMES, **SEEN})


def observed(data):
    return {k: jnp.asarray(v) for k, v in data.observed.items()}


def loss_of(likelihood, data, predicted):
    arrays = {k: jnp.asarray(v)[None] for k, v in predicted.items()}
    return likelihood.loss(arrays, observed(data), jnp.asarray(data.training))


def log_density(kind, predicted, noise):
    """The sum of log densities of all measurements, by scipy."""
    total = 0.0
    for label, seen in SEEN.items():
        known, guess = np.isfinite(seen), predicted[label]
        if kind == "poisson":
            terms = scipy.stats.poisson(guess[known]).logpmf(seen[known])
        elif kind == "lognormal":
            terms = scipy.stats.lognorm(noise[label], scale=guess[known]).logpdf(seen[known])
        else:
            terms = scipy.stats.norm(guess[known], noise[label]).logpdf(seen[known])
        total += terms.sum()
    return total


@pytest.mark.parametrize("kind", ["normal", "lognormal", "poisson"])
def test_a_loss_is_the_mean_negative_log_likelihood_up_to_a_constant(data, kind):
    noise = None if kind == "poisson" else {"x": 0.5, y: 30.0}
    likelihood = build_loss(kind, data, noise, jnp.float64)
    gap = loss_of(likelihood, data, FIRST) - loss_of(likelihood, data, SECOND)
    by_name = {"x": 0.5, "y": 30.0}
    expected = log_density(kind, SECOND, by_name) - log_density(kind, FIRST, by_name)
    np.testing.assert_allclose(gap * data.count, expected, rtol=1e-12)


def test_without_noise_columns_count_in_units_of_their_spread(data):
    likelihood = build_loss("normal", data, None, jnp.float64)
    np.testing.assert_allclose(likelihood.scale["x"], np.nanstd(SEEN["x"]), rtol=1e-15)
    np.testing.assert_allclose(likelihood.scale["y"], np.std(SEEN["y"]), rtol=1e-15)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "poisson"])
def test_the_slope_of_residuals_gives_fishers_information(data, kind):
    noise = None if kind == "poisson" else {"x": 0.5, y: 30.0}
    likelihood = build_loss(kind, data, noise, jnp.float64)
    seen = jnp.asarray([[4.0]])
    slope = jax.grad(lambda v: likelihood.residual("x", v, seen)[0, 0])(jnp.asarray([[3.0]]))
    information = {"normal": 1 / 0.5**2, "lognormal": 1 / (0.5 * 3) ** 2, "poisson": 1 / 3}
    np.testing.assert_allclose(slope[0, 0] ** 2, information[kind], rtol=1e-14)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "poisson"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_where_nothing_was_measured_do_not_count(data, kind, bad):
    likelihood = build_loss(kind, data, None, jnp.float64)
    spoilt = {**FIRST, "x": np.where(np.isnan(SEEN["x"]), bad, FIRST["x"])}
    value, slope = jax.value_and_grad(lambda p: loss_of(likelihood, data, p))(
        {k: jnp.asarray(v) for k, v in spoilt.items()}
    )
    np.testing.assert_allclose(value, loss_of(likelihood, data, FIRST))
    assert float(slope["x"][3]) == 0.0
    assert all(np.all(np.isfinite(v)) for v in slope.values())


@pytest.mark.parametrize("kind", ["lognormal", "poisson"])
def test_negative_predictions_cost_more_the_further_they_go(data, kind):
    likelihood = build_loss(kind, data, None, jnp.float64)
    values = [loss_of(likelihood, data, {**FIRST, "x": FIRST["x"] - s}) for s in (20, 40, 80)]
    assert np.all(np.isfinite(values))
    assert values[0] < values[1] < values[2]


def test_negative_predictions_of_no_counts_are_not_rewarded():
    system = sm.compile(sm.System(sm.Eq(D(x), -x), initial={x: 1}))
    data = read_data(system, {t: TIMES, x: 0 * TIMES})
    likelihood = build_loss("poisson", data, None, jnp.float64)
    values = [loss_of(likelihood, data, {"x": 0 * TIMES + v}) for v in (0.0, -1.0, -2.0)]
    assert values[0] < values[1] < values[2]


def test_a_users_loss_may_skip_missing_entries_in_the_natural_way(data):
    def loss(predicted, measured):
        return jnp.nanmean((predicted["x"] - measured["x"]) ** 2)

    custom = build_loss(loss, data, None, jnp.float64)
    points = {k: jnp.asarray(v) for k, v in FIRST.items()}
    value, slope = jax.value_and_grad(lambda p: loss_of(custom, data, p))(points)
    np.testing.assert_allclose(value, 0.09)
    expected = np.where(np.isnan(SEEN["x"]), 0.0, 2 * 0.3 / 5)
    np.testing.assert_allclose(slope["x"], expected)
    forward = jax.jacfwd(lambda p: loss_of(custom, data, p))(points)
    np.testing.assert_allclose(forward["x"], expected)


def test_a_constant_column_counts_in_units_of_its_size():
    values = np.stack([np.full(7, 0.1), np.zeros(7), np.arange(7.0)], axis=1)[None]
    np.testing.assert_allclose(typical_size(values), [0.1, 1.0, 2.0])


@pytest.mark.parametrize(
    ("loss", "noise", "error", "message"),
    [
        ("huber", None, sm.DeclarationError, "loss is \"normal\".*not 'huber'"),
        ("normal", -1.0, sm.DeclarationError, "standard deviation of x must be positive"),
        ("normal", "big", sm.DeclarationError, "of x is a number, not 'big'"),
        ("normal", [1.0, 2.0], sm.DeclarationError, "of x is a number"),
        ("normal", {"x": 1.0}, sm.DeclarationError, "no standard deviation is given for y"),
        ("normal", {"x": 1.0, "y": 1.0, "z": 1.0}, sm.DeclarationError, "z is not measured"),
        ("poisson", 1.0, sm.DeclarationError, "counts have no noise of their own"),
        (abs, 1.0, sm.DeclarationError, "noise belongs to a likelihood"),
    ],
)
def test_losses_that_make_no_sense_are_refused(data, loss, noise, error, message):
    with pytest.raises(error, match=message):
        build_loss(loss, data, noise, jnp.float64)


@pytest.mark.parametrize(
    ("loss", "values", "message"),
    [
        ("lognormal", TIMES, "column x holds values that are not positive"),
        ("poisson", TIMES / 2, "column x must hold counts"),
        ("poisson", TIMES - 3, "column x must hold counts"),
    ],
)
def test_data_that_a_likelihood_does_not_admit_are_refused(loss, values, message):
    system = sm.compile(sm.System(sm.Eq(D(x), -x), initial={x: 1}))
    with pytest.raises(sm.DataError, match=message):
        build_loss(loss, read_data(system, {t: TIMES, x: values}), None, jnp.float64)


@pytest.mark.parametrize("returned", [jnp.ones(2), None, "loss"])
def test_a_users_loss_returns_one_number(data, returned):
    custom = build_loss(lambda predicted, measured: returned, data, None, jnp.float64)
    with pytest.raises(sm.DeclarationError, match="loss: the function must return one number"):
        loss_of(custom, data, FIRST)
