"""Claims about regression on signatures: what it recovers, and that it is at its minimum."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso

import sciml as sm

KEY = jax.random.key(0)


def ornstein_uhlenbeck(count, seed):
    """dy = 3 (1 - y) dt + dx over [0, 1] from y = 0, exact for x linear between 1001 points.

    x is shown at 100 of them, y at all of these.
    """
    rng, h = np.random.default_rng(seed), 1e-3
    x = np.cumsum(rng.normal(size=(count, 1001)) * np.sqrt(h), axis=1)
    x, y = x - x[:, :1], np.zeros((count, 1001))
    decay = np.exp(-3 * h)
    for k in range(1000):
        settled = 1 + (x[:, k + 1] - x[:, k]) / (3 * h)
        y[:, k + 1] = decay * y[:, k] + (1 - decay) * settled
    shown = np.linspace(0, 1000, 100).round().astype(int)
    times = shown * h
    return [{"t": times, "x": a, "y": b} for a, b in zip(x[:, shown], y[:, shown], strict=True)]


def sparsely(data, seed):
    """The target at 4 random times of each trajectory."""
    rng, found = np.random.default_rng(seed), []
    for one in data:
        kept = np.isin(np.arange(100), rng.choice(np.arange(1, 100), 4, replace=False))
        found.append({**one, "y": np.where(kept, one["y"], np.nan)})
    return found


def mean_square(fitted, data):
    return np.mean([(fitted.predict(one) - one["y"]) ** 2 for one in data])


def fit(data, *, path="x", target="y", **options):
    return sm.fit(sm.SignatureRegression(path, target, **options), data, key=KEY)


@pytest.mark.parametrize("shrinkage", ["lasso", "ridge"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_controlled_equation_is_learned_from_four_measurements_of_each_path(seed, shrinkage):
    """Bleistein et al. (2023), section 5."""
    train = sparsely(ornstein_uhlenbeck(50, 10 * seed), seed)
    test = ornstein_uhlenbeck(50, 10 * seed + 1)
    fitted = fit(train, shrinkage=shrinkage)
    assert fitted.depth in (3, 4, 5)
    assert mean_square(fitted, test) <= 5e-5
    assert fitted.notes == ()
    shallow = fit(train, shrinkage=shrinkage, depth=2)
    assert mean_square(shallow, test) > 20 * mean_square(fitted, test)


def test_the_lasso_is_at_its_minimum():
    """The conditions of Karush, Kuhn and Tucker, and coordinate descent as a second method."""
    train = sparsely(ornstein_uhlenbeck(30, 0), 0)
    weights = {0: 1.0, 1: 1.0, 2: 3.0, 3: 0.5}
    penalty = 3e-3
    fitted = fit(train, depth=3, penalty=penalty, weights=weights.__getitem__)
    words, values = [], []
    for one in train:
        points = np.stack([one["t"], one["x"]], axis=1) / fitted.scale
        levels = sm.signature(jnp.asarray(points), depth=3, running=True)
        flat = np.concatenate([np.reshape(level, (100, -1)) for level in levels], axis=1)
        known = np.isfinite(one["y"])
        words.append(flat[known, 1:])
        values.append(one["y"][known])
    words, values = np.concatenate(words), np.concatenate(values)
    weigh = np.concatenate([np.full(2**k, weights[k]) for k in (1, 2, 3)])
    spread = words.std(axis=0)
    scaled = (words - words.mean(axis=0)) / (spread * weigh)
    largest = np.max(np.abs(scaled.T @ (values - values.mean()))) / len(values)
    descent = Lasso(alpha=penalty * largest, max_iter=1_000_000, tol=1e-13)
    expected = descent.fit(scaled, values - values.mean()).coef_ / (spread * weigh)
    found = np.concatenate([np.ravel(c) * fitted.scale**k for k, c in enumerate(fitted.levels)])[1:]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.max(np.abs(expected)))
    assert 2 < np.count_nonzero(found) < 14
    pull = scaled.T @ (values - values.mean() - scaled @ (found * spread * weigh)) / len(values)
    assert np.max(np.abs(pull)) <= penalty * largest * (1 + 1e-6)


def test_the_largest_penalty_leaves_the_mean_alone_and_smaller_ones_more_words():
    train = sparsely(ornstein_uhlenbeck(20, 0), 0)
    fits = [fit(train, depth=4, penalty=penalty) for penalty in (1.0, 0.1, 1e-4)]
    measured = np.concatenate([one["y"][np.isfinite(one["y"])] for one in train])
    np.testing.assert_allclose(fits[0].levels[0], measured.mean())
    counts = [sum(np.count_nonzero(level) for level in one.levels) for one in fits]
    assert counts[0] == 1 < counts[1] < counts[2]


def test_where_words_are_sums_of_others_the_minimum_is_the_same():
    train = sparsely(ornstein_uhlenbeck(20, 0), 0)
    twice = [{**one, "x2": one["x"]} for one in train]
    alone = fit(train, depth=3, penalty=1e-3)
    both = fit(twice, path=["x", "x2"], depth=3, penalty=1e-3)
    assert both.notes == ()
    for a, b in zip(alone.predict(train), both.predict(twice), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_a_minimum_that_is_not_reached_is_noted(monkeypatch):
    monkeypatch.setattr("sciml.train._shrinkage._STEPS", 3)
    fitted = fit(sparsely(ornstein_uhlenbeck(20, 0), 0), depth=4, penalty=1e-5)
    assert "the lasso did not reach its minimum" in fitted.notes[0]
    assert fitted.notes[0] in str(fitted)


def test_without_scikit_learn_the_lasso_says_how_to_get_it(monkeypatch):
    for name in ("sklearn", "sklearn.linear_model"):
        monkeypatch.setitem(sys.modules, name, None)
    train = sparsely(ornstein_uhlenbeck(20, 0), 0)
    with pytest.raises(sm.SciMLError, match=r"pip install 'sciml-jax\[learn\]', or ask for"):
        fit(train, depth=2)
    assert fit(train, depth=2, shrinkage="ridge").shrinkage == "ridge"


def test_series_are_trajectories():
    data = ornstein_uhlenbeck(8, 0)
    times, values = ([one[name] for one in data] for name in ("t", "x"))
    targets = [one["y"] for one in data]
    both = [np.stack(pair, axis=1) for pair in zip(values, targets, strict=True)]
    series = sm.data.Series(times, both, "x y")
    fits = [fit(given, depth=2, penalty=1e-3) for given in (data, series)]
    predicted = [one.predict(given) for one, given in zip(fits, (data, series), strict=True)]
    np.testing.assert_allclose(predicted[1], predicted[0], rtol=1e-12)


@pytest.mark.parametrize("shrinkage", ["lasso", "ridge"])
def test_a_linear_function_of_the_signature_is_recovered(shrinkage):
    """The integral of t dx is the word (t, x), and x - x(0) the word (x)."""
    rng, times = np.random.default_rng(0), np.linspace(0, 2, 30)
    data = []
    for _ in range(12):
        x = np.cumsum(rng.normal(size=30))
        middle = 0.5 * (times[1:] + times[:-1])
        integral = np.concatenate([[0], np.cumsum(middle * np.diff(x))])
        data.append({"t": times, "x": x, "y": 0.7 + 2 * (x - x[0]) - 3 * integral})
    fitted = fit(data, depth=2, penalty=0.0, shrinkage=shrinkage)
    assert fitted.notes == ()
    np.testing.assert_allclose(fitted.levels[0], 0.7, atol=1e-8)
    np.testing.assert_allclose(fitted.levels[1], [0, 2], atol=1e-8)
    np.testing.assert_allclose(fitted.levels[2], [[0, -3], [0, 0]], atol=1e-8)


def test_symbols_name_columns_and_missing_values_of_the_path_are_interpolated():
    times = np.linspace(0, 1, 21)
    x, y = sm.unknown("x", shape=2), sm.unknown("y")
    full = [
        {sm.t: times, x: np.stack([k * times, 0 * times], 1), y: k * times} for k in range(1, 6)
    ]
    holes = [{**one, x: one[x].copy()} for one in full]
    for one in holes:
        one[x][3:6] = np.nan
    fits = [fit(d, path=[x], target=y, depth=2, penalty=1e-3) for d in (full, holes)]
    for a, b in zip(fits[0].predict(full), fits[1].predict(holes), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize(("shrinkage", "penalty"), [("lasso", 1e-3), ("ridge", 1e-6)])
def test_heavier_levels_are_smaller(shrinkage, penalty):
    train = sparsely(ornstein_uhlenbeck(20, 0), 0)
    options = {"depth": 3, "penalty": penalty, "shrinkage": shrinkage}
    plain = fit(train, **options)
    heavy = fit(train, weights=lambda k: 100.0**k, **options)
    assert np.linalg.norm(heavy.levels[3]) < np.linalg.norm(plain.levels[3])


def test_it_says_what_was_chosen():
    fitted = fit(sparsely(ornstein_uhlenbeck(20, 0), 0), depth=(1, 2))
    assert str(fitted).startswith("SignatureFit of y on t, x: depth 2, lasso with penalty")
    assert fitted.errors.shape == (2, len(fitted.penalties))


GOOD = [{"t": [0, 1, 2], "x": [0, 1, 0], "y": [0, 1, 2]}] * 2


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (GOOD, {"depth": 0}, sm.DeclarationError, "a depth is 1 or more"),
        (GOOD, {"depth": ()}, sm.DeclarationError, "depth: there is none to choose from"),
        (GOOD, {"depth": "a"}, sm.DeclarationError, "depth is a number or a list of them, not 'a'"),
        (GOOD, {"depth": 20}, sm.DeclarationError, "has 2097151 words: use a smaller depth"),
        (GOOD, {"path": "y"}, sm.DeclarationError, "y is the target: leave it out of the path"),
        (GOOD, {"shrinkage": "none"}, sm.DeclarationError, 'shrinkage is "lasso" or "ridge", not'),
        (GOOD, {"path": 3}, sm.DeclarationError, "3 is neither a symbol nor a name"),
        (GOOD, {"weights": lambda k: 0.0}, sm.DeclarationError, "must be positive"),
        (GOOD, {"path": "z"}, sm.DataError, "trajectory 0: there is no column z; there are t, x"),
        (GOOD[0], {}, sm.DataError, "needs 2 trajectories or more: give one depth"),
        ([], {}, sm.DataError, "the data hold no trajectory"),
        ([3], {}, sm.DataError, "is a mapping or a DataFrame, not int"),
        ([{**GOOD[0], "t": [0, 2, 1]}], {}, sm.DataError, "the times are 2 or more, and increase"),
        ([{**GOOD[0], "x": [0, 1]}], {}, sm.DataError, r"x has shape \(2,\) for 3 times"),
        ([{**GOOD[0], "y": [np.nan] * 3}], {}, sm.DataError, "y was never measured: leave"),
        ([{**GOOD[0], "x": [np.nan] * 3}], {}, sm.DataError, "x was never measured, and the path"),
        ([{**GOOD[0], "y": np.ones((3, 2))}], {}, sm.DataError, "a target is a scalar"),
        ([{**GOOD[0], "x": ["a", "b", "c"]}], {}, sm.DataError, "something else than numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        fit(data, **options)


def test_options_of_other_fits_are_refused():
    problem = sm.SignatureRegression("x", "y")
    for name, value in {"steps": 10, "loss": "poisson", "mode": sm.Regression()}.items():
        with pytest.raises(sm.DeclarationError, match=f"no options but the key: leave {name} out"):
            sm.fit(problem, GOOD, key=jax.random.key(0), **{name: value})
