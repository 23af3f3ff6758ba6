"""The neural controlled equation: spirals, invariance, irregular and missing data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm
from sciml import D

z, X = sm.unknown("z", shape=8), sm.control("X", channels=3)


def spirals(key, count=256, length=100):
    """Two classes of noisy decaying spirals, turning either way; Kidger (2022), with time."""
    first, second = jax.random.split(key)
    theta = jax.random.uniform(first, (count,), maxval=2 * jnp.pi)
    times = jnp.linspace(0.0, 4 * jnp.pi, length)
    start = jnp.stack([jnp.cos(theta), jnp.sin(theta)], axis=-1)
    matrix = jnp.array([[-0.3, 2.0], [-2.0, -0.3]])
    turned = jax.vmap(lambda s: jax.scipy.linalg.expm(s * matrix))(times)
    curves = jnp.einsum("tij,nj->nti", turned, start)
    half = (jnp.arange(count) >= count // 2)[:, None]
    curves = curves.at[:, :, 0].set(jnp.where(half, -curves[:, :, 0], curves[:, :, 0]))
    curves = curves + 0.01 * jax.random.normal(second, curves.shape)
    whole = jnp.concatenate(
        [jnp.broadcast_to(times[None, :, None], (count, length, 1)), curves], axis=2
    )
    return times, whole, half[:, 0].astype(float)


def entropy(module, paths, labels):
    """Mean cross-entropy, and the share that is right."""
    logits = jax.vmap(lambda p: module(p)[0])(paths)
    loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, labels))
    return loss, jnp.mean((logits > 0) == (labels > 0.5))


@pytest.mark.slow
def test_two_classes_of_spirals_are_told_apart_in_twenty_steps():
    times, values, labels = spirals(jax.random.key(0))
    paths = jax.vmap(lambda v: sm.path(times, v))(values)
    module = sm.nn.NeuralCDE(z, X, outputs=1, width=128, depth=1, key=jax.random.key(1))
    weights, static = eqx.partition(module, eqx.is_inexact_array)
    optimiser = optax.adam(1e-2)
    state = optimiser.init(weights)

    @eqx.filter_jit
    def step(weights, state, rows):
        def loss(w):
            part = jax.tree.map(lambda leaf: leaf[rows], paths)
            return entropy(eqx.combine(w, static), part, labels[rows])[0]

        slope = jax.grad(loss)(weights)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, state = optimiser.update(slope, state)
            return eqx.apply_updates(weights, updates), state

    order = np.random.default_rng(0).permutation(256)
    for number in range(20):
        rows = jnp.asarray(np.take(order, range(32 * number, 32 * number + 32), mode="wrap"))
        weights, state = step(weights, state, rows)
    times, values, labels = spirals(jax.random.key(9))
    fresh = jax.vmap(lambda v: sm.path(times, v))(values)
    loss, right = eqx.filter_jit(entropy)(eqx.combine(weights, static), fresh, labels)
    assert float(right) >= 0.99
    assert float(loss) <= 0.15


def test_without_a_time_channel_the_parametrisation_does_not_matter():
    Y = sm.control("Y", channels=2)
    module = sm.nn.NeuralCDE(z, Y, outputs=2, width=16, key=jax.random.key(2))
    times = jnp.linspace(0.0, 1.0, 30)
    values = jnp.stack([jnp.sin(3 * times), times**2], axis=1)
    tight = sm.nn.Stepping(rtol=1e-8, atol=1e-10)
    plain = module(sm.path(times, values, kind="linear"), stepping=tight)
    bent = module(sm.path(2 * times**3 + times, values, kind="linear"), stepping=tight)
    np.testing.assert_allclose(bent, plain, rtol=1e-6)


def test_the_solution_knows_the_control_by_its_symbol():
    module = sm.nn.NeuralCDE(z, X, outputs=1, width=8, key=jax.random.key(3))
    times, values, _ = spirals(jax.random.key(4), count=1, length=20)
    curve = sm.path(times, values[0], kind="linear")
    sol = module.solve(curve, saveat=times)
    np.testing.assert_allclose(sol[X], values[0], atol=1e-12)
    np.testing.assert_allclose(sol[X][:, 0], times, atol=1e-12)
    assert sol[z].shape == (20, 8)


def test_missing_entries_of_a_linear_path_change_nothing_on_lines():
    module = sm.nn.NeuralCDE(z, X, outputs=2, width=8, key=jax.random.key(5))
    times = jnp.linspace(0.0, 1.0, 11)
    values = np.stack([times, 2 * times, 1 - times], axis=1)
    holes = values.copy()
    holes[[2, 5], 1] = holes[[3, 4, 7], 2] = np.nan
    tight = sm.nn.Stepping(rtol=1e-8, atol=1e-10)
    whole, gaps = (
        module(sm.path(times, v, kind="linear"), stepping=tight) for v in (values, holes)
    )
    np.testing.assert_allclose(gaps, whole, rtol=1e-7)


def test_outputs_along_the_path_end_in_that_of_the_call():
    module = sm.nn.NeuralCDE(z, X, outputs=2, width=8, key=jax.random.key(6))
    times, values, _ = spirals(jax.random.key(4), count=1, length=20)
    curve = sm.path(times, values[0])
    np.testing.assert_allclose(module.along(curve, times)[-1], module(curve), rtol=1e-6)


@pytest.mark.parametrize("control", [z, sm.control("Y"), sm.brownian("W", shape=3)])
def test_what_is_no_control_of_channels_is_refused(control):
    with pytest.raises(sm.DeclarationError, match="no control of several channels"):
        sm.nn.neural_cde(z, control, key=jax.random.key(0))


def test_a_controlled_system_without_its_path_says_what_to_give():
    x = sm.unknown("x")
    system = sm.System(sm.Eq(D(x), sm.index(D(X), 0) - x), initial={x: 0})
    with pytest.raises(sm.DeclarationError, match="the control X has no path: give controls="):
        sm.solve(system, t=(0, 1))
