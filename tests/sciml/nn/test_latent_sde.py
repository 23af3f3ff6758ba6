"""The latent SDE: its divergence, its gradients, and what it learns of a stationary process."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm

x = sm.unknown("x")
TIMES = jnp.linspace(0.0, 2.0, 11)


def module_of(**options):
    return sm.nn.LatentSDE(x, key=jax.random.key(0), **{"latent": 2, "width": 8, **options})


@pytest.mark.slow
def test_the_divergence_is_the_integral_of_the_squared_gap():
    module = module_of()
    context = jnp.ones((11, 4)) * 0.3
    sol = module.posterior(TIMES, context, jnp.array([0.1, -0.2]), dt0=0.02, key=jax.random.key(1))
    networks = module.model.networks
    fine = module.posterior(
        jnp.linspace(0.0, 2.0, 101), jnp.ones((101, 4)) * 0.3, jnp.array([0.1, -0.2]), dt0=0.02,
        key=jax.random.key(1),
    )  # fmt: skip
    gaps = [
        (networks["posterior"](z, context[0]) - networks["prior"](z)) / networks["spread"](z)
        for z in fine["latent"]
    ]
    rates = np.array([np.sum(np.square(gap)) / 2 for gap in gaps])
    np.testing.assert_allclose(fine["divergence"][-1], np.sum(rates[:-1]) * 0.02, rtol=1e-9)
    np.testing.assert_allclose(sol["divergence"][-1], fine["divergence"][-1], rtol=1e-9)


def test_a_posterior_equal_to_the_prior_has_no_divergence():
    module = module_of()
    prior = module.model.networks["prior"]
    same = module.model.replace(networks={"posterior": lambda z, c: prior(z)})
    module = eqx.tree_at(lambda m: m.model, module, same)
    sol = module.posterior(TIMES, jnp.ones((11, 4)), jnp.ones(2), dt0=0.1, key=jax.random.key(1))
    np.testing.assert_allclose(sol["divergence"], 0.0, atol=1e-14)


def test_gradients_reach_every_network():
    module, values = module_of(), jnp.sin(TIMES)[:, None]
    slope = eqx.filter_grad(lambda m: m.loss(TIMES, values, dt0=0.1, key=jax.random.key(1)))(module)
    for name in ("prior", "posterior", "spread"):
        leaves = jax.tree.leaves(eqx.filter(slope.model.networks[name], eqx.is_array))
        assert all(np.any(np.asarray(leaf)) for leaf in leaves)
    assert np.any(slope.encoder.weight_ih)
    assert np.any(slope.prior_start)


@pytest.mark.slow
def test_the_stationary_deviation_of_an_ornstein_uhlenbeck_process_is_learned():
    process = sm.System(sm.Eq(sm.D(x), -x + 0.5 * sm.D(sm.brownian("W"))), initial={x: 0})
    exact, times = 0.5 / np.sqrt(2), jnp.linspace(0.0, 4.0, 41)
    starts = exact * jax.random.normal(jax.random.key(5), (512,))
    series = jax.jit(
        jax.vmap(
            lambda start, key: sm.solve(
                process, t=(0, 4), initial={x: start}, saveat=times, dt0=0.02, key=key
            )[x][:, None]
        )
    )(starts, jax.random.split(jax.random.key(6), 512))
    series = series + 0.1 * jax.random.normal(jax.random.key(7), series.shape)
    module = sm.nn.LatentSDE(x, latent=1, width=16, noise=0.1, key=jax.random.key(1))
    weights, static = eqx.partition(module, eqx.is_inexact_array)
    steps = 300
    optimiser = optax.chain(
        optax.clip_by_global_norm(100.0),
        optax.adam(optax.cosine_decay_schedule(1e-2, steps)),
    )
    state = optimiser.init(weights)

    @jax.jit
    def step(weights, state, key, weight):
        rows, keys = jax.random.randint(key, (64,), 0, 512), jax.random.split(key, 64)

        def loss(w):
            whole = eqx.combine(w, static)
            # coarser steps make the posterior's noise, and so its spread, too small
            each = lambda v, k: whole.loss(times, v, dt0=0.01, key=k, weight=weight)
            return jnp.mean(jax.vmap(each)(series[rows], keys))

        value, slope = jax.value_and_grad(loss)(weights)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, state = optimiser.update(slope, state)
            return eqx.apply_updates(weights, updates), state, value

    for number in range(steps):
        weight = jnp.asarray(min(1.0, number / 100))
        weights, state, value = step(weights, state, jax.random.key(number), weight)
    assert np.isfinite(value)
    trained = eqx.combine(weights, static)
    late = jnp.linspace(0.0, 8.0, 9)
    draw = jax.jit(jax.vmap(lambda key: trained.sample(late, dt0=0.05, key=key)[-1, 0]))
    found = np.std(draw(jax.random.split(jax.random.key(8), 5000)))
    assert found == pytest.approx(exact, rel=0.1)
