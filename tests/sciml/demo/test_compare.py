"""What the demo trains on, what it judges by, and how errors are measured."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.demo import CONTENDERS, Budget
from sciml.demo._compare import (
    SPECIES,
    Decay,
    Errors,
    Outcome,
    Run,
    Split,
    curves_of,
    errors,
    fit_all_years,
    split,
    train,
)
from sciml.demo._models import gained, lost, universal

BUDGET = Budget(steps=40, seeds=1, matching=40)
MECHANISTIC = CONTENDERS[0]


@pytest.fixture(scope="module")
def table():
    return sm.data.hare_lynx()


@pytest.fixture(scope="module")
def everything(table):
    return fit_all_years(table)


@pytest.fixture(scope="module")
def run(table):
    return train(MECHANISTIC, 0, split(table), BUDGET)


# Least squares of the logarithms by scipy (solve_ivp with rtol 1e-10, least_squares), which knows
# nothing of this package.
FIGURES = {
    "a": 0.5402,
    "b": 0.02717,
    "c": 0.7964,
    "d": 0.02369,
    "x(t0)": 34.60,
    "y(t0)": 5.844,
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_fit_of_all_years_agrees_with_independent_least_squares(everything, name):
    assert float(everything.estimates[name].value) == pytest.approx(FIGURES[name], rel=0.01)


def test_the_fit_of_all_years_leaves_the_log_residuals_of_independent_least_squares(
    everything, table
):
    assert float(np.sqrt(2 * everything.loss)) == pytest.approx(0.2192, rel=0.01)
    _, curves = curves_of(everything, table)
    years = curves_of(everything, table)[0]
    whole = errors(curves[np.searchsorted(years, table.times)], table, np.ones(21, bool))
    assert whole.log == pytest.approx(0.2192, rel=0.01)


def test_the_published_posterior_means_are_within_two_standard_errors(everything):
    for name, mean in {"a": 0.55, "b": 0.028, "c": 0.80, "d": 0.024}.items():
        estimate = everything.estimates[name]
        assert abs(float(estimate.value) - mean) < 2 * float(estimate.error)


def test_1900_to_1914_are_trained_on_and_1915_to_1920_are_judged(table):
    parts = split(table)
    assert (parts.training.times[0], parts.training.times[-1]) == (1900, 1914)
    assert list(table.times[~parts.is_trained]) == [1915, 1916, 1917, 1918, 1919, 1920]


def test_later_records_have_no_say_in_the_training(table, run):
    late = table.times > 1914
    altered = {name: np.where(late, 10 * table[name], table[name]) for name in SPECIES}
    changed = sm.data.Table({"year": table.times, **altered}, table.units)
    again = train(MECHANISTIC, 0, split(changed), BUDGET)
    assert np.array_equal(again.curves, run.curves)
    assert again.training == run.training
    assert again.forecast != run.forecast


def test_a_table_too_short_to_train_on_is_refused(table):
    with pytest.raises(sm.DataError, match="8 or more to train on"):
        split(table.between(1900, 1908))


def test_errors_of_a_constant_factor_are_its_logarithm(table):
    seen = np.stack([table[name] for name in SPECIES], axis=1)
    found = errors(3 * seen, table, np.ones(21, bool))
    assert found.log == pytest.approx(np.log(3))
    assert found.pelts == pytest.approx(2 * np.sqrt(np.mean(seen**2)))


def test_a_solve_that_failed_has_an_infinite_error(table):
    predicted = np.full((21, 2), np.nan)
    assert errors(predicted, table, np.ones(21, bool)) == Errors(np.inf, np.inf)


def test_an_extinct_population_has_a_large_but_finite_error(table):
    seen = np.stack([table[name] for name in SPECIES], axis=1)
    seen[-1] = 0.0
    assert 1 < errors(seen, table, np.ones(21, bool)).log < 10


def outcome_of(errors_of_training):
    fit, years, curves = object.__new__(sm.Fit), np.zeros(0), np.zeros((0, 2))
    runs = [Run(fit, years, curves, Errors(e, e), Errors(10 * e, e)) for e in errors_of_training]
    return Outcome(MECHANISTIC, tuple(runs))


def test_the_spread_is_the_median_and_both_ends():
    assert outcome_of([3.0, 1.0, 2.0]).spread("forecast", "log") == (20.0, 10.0, 30.0)


def test_the_seed_that_is_shown_has_the_middle_training_error():
    assert outcome_of([3.0, 1.0, 2.0]).median.training.log == 2.0
    assert outcome_of([3.0, 1.0]).median.training.log == 1.0


def test_the_decay_is_the_sum_of_squared_weights_without_biases():
    network = eqx.nn.MLP(2, 2, 3, 1, key=jax.random.key(0))
    x, y = sm.unknowns("x y")
    f = sm.neural("f", network)(x, y)
    system = sm.System(sm.Eq(sm.D(x), f[0]), sm.Eq(sm.D(y), f[1]), initial={x: 1, y: 1})
    weights = [np.asarray(layer.weight) for layer in network.layers]
    expected = 0.5 * sum(np.sum(weight**2) for weight in weights)
    assert float(Decay(0.5)(sm.compile(system))) == pytest.approx(expected)


def test_what_is_lost_and_gained_are_the_unknown_terms_of_the_universal_model():
    model = sm.compile(universal(jax.random.key(1)).replace(initial={"x": 20.0, "y": 10.0}))
    rate = model.vector_field(0.0, model.state())
    # D(x) = a x - lost and D(y) = gained - c y, with a = c = 1 at the start.
    taken = model.evaluate(lost, 0.0, model.state())
    born = model.evaluate(gained, 0.0, model.state())
    assert float(rate[0]) == pytest.approx(20.0 - float(taken))
    assert float(rate[1]) == pytest.approx(float(born) - 10.0)
    assert float(taken) > 0
    assert float(born) > 0


def test_seeds_differ_in_where_they_start():
    for contender in CONTENDERS:
        first, second = (contender.declare(jax.random.key(seed)) for seed in (0, 1))
        rates = [sm.compile(one).replace(initial={"x": 20.0, "y": 10.0}) for one in (first, second)]
        one, other = (model.vector_field(0.0, model.state()) for model in rates)
        assert not np.allclose(one, other), contender.name


def test_every_contender_has_the_same_budget():
    fields = {field.name for field in dataclasses.fields(CONTENDERS[0])}
    assert fields == {"name", "declare", "about", "decay"}  # none of them is a budget
    assert {c.name for c in CONTENDERS} >= {"mechanistic", "universal", "neural ODE"}


def test_a_split_inside_the_training_years_hides_the_rest(table):
    parts = Split(split(table).training, 1908.0)
    assert parts.table.times[-1] == 1914
    assert parts.training.times[-1] == 1908
    assert jnp.sum(~parts.is_trained) == 6
