"""Claims about costs of the solve in a fit: what is added to the loss, and what is counted."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

import sciml as sm
from sciml import D, t

fit = functools.partial(sm.fit, key=jax.random.key(0), progress=False, polish=None)
x, k = sm.unknown("x"), sm.parameter("k", 2.0)
DECAY = sm.System(sm.Eq(D(x), -k * x), initial={x: 1})
TIMES = np.linspace(0.0, 2.0, 9)
DATA = {t: TIMES, x: np.exp(-1.5 * TIMES)}


def cost_of(cost):
    options = {"rtol": 1e-6, "atol": 1e-8, "saveat": TIMES}
    return float(sm.solve(DECAY, t=(0, 2), regularise=cost, **options).stats["cost"])


@pytest.mark.parametrize("kind", ["error", "stiffness"])
def test_the_weighted_cost_of_the_solve_is_added_to_the_loss(kind):
    plain, costly = (
        fit(DECAY, DATA, steps=0, regularise=given).loss
        for given in (None, sm.solver_cost(kind, weight=3.0))
    )
    np.testing.assert_allclose(costly - plain, 3.0 * cost_of(sm.solver_cost(kind)), rtol=1e-6)


def test_costs_of_several_trajectories_are_averaged_and_several_costs_added():
    both = (sm.solver_cost("stiffness", weight=2.0), sm.taylor_cost(2))
    data = [DATA, {t: TIMES, x: 1.1 * DATA[x]}]
    plain, costly = (fit(DECAY, data, steps=0, regularise=g).loss for g in (None, both))
    expected = 2.0 * cost_of(sm.solver_cost("stiffness")) + cost_of(sm.taylor_cost(2))
    np.testing.assert_allclose(costly - plain, expected, rtol=1e-6)


def test_a_weight_may_follow_a_schedule():
    weight = optax.exponential_decay(8.0, 1, 0.5)
    cost = sm.solver_cost("stiffness", weight=weight)
    still = optax.sgd(0.0)
    plain, costly = (
        fit(DECAY, DATA, steps=3, optimiser=still, regularise=g).losses[:, 0] for g in (None, cost)
    )
    base = cost_of(sm.solver_cost("stiffness"))
    np.testing.assert_allclose(costly - plain, base * np.array([8.0, 4.0, 2.0]), rtol=1e-6)


def test_evaluations_of_a_training_are_those_of_its_solves():
    fitted = fit(DECAY, DATA, steps=3, optimiser=optax.sgd(0.0))
    sol = sm.solve(DECAY, t=(0, 2), saveat=TIMES, rtol=1e-6, atol=1e-8)
    assert fitted.evaluations.shape == (3, 1)
    np.testing.assert_array_equal(fitted.evaluations, int(sol.stats["num_evaluations"]))


def test_a_cost_leads_to_a_rate_that_is_less_stiff():
    heavy = sm.solver_cost("stiffness", weight=10.0)
    plain, costly = (
        fit(DECAY, DATA, steps=100, learning_rate=0.05, regularise=g)[k] for g in (None, heavy)
    )
    np.testing.assert_allclose(plain, 1.5, rtol=1e-2)
    assert costly < 0.9 * plain


def test_a_local_cost_draws_another_time_in_each_step():
    cost = sm.solver_cost("error", where="local")
    losses = fit(DECAY, DATA, steps=4, optimiser=optax.sgd(0.0), regularise=cost).losses[:, 0]
    assert len(np.unique(losses)) == 4
    assert np.all(np.isfinite(losses))


def test_costs_are_refused_where_no_trajectory_is_solved_as_a_whole():
    cost = sm.solver_cost()
    with pytest.raises(sm.DeclarationError, match="leave TeacherForcing out"):
        fit(DECAY, DATA, regularise=cost, strategy=sm.TeacherForcing(0.5))
    with pytest.raises(sm.DeclarationError, match="leave DerivativeMatching out"):
        fit(DECAY, DATA, regularise=cost, mode=sm.DerivativeMatching())
    series = sm.data.Series([0.0, 1.0], [[1.0, 2.0]] * 4, "x", labels=[0, 1, 0, 1])
    with pytest.raises(sm.DeclarationError, match="regularise means nothing with mode"):
        fit(DECAY, series, regularise=cost, mode=sm.Classification())
    with pytest.raises(sm.DeclarationError, match="regularise is a cost"):
        fit(DECAY, DATA, regularise="error")


# -- latent paths ---------------------------------------------------------------------------------

SERIES = sm.data.Series([0.0, 0.4, 1.0], [[1.0, 2.0, float("nan")], [0.0, 0.5, 1.0]], "x")


def test_the_cost_of_a_latent_path_is_added_to_the_bound_with_its_weight_at_the_step():
    module = sm.nn.LatentODE(x, latent=2, width=4, key=jax.random.key(1))
    cost = sm.solver_cost("stiffness", weight=lambda step: 2.0 + step)
    times, values, key = jnp.array([0.0, 0.5, 1.0]), jnp.array([[1.0], [jnp.nan], [2.0]]), 7
    loss = lambda **options: float(module.loss(times, values, key=jax.random.key(key), **options))
    mean, deviation = module.encode(times, values)
    latent = mean + deviation * jax.random.normal(jax.random.key(key), mean.shape, mean.dtype)
    options = {"initial": {"latent": latent}, "saveat": times, "regularise": cost}
    expected = 5.0 * float(sm.solve(module.model, t=(0, 1), **options).stats["cost"])
    np.testing.assert_allclose(loss(regularise=cost, step=3) - loss(), expected, rtol=1e-6)


class Level(eqx.Module):
    """A module whose loss says what it was given."""

    level: Array

    def __call__(self, times, values, *, key=None):
        return values

    def loss(self, times, values, *, key, weight, stepping=None, regularise=(), step=0):
        cost = sum(each.weight_at(step) for each in regularise)
        return self.level + (0.0 if stepping is None else stepping.rtol) + cost


def test_a_variational_fit_hands_on_costs_and_tolerances_and_is_judged_without_costs():
    cost = sm.solver_cost("stiffness", weight=lambda step: 5.0 + step)
    options = {"mode": sm.Variational(), "steps": 2, "optimiser": optax.sgd(0.0), "polish": "auto"}
    fitted = fit(Level(jnp.array(1.0)), SERIES, regularise=cost, rtol=0.25, **options)
    np.testing.assert_array_equal(fitted.losses, [6.25, 7.25])
    assert fitted.loss == 1.25


def test_options_that_a_module_sets_itself_are_refused():
    noisy = sm.nn.LatentSDE(x, latent=2, width=4, key=jax.random.key(1))
    with pytest.raises(sm.DeclarationError, match="regularise means nothing .* for a LatentSDE"):
        fit(noisy, SERIES, mode=sm.Variational(), regularise=sm.solver_cost(), polish="auto")
    with pytest.raises(sm.DeclarationError, match="leave solver, rtol, atol"):
        fit(noisy, SERIES, mode=sm.Variational(), rtol=1e-3, polish="auto")
