"""Claims about signatures: closed forms, Chen's identity, and what regression on them recovers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm

KEY = jax.random.key(0)
WALK = np.cumsum(np.random.default_rng(0).normal(size=(20, 3)), axis=0)


def power(vector, k):
    """The k-th tensor power."""
    found = np.ones(())
    for _ in range(k):
        found = np.multiply.outer(found, vector)
    return found


def product(one, other):
    """The product of two signatures, level by level."""
    pairs = [(k, j) for k in range(len(one)) for j in range(k + 1)]
    found = [np.zeros(np.shape(level)) for level in one]
    for k, j in pairs:
        found[k] = found[k] + np.multiply.outer(np.asarray(one[j]), np.asarray(other[k - j]))
    return found


def test_the_signature_of_a_straight_path_is_a_power_of_its_change():
    for points in (2, 7):
        change = np.array([0.3, -2.0, 1.1])
        path = np.linspace(0, 1, points)[:, None] * change[None]
        for k, level in enumerate(sm.signature(jnp.asarray(path), depth=5)):
            np.testing.assert_allclose(level, power(change, k) / math.factorial(k), atol=1e-12)


def test_the_signature_of_a_path_is_the_product_of_those_of_its_parts():
    whole = sm.signature(jnp.asarray(WALK), depth=4)
    parts = (sm.signature(jnp.asarray(p), depth=4) for p in (WALK[:8], WALK[7:]))
    for level, expected in zip(whole, product(*parts), strict=True):
        np.testing.assert_allclose(level, expected, atol=1e-10)


def test_the_second_level_is_the_integral_of_the_path():
    """A second method: the trapezoid is exact where the path is linear."""
    level = sm.signature(jnp.asarray(WALK), depth=2)[2]
    middle = 0.5 * (WALK[1:] + WALK[:-1]) - WALK[0]
    np.testing.assert_allclose(level, middle.T @ np.diff(WALK, axis=0), rtol=1e-12)


def test_a_running_signature_holds_those_of_all_beginnings():
    running = sm.signature(jnp.asarray(WALK), depth=3, running=True)
    for end in (1, 2, 13, 20):
        alone = sm.signature(jnp.asarray(WALK[:end]), depth=3)
        for level, one in zip(running, alone, strict=True):
            np.testing.assert_allclose(level[end - 1], one, atol=1e-10)


def test_it_does_not_depend_on_how_the_path_is_timed_or_where_it_begins():
    twice = np.repeat(WALK, 2, axis=0) + 5.0
    for one, other in zip(
        sm.signature(jnp.asarray(WALK), depth=3),
        sm.signature(jnp.asarray(twice), depth=3),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_its_gradient_is_that_of_finite_differences():
    def last(path):
        return jnp.sum(sm.signature(path, depth=3)[3] ** 2)

    path = jnp.asarray(WALK[:5])
    up, down = (last(path.at[2, 1].add(h)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(jax.grad(last)(path)[2, 1], (up - down) / 2e-5, rtol=1e-6)


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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_controlled_equation_is_learned_from_four_measurements_of_each_path(seed):
    """Bleistein et al. (2023), section 5, with the ridge in place of the LASSO."""
    train = sparsely(ornstein_uhlenbeck(50, 10 * seed), seed)
    test = ornstein_uhlenbeck(50, 10 * seed + 1)
    fitted = sm.fit_signature(train, path="x", target="y", key=KEY)
    assert fitted.depth in (3, 4, 5)
    assert mean_square(fitted, test) <= 5e-5
    shallow = sm.fit_signature(train, path="x", target="y", depth=2, key=KEY)
    assert mean_square(shallow, test) > 20 * mean_square(fitted, test)


def test_a_linear_function_of_the_signature_is_recovered():
    """The integral of t dx is the word (t, x), and x - x(0) the word (x)."""
    rng, times = np.random.default_rng(0), np.linspace(0, 2, 30)
    data = []
    for _ in range(12):
        x = np.cumsum(rng.normal(size=30))
        middle = 0.5 * (times[1:] + times[:-1])
        integral = np.concatenate([[0], np.cumsum(middle * np.diff(x))])
        data.append({"t": times, "x": x, "y": 0.7 + 2 * (x - x[0]) - 3 * integral})
    fitted = sm.fit_signature(data, path="x", target="y", depth=2, penalty=0.0, key=KEY)
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
    fits = [
        sm.fit_signature(d, path=[x], target=y, depth=2, penalty=1e-8, key=KEY)
        for d in (full, holes)
    ]
    for a, b in zip(fits[0].predict(full), fits[1].predict(holes), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_heavier_levels_are_smaller():
    train = sparsely(ornstein_uhlenbeck(20, 0), 0)
    options = {"path": "x", "target": "y", "depth": 3, "penalty": 1e-6, "key": KEY}
    plain = sm.fit_signature(train, **options)
    heavy = sm.fit_signature(train, weights=lambda k: 100.0**k, **options)
    assert np.linalg.norm(heavy.levels[3]) < np.linalg.norm(plain.levels[3])


def test_it_says_what_was_chosen():
    fitted = sm.fit_signature(
        sparsely(ornstein_uhlenbeck(20, 0), 0), path="x", target="y", depth=(1, 2), key=KEY
    )
    assert str(fitted).startswith("SignatureFit of y on t, x: depth 2, penalty")
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
        sm.fit_signature(data, **{"path": "x", "target": "y", "key": KEY, **options})


def test_a_path_that_is_none_is_refused():
    with pytest.raises(sm.DeclarationError, match="depth = 0: a signature has 1 level or more"):
        sm.signature(jnp.zeros((3, 2)), depth=0)
    with pytest.raises(sm.DataError, match=r"has the shape \(time, channel\), not \(0, 2\)"):
        sm.signature(jnp.zeros((0, 2)), depth=1)
