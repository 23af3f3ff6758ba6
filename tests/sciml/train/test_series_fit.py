"""Claims about fits to batches of series: classes, numbers, and hidden dynamics."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm
from sciml import D
from sciml.data import Series
from sciml.train._batches import make_reader
from sciml.train._modes import Regression
from sciml.train._series_train import Learning, train_batches
from sciml.train._weights import weights_of

KEY = jax.random.key(0)
fit = functools.partial(sm.fit, key=KEY, progress=False)
random = np.random.default_rng(0)


class Averages(eqx.Module):
    """An affine map of the mean of each channel: small, with answers in closed form."""

    map: eqx.nn.Linear

    def __call__(self, times, values, *, key=None):
        known = jnp.isfinite(values)
        count = jnp.maximum(jnp.sum(known, axis=0), 1).astype(values.dtype)
        return self.map(jnp.sum(jnp.where(known, values, 0.0), axis=0) / count)


def averages(channels, outputs):
    return Averages(eqx.nn.Linear(channels, outputs, key=KEY))


def batch(count=40, **options):
    """Series of 3 to 6 times around levels of their own, two channels."""
    levels = random.normal(size=(count, 2)) * [1.0, 50.0]
    levels[:, 1] += 50 * np.sign(levels[:, 1])  # two kinds, well apart
    lengths = random.integers(3, 7, count)
    times = [10.0 + np.sort(random.uniform(0, 30, size)) for size in lengths]
    values = [
        level + 0.01 * random.normal(size=(size, 2))
        for level, size in zip(levels, lengths, strict=True)
    ]
    return Series(times, values, "x y", **options), levels


# -- what modules see ------------------------------------------------------------------------------


def test_modules_see_scaled_values_and_times_that_begin_at_zero():
    series, _ = batch()
    reader = make_reader(sm.Variational(), series)
    seen = reader.unlabelled(series)
    values = np.concatenate([np.asarray(v)[np.isfinite(v).all(1)] for v in seen.values])
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(0), 1)
    np.testing.assert_array_equal(seen.times[:, 0], 0)
    assert float(jnp.max(seen.times)) == 1


def test_without_scaling_values_and_times_stay_what_they_are():
    series, _ = batch()
    seen = make_reader(sm.Variational(scaling="none"), series).unlabelled(series)
    for row in (0, 7):
        size = series.lengths[row]
        np.testing.assert_array_equal(seen.times[row, :size], series.times[row])
        np.testing.assert_array_equal(seen.values[row, :size], series.values[row])


def test_what_is_to_be_foretold_is_not_read():
    times = np.arange(8.0)
    series = Series(times, [np.arange(8.0) + k for k in range(3)], "x")
    reader = make_reader(sm.Regression(ahead=3, scaling="none"), series)
    seen = reader.batch(series)
    assert seen.values.shape == (3, 5, 1)
    np.testing.assert_array_equal(seen.targets[1], [6, 7, 8])
    np.testing.assert_array_equal(reader.undo(np.asarray(seen.targets))[1, :, 0], [6, 7, 8])


# -- classes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classified():
    plain, levels = batch(80)
    series = Series(
        plain.times, plain.values, "x y", labels=np.where(levels[:, 1] > 0, "up", "down")
    )
    fitted = fit(
        averages(2, 2), series, mode=sm.Classification(), validation=0.25, steps=200,
        learning_rate=0.05,
    )  # fmt: skip
    return series, fitted


def test_classes_that_can_be_told_apart_are(classified):
    series, fitted = classified
    assert fitted.score(series) == 1
    assert set(fitted.predict(series)) == {"up", "down"}
    np.testing.assert_array_equal(fitted.predict(series), series.labels)
    assert fitted.loss < 0.1 < fitted.losses[0]


def test_probabilities_are_those_of_the_classes_in_order(classified):
    series, fitted = classified
    odds = fitted.probabilities(series)
    assert odds.shape == (80, 2)
    np.testing.assert_allclose(odds.sum(1), 1)
    assert fitted.reader.classes == ("down", "up")
    np.testing.assert_array_equal(odds[:, 1] > 0.5, np.array(series.labels) == "up")


def test_the_loss_is_the_mean_cross_entropy_in_nats(classified):
    series, fitted = classified
    held_in = fit(fitted.module, series, mode=sm.Classification(), steps=0)
    odds = held_in.probabilities(series)
    right = odds[np.arange(80), (np.array(series.labels) == "up").astype(int)]
    np.testing.assert_allclose(held_in.loss, -np.mean(np.log(right)), rtol=1e-6)


def test_the_same_key_gives_the_same_fit_and_another_one_another(classified):
    series, _ = classified
    options = {"mode": sm.Classification(batch=8), "steps": 5}
    one, two, three = (
        sm.fit(averages(2, 2), series, key=key, progress=False, **options).losses
        for key in (KEY, KEY, jax.random.key(1))
    )
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, three)


def test_it_says_what_it_learned(classified):
    _, fitted = classified
    assert str(fitted).startswith("Classification by Averages: 6 weights, 2 classes, 200 steps")
    assert "validation" in str(fitted)
    assert "validation" in fitted._repr_mimebundle_()["text/markdown"]
    assert len(fitted.plot_losses().lines) == 2


def test_a_system_that_series_drive_is_read_out():
    z, X = sm.unknown("z", shape=2), sm.control("X", channels=2)
    times = np.linspace(0, 1, 6)
    values = [
        np.outer(times, [1, 0.3 * s]) + 0.05 * random.normal(size=(6, 2)) for s in [1, -1] * 8
    ]
    series = Series(times, values, "x y", labels=[0, 1] * 8)
    system = sm.nn.neural_cde(z, X, width=8, key=KEY)
    fitted = fit(system, series, mode=sm.Classification(batch=16), steps=60, learning_rate=0.02)
    assert isinstance(fitted.module, sm.nn.Readout)
    assert fitted.score(series) == 1


# -- numbers ---------------------------------------------------------------------------------------


def labelled(scale=1.0):
    generator = np.random.default_rng(5)
    levels = generator.normal(size=(40, 2))
    values = [np.tile(level, (4, 1)) for level in levels]
    targets = levels @ [2.0, -1.0] + 0.1 * generator.normal(size=40)
    return Series(np.arange(4.0), values, "x y", labels=scale * targets), levels, targets


def test_a_regression_is_least_squares_in_the_units_of_the_labels():
    for scale in (1.0, 1000.0):
        series, levels, targets = labelled(scale)
        fitted = fit(
            averages(2, 1), series, mode=sm.Regression(batch=40), steps=600,
            optimiser=optax.adam(optax.cosine_decay_schedule(0.1, 600)),
        )  # fmt: skip
        inputs = np.column_stack([levels, np.ones(40)])
        exact = inputs @ np.linalg.lstsq(inputs, scale * targets)[0]
        np.testing.assert_allclose(fitted.predict(series), exact, atol=1e-3 * scale)
        rms = np.sqrt(np.mean((exact - scale * targets) ** 2))
        np.testing.assert_allclose(fitted.score(series), rms, rtol=1e-3)


def test_times_ahead_are_foretold_in_the_units_of_the_data():
    levels = random.normal(size=30) * 20 + 300
    series = Series(np.arange(7.0), [np.full(7, level) for level in levels], "temperature")
    fitted = fit(
        averages(1, 2), series, mode=sm.Regression(ahead=2, batch=30), steps=400,
        optimiser=optax.adam(optax.cosine_decay_schedule(0.1, 400)),
    )  # fmt: skip
    foretold = fitted.predict(series)
    assert foretold.shape == (30, 2, 1)
    np.testing.assert_allclose(foretold[:, 0, 0], levels, rtol=1e-3)
    assert fitted.score(series) < 0.3


def test_targets_that_are_missing_do_not_count():
    values = np.tile(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), (4, 1)) * np.arange(1, 5)[:, None]
    holes = values.copy()
    holes[0, -1] = np.nan
    whole, gaps = (Series(np.arange(6.0), list(v), "x") for v in (values, holes))
    mode = sm.Regression(ahead=2, scaling="none")
    losses = [fit(averages(1, 2), s, mode=mode, steps=0) for s in (whole, gaps)]
    module = losses[0].module
    out = [module(jnp.arange(4.0), jnp.asarray(v[:4, None])) for v in values]
    halves = [
        0.5 * np.mean((o - v[4:])[: 1 if row == 0 else 2] ** 2)
        for row, (o, v) in enumerate(zip(out, values, strict=True))
    ]
    np.testing.assert_allclose(losses[1].loss, np.mean(halves), rtol=1e-6)


# -- training --------------------------------------------------------------------------------------


def test_the_point_that_is_best_on_held_out_series_is_kept(classified):
    _, fitted = classified
    assert fitted.validation_loss <= np.min(fitted.validation_losses) + 1e-9
    assert len(fitted.watched) == 50


def test_patience_stops_a_training_that_gets_no_better():
    series, _, _ = labelled()
    fitted = fit(
        averages(2, 1), series, mode=sm.Regression(), validation=series, steps=300, patience=20,
        optimiser=optax.sgd(0.0),
    )  # fmt: skip
    assert len(fitted.losses) < 100
    assert "stopped early" in fitted.notes[0]


def test_a_step_without_a_finite_loss_is_not_taken():
    series, _, _ = labelled()
    reader = make_reader(Regression(batch=40), series)
    data = reader.batch(series)
    weights, point = weights_of(averages(2, 1))
    learning = Learning(weights, reader.mode, penalty=lambda m: jnp.log(m.map.bias[0] + 0.5))
    point = jax.tree.map(jnp.zeros_like, point)
    course = train_batches(
        learning, point, data, None, optimiser=optax.sgd(2.0), steps=12, patience=None,
        progress=False, key=KEY,
    )  # fmt: skip
    assert np.any(~np.isfinite(course.losses))
    assert "diverged" in course.notes[0]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(course.point))


def test_bounds_of_parameters_hold_and_free_says_what_is_trained():
    x, u = sm.unknown("x"), sm.control("u", channels=1)
    k = sm.parameter("k", 0.5, bounds=(0.4, 0.6))
    c = sm.parameter("c", 1.0)
    tank = sm.System(sm.Eq(D(x), c * sm.index(u, 0) - k * x), initial={x: 0})
    series = Series(np.linspace(0, 1, 4), list(np.ones((6, 4))), "u", labels=[9.0] * 3 + [10.0] * 3)
    mode = sm.Regression(scaling="none")
    fitted = fit(tank, series, mode=mode, steps=30, learning_rate=0.5, free=[k])
    assert 0.4 <= float(fitted.module.model.parameters["k"]) < 0.5
    assert float(fitted.module.model.parameters["c"]) == 1
    with pytest.raises(sm.DeclarationError, match="free: q is neither a parameter nor a trainable"):
        fit(tank, series, mode=mode, free=["q"])


# -- hidden dynamics -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_variational_fit_lowers_the_bound_and_gives_series_back_in_their_units():
    x = sm.unknown("x")
    times = np.linspace(0, 3, 7)
    phases = np.random.default_rng(0).uniform(0, 6, 24)
    series = Series(times, [100 + 20 * np.sin(2 * times + p) for p in phases], [x])
    series = series.drop(0.2, key=KEY)
    module = sm.nn.LatentODE(x, latent=2, width=8, key=KEY)
    fitted = fit(module, series, mode=sm.Variational(batch=12), steps=150, learning_rate=0.05)
    assert fitted.losses[-5:].mean() < 0.5 * fitted.losses[:3].mean()
    shown = fitted.predict(series)
    assert isinstance(shown, Series)
    assert shown.missing == 0
    assert abs(np.mean(np.concatenate(shown[x])) - 100) < 20
    np.testing.assert_array_equal(shown.times[0], series.times[0])
    assert np.isfinite(fitted.score(series))


def test_the_loss_of_a_latent_sde_does_not_see_what_is_missing_or_padded():
    x = sm.unknown("x")
    module = sm.nn.LatentSDE(x, latent=2, width=8, dt0=0.1, key=KEY)
    times, values = jnp.linspace(0, 1, 5), jnp.sin(jnp.arange(5.0))[:, None]
    holes = values.at[2].set(jnp.nan)
    longer = jnp.concatenate([times, times[-1:], times[-1:]])
    filled = jnp.concatenate([holes, jnp.full((2, 1), jnp.nan)])
    loss = eqx.filter_jit(lambda t, v: module.loss(t, v, key=KEY))
    np.testing.assert_allclose(loss(longer, filled), loss(times, holes), rtol=1e-9)
    assert not np.isclose(loss(times, holes), loss(times, values))
    assert module(times, holes, key=KEY).shape == (5, 1)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: fit(averages(2, 2), s, mode=sm.Classification), "not the class Classification"),
        (lambda s: fit(averages(2, 2), s), "fit takes a System or a Model, not Averages"),
        (lambda s: fit(averages(2, 2), {"t": [0, 1]}, mode=sm.Classification()), "batch of series"),
        (lambda s: fit(averages(2, 2), s, mode=sm.Classification(), t0=1.0), "t0 means nothing"),
        (lambda s: fit(averages(2, 2), s, mode=sm.Classification(), loss="poisson"), "leave loss"),
        (lambda s: fit(averages(2, 3), s, mode=sm.Classification()), r"\(3,\) for 2 classes"),
        (lambda s: fit(averages(2, 2), s, mode=sm.Variational()), "Averages has none"),
        (lambda s: fit(jnp.tanh, s, mode=sm.Classification()), "trains a System, or an Equinox"),
        (
            lambda s: fit(averages(2, 2), s.select("x"), mode=sm.Regression(ahead=9)),
            "to foretell 9",
        ),
        (lambda s: fit(averages(2, 2), s, mode=sm.Classification(), validation=2), "a share of"),
        (lambda s: sm.Classification(batch=0), "batch is a whole number"),
        (lambda s: sm.Regression(ahead=0), "ahead is a whole number"),
        (lambda s: sm.Variational(annealing=2), "annealing is a part"),
        (lambda s: sm.DerivativeMatching("backward"), "slopes is one of"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    series, _ = batch(12, labels=[0, 1] * 6)
    with pytest.raises(sm.SciMLError, match=message):
        make(series)


def test_series_without_targets_are_refused():
    series, _ = batch(12)
    with pytest.raises(sm.DataError, match="needs series with labels of two classes"):
        fit(averages(2, 2), series, mode=sm.Classification())
    with pytest.raises(sm.DataError, match=r"or Regression\(ahead=...\)"):
        fit(averages(2, 2), series, mode=sm.Regression())
    words, _ = batch(12, labels=["a", "b"] * 6)
    with pytest.raises(sm.DataError, match="labels of a regression are numbers"):
        fit(averages(2, 1), words, mode=sm.Regression())


def test_a_label_that_was_not_trained_on_is_refused(classified):
    series, fitted = classified
    other = Series(series.times[:2], series.values[:2], "x y", labels=["up", "sideways"])
    with pytest.raises(sm.DataError, match="'sideways' is none of the classes"):
        fitted.score(other)
