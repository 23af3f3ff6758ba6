"""Latent ODEs: the encoder, the loss, and series with gaps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from descent import descend

import sciml as sm
from sciml.nn._latent_ode import divergence

KEY = jax.random.key(2)
X = sm.unknown("x", shape=2)
TIMES = jnp.array([0.0, 0.2, 0.7, 0.8, 1.5, 2.0])
VALUES = jax.random.normal(KEY, (6, 2))
TIGHT = sm.nn.Stepping(rtol=1e-9, atol=1e-9)


def module(**options):
    return sm.nn.LatentODE(X, latent=3, width=8, key=KEY, **options)


def test_the_states_are_read_out_from_the_latent_ones():
    net = module()
    latent = jnp.array([0.3, -1.0, 0.5])
    decoded = net.decode(TIMES, latent, stepping=TIGHT)
    sol = net.solve((0, 2), initial={"latent": latent}, saveat=TIMES, stepping=TIGHT)
    np.testing.assert_allclose(sol[X], decoded, rtol=1e-12)
    read = jax.vmap(net.model.networks["readout"])(sol["latent"])
    np.testing.assert_allclose(read, decoded, rtol=1e-12)


@pytest.mark.slow
def test_what_is_masked_is_not_looked_at():
    net = module()
    mask = jax.random.bernoulli(KEY, 0.6, VALUES.shape)
    spoiled = jnp.where(mask, VALUES, 1e6)
    missing = jnp.where(mask, VALUES, jnp.nan)
    expected = net.loss(TIMES, VALUES, mask=mask, key=KEY)
    for values, given in ((spoiled, mask), (missing, mask), (missing, None)):
        np.testing.assert_allclose(net.loss(TIMES, values, mask=given, key=KEY), expected)
    slopes = eqx.filter_grad(lambda m: m.loss(TIMES, missing, key=KEY))(net)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(slopes.cell))
    assert not np.allclose(net.loss(TIMES, VALUES, key=KEY), expected)


def test_rows_at_the_end_without_measurements_do_not_matter():
    net = module()
    times = jnp.append(TIMES, jnp.full(3, TIMES[-1]))
    values = jnp.concatenate([VALUES, jnp.full((3, 2), jnp.nan)])
    np.testing.assert_allclose(
        net.loss(times, values, key=KEY), net.loss(TIMES, VALUES, key=KEY), rtol=1e-6
    )


def test_only_differences_of_time_matter():
    net = module()
    np.testing.assert_allclose(net(TIMES + 5, VALUES), net(TIMES, VALUES), rtol=1e-5)


def test_the_encoder_reads_backwards_through_the_gaps():
    """By hand: the hidden state evolves over each gap by two midpoint steps, then is updated."""
    net = module()
    g, hidden = net.encoder.networks["g"], jnp.zeros(8)
    for i in reversed(range(len(TIMES))):
        gap = TIMES[i + 1] - TIMES[i] if i + 1 < len(TIMES) else 0.0
        for _ in range(2):
            hidden = hidden + gap / 2 * g(hidden + gap / 4 * g(hidden))
        hidden = net.cell(jnp.concatenate([VALUES[i], jnp.ones(2)]), hidden)
    mean, log_deviation = jnp.split(net.head(hidden), 2)
    found = net.encode(TIMES, VALUES)
    np.testing.assert_allclose(found[0], mean, rtol=1e-10)
    np.testing.assert_allclose(found[1], jnp.exp(log_deviation), rtol=1e-10)


def test_the_loss_is_the_likelihood_and_the_divergence():
    net = module(noise=0.3)
    mean, deviation = net.encode(TIMES, VALUES)
    latent = mean + deviation * jax.random.normal(KEY, (3,))
    normal = jax.scipy.stats.norm.logpdf(VALUES, net.decode(TIMES, latent), 0.3)
    known = -jnp.sum(normal) + divergence(mean, deviation)
    np.testing.assert_allclose(net.loss(TIMES, VALUES, key=KEY), known, rtol=1e-9)
    np.testing.assert_allclose(
        net.loss(TIMES, VALUES, key=KEY, weight=0.0), -jnp.sum(normal), rtol=1e-9
    )


def test_the_divergence_is_that_of_many_draws():
    mean, deviation = jnp.array([0.5, -1.0]), jnp.array([0.7, 1.4])
    draws = mean[None] + deviation[None] * jax.random.normal(KEY, (200_000, 2))
    normal = jax.scipy.stats.norm.logpdf
    ratio = normal(draws, mean[None], deviation[None]) - normal(draws)
    np.testing.assert_allclose(divergence(mean, deviation), jnp.mean(jnp.sum(ratio, 1)), rtol=0.02)
    np.testing.assert_allclose(divergence(jnp.zeros(2), jnp.ones(2)), 0.0)


def test_batches_and_other_times_and_scalar_states():
    a, b = sm.unknowns("a b")
    net = sm.nn.LatentODE([a, b], latent=3, width=8, key=KEY)
    series = jnp.stack([VALUES, -VALUES])
    losses = eqx.filter_jit(jax.vmap(lambda v, k: net.loss(TIMES, v, key=k)))(
        series, jax.random.split(KEY)
    )
    assert losses.shape == (2,)
    at = jnp.array([0.1, 1.0, 3.0])
    whole = net(TIMES, VALUES, at=at, stepping=TIGHT)
    np.testing.assert_allclose(whole[1:], net(TIMES, VALUES, at=at[1:], stepping=TIGHT), rtol=1e-6)
    assert not np.allclose(net(TIMES, VALUES, key=KEY), net(TIMES, VALUES))


def test_mistakes_are_refused_with_a_cure():
    with pytest.raises(sm.DataError, match=r"values of x .* expected \(6, 2\)"):
        module().encode(TIMES, VALUES[:, :1])
    with pytest.raises(sm.DeclarationError, match="noise = 0"):
        module(noise=0.0)
    with pytest.raises(sm.DeclarationError, match="latent is given twice"):
        sm.nn.latent_ode(sm.unknown("latent"), key=KEY)


@pytest.mark.slow
def test_what_is_missing_from_oscillations_is_filled_in():
    """Sines of random phase, at random times, half of the values missing."""
    keys = jax.random.split(KEY, 4)
    phase = jax.random.uniform(keys[0], (64, 1), maxval=2 * np.pi)
    times = jnp.sort(jax.random.uniform(keys[1], (64, 20), maxval=2 * np.pi), axis=1)
    both = jnp.stack([jnp.sin(times + phase), jnp.cos(times + phase)], axis=-1)
    seen = jax.random.bernoulli(keys[2], 0.5, both.shape)
    net = sm.nn.LatentODE(X, latent=3, width=24, noise=0.1, key=keys[3])
    loose = sm.nn.Stepping(rtol=1e-3, atol=1e-4, max_steps=128)

    def loss(net, key):
        single = lambda t, x, m, k: net.loss(t, x, mask=m, key=k, weight=0.2, stepping=loose)
        return jnp.mean(jax.vmap(single)(times, both, seen, jax.random.split(key, 64)))

    net, _ = descend(net, loss, steps=600, key=KEY)
    found = jax.vmap(lambda t, x, m: net(t, x, mask=m))(times, both, seen)
    error = np.sqrt(np.mean(np.square(np.asarray(found - both)[~np.asarray(seen)])))
    assert error < 0.25  # the values themselves have 0.71
