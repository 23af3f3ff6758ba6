"""Adversarial training: the steps of both halves, and what an SDE-GAN learns of a process."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

import sciml as sm
from sciml.train._adversarial import (
    Adversarial,
    adversarial_optimisers,
    adversarial_step,
    averaged,
    init_adversarial,
)

# -- a game with a closed form --------------------------------------------------------------------


class Duel(eqx.Module):
    """The generator draws values around a level, and the discriminator weighs their sum."""

    generator: Array
    discriminator: Array

    def loss(self, times, values, *, mask, dt0, key):
        drawn = self.generator + dt0 * jax.random.normal(key, values.shape)
        return self.discriminator * jnp.sum(jnp.where(mask, drawn - values, 0.0))

    def sample(self, times, *, dt0, key):
        return jnp.broadcast_to(self.generator, (len(times), 1))

    def clipped(self):
        bounded = jnp.clip(self.discriminator, -0.5, 0.5)
        return eqx.tree_at(lambda m: m.discriminator, self, bounded)


TIMES = jnp.tile(jnp.linspace(0.0, 1.0, 3), (4, 1))
VALUES = jnp.arange(12.0).reshape(4, 3, 1) / 10
MASK = jnp.ones((4, 3, 1), bool).at[1, 2].set(False)
GAP = float(jnp.sum(jnp.where(MASK, VALUES, 0.0))) / 4  # of a level 0, by series
COUNT = 11 / 4  # measurements by series
PLAIN = (optax.sgd(0.01), optax.sgd(0.1))


def duel(level=1.0, weight=0.2):
    return Duel(jnp.asarray(level), jnp.asarray(weight))


def step(module, state, optimisers=PLAIN, *, dt0=0.0, seed=0, values=VALUES, ratio=1):
    return adversarial_step(
        module, state, TIMES, values, MASK, optimisers=optimisers, dt0=dt0,
        key=jax.random.key(seed), ratio=ratio,
    )  # fmt: skip


def test_the_generator_goes_down_and_the_discriminator_up_the_same_loss():
    module, state = init_adversarial(duel(), optimisers=PLAIN)
    after, state, loss = step(module, state)
    np.testing.assert_allclose(loss, 0.2 * (COUNT - GAP), rtol=1e-12)
    np.testing.assert_allclose(after.generator, 1 - 0.01 * 0.2 * COUNT, rtol=1e-12)
    np.testing.assert_allclose(after.discriminator, 0.2 + 0.1 * (COUNT - GAP), rtol=1e-12)
    assert int(state.count) == 1


def test_the_discriminator_takes_as_many_steps_as_the_ratio_says():
    module, state = init_adversarial(duel(weight=0.0), optimisers=PLAIN)
    after, _, loss = step(module, state, ratio=2)
    once = 0.1 * (COUNT - GAP)
    np.testing.assert_allclose(loss, once * (COUNT - GAP), rtol=1e-12)
    np.testing.assert_allclose(after.discriminator, 2 * once, rtol=1e-12)
    np.testing.assert_allclose(after.generator, 1 - 0.01 * once * COUNT, rtol=1e-12)


def test_the_discriminator_is_clipped_at_the_start_and_after_each_step():
    module, state = init_adversarial(duel(weight=3.0), optimisers=PLAIN)
    assert module.discriminator == 0.5
    after, _, _ = step(module, state, ratio=3)
    assert after.discriminator == 0.5


def test_the_noise_of_a_step_comes_from_its_key_and_is_another_one_for_each_series():
    module, state = init_adversarial(duel(), optimisers=PLAIN)
    losses = [float(step(module, state, dt0=1.0, seed=seed)[2]) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    keys = jax.random.split(jax.random.split(jax.random.key(0), 1)[0], 4)
    drawn = 1 + jnp.stack([jax.random.normal(key, (3, 1)) for key in keys])
    expected = 0.2 * float(jnp.sum(jnp.where(MASK, drawn - VALUES, 0.0))) / 4
    np.testing.assert_allclose(losses[0], expected, rtol=1e-12)


def test_weights_are_averaged_after_the_step_where_that_begins():
    module, state = init_adversarial(duel(), optimisers=PLAIN, begin=2)
    levels = []
    for number in range(5):
        module, state, _ = step(module, state, seed=number)
        levels.append(float(module.generator))
        past = levels[2:] if number > 2 else levels[-1:]
        np.testing.assert_allclose(averaged(module, state).generator, np.mean(past), rtol=1e-12)
    assert averaged(module, state).discriminator == module.discriminator


def test_a_step_that_is_not_finite_is_not_taken():
    optimisers = (optax.adam(0.1), optax.adam(0.1))
    module, state = init_adversarial(duel(), optimisers=optimisers)
    after, passed, loss = step(module, state, optimisers, values=VALUES.at[0, 0].set(jnp.inf))
    assert np.isnan(loss)
    for one, other in zip(*map(jax.tree.leaves, (module, after)), strict=True):
        np.testing.assert_array_equal(one, other)
    ends = (jax.tree.leaves((s.generator, s.discriminator)) for s in (state, passed))
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimistic", [True, False])
def test_optimism_damps_the_chase_of_two_halves(optimistic):
    """With a bilinear loss, they run round the saddle point for ever: how far from it?"""
    mode, steps = Adversarial(generator_rate=0.02, discriminator_rate=0.02), 1000
    optimisers = adversarial_optimisers(mode, 10**9)  # of constant rates
    if not optimistic:
        optimisers = (optax.adam(0.02, b1=0.5, b2=0.9),) * 2
    module, state = init_adversarial(duel(), optimisers=optimisers)

    def one(carry, key):
        module, state = carry
        module, state, _ = adversarial_step(
            module, state, TIMES, VALUES, MASK, optimisers=optimisers, dt0=0.0, key=key
        )
        return (module, state), module.generator

    _, levels = jax.lax.scan(one, (module, state), jax.random.split(jax.random.key(0), steps))
    farthest = np.max(np.abs(np.asarray(levels[-200:]) - GAP / COUNT))
    assert farthest < 0.1 if optimistic else farthest > 0.3


# -- the mode -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"generator_rate": 0.0},
        {"discriminator_rate": -1.0},
        {"dt0": 0.0},
        {"dt0": float("nan")},
        {"ratio": 0},
        {"ratio": True},
        {"batch": 0},
        {"average": -0.1},
        {"average": 1.1},
    ],
)
def test_a_mode_that_makes_no_sense_is_refused(options):
    with pytest.raises(sm.DeclarationError, match=next(iter(options))):
        Adversarial(**options)


def test_optimisers_of_equal_modes_are_the_same_object():
    mode = Adversarial()
    assert adversarial_optimisers(mode, 5) is adversarial_optimisers(dataclasses.replace(mode), 5)
    assert adversarial_optimisers(mode, 5) is not adversarial_optimisers(mode, 6)


# -- what is learned ------------------------------------------------------------------------------

ROWS = np.arange(16.0)
MEAN = 0.2 * ROWS - 2 + 2 * np.exp(-0.1 * ROWS)
VARIANCE = 0.8 - (0.8 - 1 / 3) * np.exp(-0.2 * ROWS)


def drifting(count, generator):
    """Paths of dx = (0.02 t - 0.1 x) dt + 0.4 dW from x(0) uniform in (-1, 1), by its exact law."""
    paths = [generator.uniform(-1, 1, count)]
    keep, noise = np.exp(-0.1), np.sqrt(0.8 * (1 - np.exp(-0.2)))
    for before, now in itertools.pairwise(MEAN):
        shocks = noise * generator.normal(size=count)
        paths.append(now + keep * (paths[-1] - before) + shocks)
    return np.stack(paths, axis=1)


def lag(paths, count):
    """The correlation of the last value with that `count` times before, and what it is."""
    exact = np.sqrt(VARIANCE[-1 - count] / VARIANCE[-1]) * np.exp(-0.1 * count)
    return np.corrcoef(paths[:, -1 - count], paths[:, -1])[0, 1] - exact


def told_apart(real, made):
    """How often a classifier by moments of first and second order is right, on paths new to it."""

    def features(paths):
        return np.concatenate([paths, paths**2, paths[:, 1:] * paths[:, :-1]], axis=1)

    both = np.concatenate([features(real), features(made)])
    both = np.column_stack([(both - both.mean(axis=0)) / both.std(axis=0), np.ones(len(both))])
    labels = np.repeat([1.0, -1.0], [len(real), len(made)])
    seen, power = np.arange(len(both)) % 2 == 0, 0.01 * len(both)
    square = both[seen].T @ both[seen] + power * np.eye(both.shape[1])
    weights = np.linalg.solve(square, both[seen].T @ labels[seen])
    return np.mean(np.sign(both[~seen] @ weights) == labels[~seen])


def differences(paths, fresh):
    """From the closed form, in mean, deviation and correlations at the end; and the classifier."""
    deviation = np.sqrt(VARIANCE[-1])
    return np.array(
        [
            (np.mean(paths[:, -1]) - MEAN[-1]) / deviation,
            np.std(paths[:, -1]) / deviation - 1,
            lag(paths, 1),
            lag(paths, 5),
            told_apart(fresh, paths) - 0.5,
        ]
    )


def learn(seed, steps):
    """Differences before and after training on series of which three in ten entries are missing."""
    generator, key = np.random.default_rng(seed), jax.random.key(seed)
    raw, fresh = drifting(1024, generator), drifting(4096, generator)
    x = sm.unknown("x")
    series = sm.data.Series(ROWS, list(raw), [x]).drop(0.3, key=key)
    module = sm.nn.SDEGAN(x, key=key)

    def seen(fitted):
        return differences(np.array(fitted.sample(ROWS, 4096, key=key)[x]), fresh)

    mode = sm.Adversarial(dt0=1 / 15)
    before, after = (
        seen(sm.fit(module, series, key=key, mode=mode, steps=count, progress=False))
        for count in (0, steps)
    )
    return before, after


def test_an_adversarial_fit_draws_series_in_the_units_of_the_data():
    series = sm.data.Series([10.0, 12.0, 14.0], [[5.0, 7.0, 9.0], [5.0, 7.0, 12.0]], "x")
    fitted = sm.fit(
        duel(level=0.0), series, key=jax.random.key(0), mode=sm.Adversarial(batch=2), steps=3,
        progress=False,
    )  # fmt: skip
    assert fitted.losses.shape == (3,)
    drawn = fitted.sample([10.0, 14.0], 4, key=jax.random.key(1))
    assert len(drawn) == 4
    np.testing.assert_array_equal(drawn.times[0], [10.0, 14.0])
    level, data = float(fitted.module.generator), [5, 7, 9, 5, 7, 12]
    np.testing.assert_allclose(drawn["x"][2], np.mean(data) + level * np.std(data))
    with pytest.raises(sm.DeclarationError, match="it draws: use sample"):
        fitted.predict(series)


def test_an_adversarial_fit_is_of_two_halves():
    x = sm.unknown("x")
    series = sm.data.Series([0.0, 1.0], [[1.0, 2.0]] * 4, [x])
    module = sm.nn.LatentODE(x, width=4, key=jax.random.key(0))
    options = {"key": jax.random.key(0), "mode": sm.Adversarial(), "progress": False}
    with pytest.raises(sm.DeclarationError, match="a generator and a discriminator"):
        sm.fit(module, series, **options)
    with pytest.raises(sm.DeclarationError, match="learning_rate means nothing"):
        sm.fit(duel(), series, learning_rate=0.1, **options)
