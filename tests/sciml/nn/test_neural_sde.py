"""Neural SDEs and their stable classes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D

z, z1, z2 = sm.unknown("z", shape=2), *sm.unknowns("z1 z2")
s = sm.unknown("s")
TIMES = jnp.linspace(0.0, 1.0, 6)


def ends(module, start, *, until, dt0, count, seed=0):
    """The states at the end of many paths."""
    times = jnp.array([0.0, until])

    @jax.jit
    def run(keys):
        return jax.vmap(lambda k: module(times, start, dt0=dt0, key=k)[-1, 0])(keys)

    return np.asarray(run(jax.random.split(jax.random.key(seed), count)))


def test_a_neural_sde_has_diagonal_noise_and_one_network_each_for_drift_and_noise():
    module = sm.nn.NeuralSDE(z, width=8, key=jax.random.key(0))
    assert module(TIMES, jnp.ones(2), dt0=0.1, key=jax.random.key(1)).shape == (6, 2)
    matrix = module.model.diffusion(0.3, jnp.array([0.2, -0.4]))
    inputs = jnp.array([0.2, -0.4, 0.3])
    np.testing.assert_allclose(matrix, np.diag(module.model.networks["g"](inputs)), rtol=1e-12)


def test_scalar_states_are_taken_by_name():
    module = sm.nn.NeuralSDE([z1, z2], width=8, key=jax.random.key(0))
    sol = module.solve((0, 1), initial={z1: 1.0, z2: 0.0}, key=jax.random.key(2), dt0=0.1)
    assert sol[z1 + z2].shape == (201,)


def test_gradients_reach_the_weights_of_drift_and_noise():
    module = sm.nn.NeuralSDE(z, width=8, key=jax.random.key(0))

    @eqx.filter_grad
    def slope(module):
        return jnp.sum(module(TIMES, jnp.ones(2), dt0=0.1, key=jax.random.key(1)) ** 2)

    found = slope(module).model.networks
    assert all(
        np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(eqx.filter(found, eqx.is_array))
    )


def test_a_langevin_equation_has_its_stationary_spread():
    module = sm.nn.StableSDE(
        s, "langevin", drift=lambda v: -v, diffusion=lambda t: 0.5 + 0.0 * t, key=jax.random.key(0)
    )
    found = ends(module, jnp.ones(1), until=8.0, dt0=0.05, count=20_000)
    assert np.std(found) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_linear_noise_has_its_median():
    module = sm.nn.StableSDE(
        s,
        "linear noise",
        drift=lambda t, v: -0.1 * v,
        diffusion=lambda t: 0.5 + 0.0 * t,
        key=jax.random.key(0),
    )
    found = ends(module, jnp.ones(1), until=4.0, dt0=0.01, count=20_000)
    assert np.median(found) == pytest.approx(np.exp(-(0.1 + 0.125) * 4), rel=0.02)


def test_a_geometric_equation_is_never_negative_and_has_its_median():
    module = sm.nn.StableSDE(
        s,
        "geometric",
        drift=lambda t, v: -0.1 + 0.0 * v,
        diffusion=lambda t: 2.0 + 0.0 * t,
        key=jax.random.key(0),
    )
    found = ends(module, jnp.ones(1), until=4.0, dt0=0.5, count=20_000)
    assert np.all(found > 0)
    assert np.median(np.log(found)) == pytest.approx(-(0.1 + 2.0) * 4, abs=0.1)


@pytest.mark.parametrize("kind", ["langevin", "linear noise", "geometric"])
def test_every_kind_is_driven_by_data(kind):
    X = sm.control("X", channels=2)
    module = sm.nn.StableSDE(z, kind, control=X, width=8, key=jax.random.key(0))
    curve = sm.path(TIMES, jnp.stack([jnp.sin(TIMES), TIMES], axis=1))
    sol = module.solve(TIMES, jnp.ones(2), dt0=0.1, key=jax.random.key(1), series=curve)
    assert np.all(np.isfinite(sol[z]))
    np.testing.assert_allclose(sol[X][:, 1], TIMES, atol=1e-12)
    other = sm.path(TIMES, jnp.stack([jnp.cos(TIMES), TIMES], axis=1))
    changed = module.solve(TIMES, jnp.ones(2), dt0=0.1, key=jax.random.key(1), series=other)
    assert not np.allclose(changed[z], sol[z])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda key: sm.nn.stable_sde(z, "gentle", key=key), "kind is one of 'langevin'"),
        (lambda key: sm.nn.stable_sde([z1, z2], "langevin", key=key), "one state"),
        (lambda key: sm.nn.neural_sde(z, sm.brownian("W"), key=key), "of 2 components"),
        (lambda key: sm.nn.neural_sde(D(s), key=key), "is no unknown"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(sm.DeclarationError, match=message):
        build(jax.random.key(0))
