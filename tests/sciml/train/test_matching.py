"""Claims about derivative matching as a mode: orders of slopes, and what is learned from them."""

import functools

import equinox as eqx
import jax
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._differences import slopes

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False)
x, k = sm.unknown("x"), sm.parameter("k", 0.3)
DECAY = sm.System(sm.Eq(D(x), -k * x), initial={x: 1})


def times_of(count, bent=0.0):
    even = np.linspace(0.0, 2.0, count)
    return even + bent * np.sin(even * np.pi) ** 2


@pytest.mark.parametrize(
    ("kind", "order", "bent"),
    [
        ("forward", 1, 0.0),
        ("forward", 1, 0.3),
        ("central", 2, 0.0),
        ("central", 2, 0.3),
        ("richardson", 4, 0.0),
    ],
)
def test_slopes_have_their_order(kind, order, bent):
    errors = []
    for count in (41, 81, 161):
        times = times_of(count, bent)
        gap = slopes(times, np.sin(3 * times)[:, None], kind)[:, 0] - 3 * np.cos(3 * times)
        errors.append(np.nanmax(np.abs(gap)))
    observed = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(observed, order, atol=0.2)


def test_slopes_are_exact_for_polynomials_of_their_order():
    times = np.linspace(0, 1, 9)
    for kind, degree in (("forward", 1), ("central", 2), ("richardson", 4)):
        found = slopes(times, times[:, None] ** degree, kind)[:, 0]
        known = np.isfinite(found)
        np.testing.assert_allclose(found[known], degree * times[known] ** (degree - 1), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("spline", 1e-3), ("forward", 0.03), ("central", 1e-3), ("richardson", 1e-5)],
)
def test_a_rate_is_learned_from_slopes_as_well_as_these_are(kind, tolerance):
    times = np.linspace(0, 2, 41)
    data = {t: times, x: np.exp(-0.7 * times)}
    mode = sm.DerivativeMatching(kind, smoothing=0.0 if kind == "spline" else None)
    fitted = fit(DECAY, data, mode=mode, steps=300, learning_rate=0.05)
    np.testing.assert_allclose(fitted[k], 0.7, rtol=tolerance)
    assert fitted.loss < 1e-3


def test_nothing_is_solved_while_it_trains(monkeypatch):
    import sciml.train._objective as objective

    calls = []
    solve = objective.Objective._solve
    monkeypatch.setattr(
        objective.Objective, "_solve", lambda *given: calls.append(1) or solve(*given)
    )
    times = np.linspace(0, 1, 12)
    data = {t: times, x: np.exp(-0.4 * times) + 0.001 * np.cos(times)}
    fit(DECAY, data, mode=sm.DerivativeMatching("central"), steps=50)
    assert len(calls) <= 1  # traced once, for the loss of the fitted trajectories


def test_equations_of_second_order_need_their_positions_alone():
    w = sm.parameter("w", 1.0)
    spring = sm.System(sm.Eq(D(x, 2), -w * x), initial={x: 1, D(x): 0})
    times = np.linspace(0, 3, 121)
    mode = sm.DerivativeMatching("richardson")
    fitted = fit(
        spring, {t: times, x: np.cos(1.5 * times)}, mode=mode, steps=300, learning_rate=0.05
    )
    np.testing.assert_allclose(fitted[w], 2.25, rtol=1e-4)


def test_an_unknown_network_is_matched_to_slopes_of_several_trajectories():
    net = eqx.nn.MLP("scalar", "scalar", 16, 1, jax.numpy.tanh, key=jax.random.key(1))
    system = sm.System(sm.Eq(D(x), sm.neural("f", net)(x)))
    times = np.linspace(0, 2, 21)
    data = [
        {t: times, x: start / (start + (1 - start) * np.exp(-times))} for start in (0.1, 0.5, 1.5)
    ]
    mode = sm.DerivativeMatching("central")
    fitted = fit(system, data, mode=mode, steps=2000, learning_rate=0.02)
    rates = jax.vmap(fitted.model.networks["f"])(np.linspace(0.15, 1.4, 9))
    level = np.linspace(0.15, 1.4, 9)
    np.testing.assert_allclose(rates, level * (1 - level), atol=0.02)


def test_gaps_are_left_out():
    times = np.linspace(0, 2, 21)
    values = np.exp(-0.7 * times)
    values[[4, 11]] = np.nan
    fitted = fit(
        DECAY, {t: times, x: values}, mode=sm.DerivativeMatching("central"), steps=200,
        learning_rate=0.05,
    )  # fmt: skip
    np.testing.assert_allclose(fitted[k], 0.7, rtol=5e-3)


def test_what_cannot_be_matched_is_refused():
    y = sm.unknown("y")
    pair = sm.System(sm.Eq(D(x), -k * y), sm.Eq(D(y), x), initial={x: 1, y: 0})
    times = np.linspace(0, 1, 11)
    with pytest.raises(sm.FitError, match="every unknown to be measured; y is not"):
        fit(pair, {t: times, x: times}, mode=sm.DerivativeMatching("central"))
    with pytest.raises(sm.FitError, match="needs equal steps of time"):
        fit(DECAY, {t: times**2, x: times}, mode=sm.DerivativeMatching("richardson"))
    holes = np.where(np.arange(11) % 2, np.nan, times)
    with pytest.raises(sm.FitError, match="found no time whose neighbours are all measured"):
        fit(DECAY, {t: times, x: holes}, mode=sm.DerivativeMatching("central"))
    with pytest.raises(sm.DeclarationError, match="strategy means nothing with mode"):
        fit(
            DECAY, {t: times, x: times}, mode=sm.DerivativeMatching(),
            strategy=sm.MultipleShooting(),
        )  # fmt: skip
