"""Neural CDEs along paths of log-signatures: long series in few steps."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm

HEUN = dfx.Heun()


def module_for(channels, depth, *, width, seed):
    X = sm.control("X", channels=sm.log_signature_size(channels, depth))
    z = sm.unknown("z", shape=8)
    return sm.nn.NeuralCDE(z, X, outputs=1, width=width, key=jax.random.key(seed))


def read(module, series):
    """Solved in one step for each window."""
    return module(series, stepping=sm.nn.Stepping(solver=HEUN, stepsize_controller=series.steps()))


def test_a_long_series_takes_as_many_steps_as_there_are_windows():
    times = np.linspace(0.0, 1.0, 4000)
    values = np.stack([times, np.sin(200 * times), np.cos(170 * times)], axis=1)
    series = sm.log_path(times, values, window=100)
    module = module_for(3, 2, width=8, seed=0)
    for solver in (HEUN, dfx.Tsit5()):
        stepping = sm.nn.Stepping(solver=solver, stepsize_controller=series.steps())
        sol = module.solve(series, stepping=stepping)
        assert int(sol.stats["num_steps"]) == len(series.knots) - 1 == 40
        assert int(sol.stats["num_rejected_steps"]) == 0


def test_its_first_state_depends_on_the_first_measurement_alone():
    times = np.linspace(0.0, 1.0, 50)
    module = module_for(2, 3, width=8, seed=1)
    walks = np.cumsum(np.random.default_rng(0).normal(size=(2, 50, 2)), axis=1)
    walks[1, 0] = walks[0, 0]
    starts = []
    for walk in walks:
        series = sm.log_path(times, walk, window=10, depth=3)
        starts.append(module.solve(series, saveat=[0.0, 1.0]).ys)
    np.testing.assert_array_equal(starts[0][0], starts[1][0])
    assert np.linalg.norm(starts[0][1] - starts[1][1]) > 1e-3
    np.testing.assert_allclose(starts[0][0], module.encoder(jnp.asarray([*walks[0, 0], 0, 0, 0])))


def test_steps_from_knot_to_knot_agree_with_adaptive_ones():
    times = np.linspace(0.0, 1.0, 200)
    values = np.stack([times, np.sin(9 * times)], axis=1)
    series = sm.log_path(times, values, window=10)
    module = module_for(2, 2, width=8, seed=2)
    tight = series.steps(dfx.PIDController(rtol=1e-9, atol=1e-11))
    exact = module(series, stepping=sm.nn.Stepping(stepsize_controller=tight))
    np.testing.assert_allclose(read(module, series), exact, rtol=2e-3)


@pytest.mark.slow
def test_a_batch_of_series_is_mapped_over_under_jit_and_differentiated():
    times = jnp.linspace(0.0, 1.0, 60)
    values = jnp.asarray(np.random.default_rng(1).normal(size=(3, 60, 2)))
    module = module_for(2, 2, width=8, seed=3)

    def one(module, value):
        return read(module, sm.log_path(times, value, window=20))[0]

    together = eqx.filter_jit(jax.vmap(one, in_axes=(None, 0)))(module, values)
    np.testing.assert_allclose(together, [one(module, value) for value in values], rtol=1e-10)
    slope = jax.grad(lambda value: one(module, value))(values[0])
    up, down = (one(module, values[0].at[30, 1].add(h)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(slope[30, 1], (up - down) / 2e-5, rtol=1e-5, atol=1e-9)


def test_a_path_of_other_channels_says_what_to_declare():
    times = np.linspace(0.0, 1.0, 20)
    series = sm.log_path(times, np.stack([times, times**2], axis=1), window=5)
    module = module_for(2, 1, width=8, seed=4)
    with pytest.raises(sm.DeclarationError, match=r'declare it as sm.control\("X", channels=3\)'):
        module(series)


def turning(key, count, length=2001, window=100):
    """Two classes: a slow drift, with circles on it that turn one way or the other, and noise.

    In a window there are one to three turns, so that its ends do not tell which way.
    """
    keys = jax.random.split(key, 4)
    times = jnp.linspace(0.0, 1.0, length)
    labels = (jnp.arange(count) % 2).astype(float)
    turns = jax.random.uniform(keys[0], (count, 1), minval=1.0, maxval=3.0) * (length // window)
    phase = jax.random.uniform(keys[1], (count, 1), maxval=2 * jnp.pi)
    angle = (2 * labels[:, None] - 1) * (2 * jnp.pi * turns * times[None] + phase)
    circles = 0.3 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=2)
    drift = jnp.cumsum(jax.random.normal(keys[2], circles.shape), axis=1) / length**0.5
    noise = 0.1 * jax.random.normal(keys[3], circles.shape)
    clock = jnp.broadcast_to(times[None, :, None], (count, length, 1))
    return times, jnp.concatenate([clock, circles + drift + noise], axis=2), labels


def accuracy(depth, *, steps, seed=0, window=100):
    """Of a module after so many steps of Adam, on series that it has not seen."""
    module = module_for(3, depth, width=16, seed=seed)
    weights, static = eqx.partition(module, eqx.is_inexact_array)
    schedule = optax.cosine_decay_schedule(1e-2, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def logits(weights, paths):
        return jax.vmap(lambda p: read(eqx.combine(weights, static), p)[0])(paths)

    def paths(key, count):
        times, values, labels = turning(key, count, window=window)
        made = jax.vmap(lambda v: sm.log_path(times, v, window=window, depth=depth))(values)
        return made, labels

    @eqx.filter_jit
    def step(weights, state, rows):
        made, labels = jax.tree.map(lambda leaf: leaf[rows], train)

        def loss(w):
            return jnp.mean(optax.sigmoid_binary_cross_entropy(logits(w, made), labels))

        slope = jax.grad(loss)(weights)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            updates, state = optimiser.update(slope, state)
            return eqx.apply_updates(weights, updates), state

    train = eqx.filter_jit(paths)(jax.random.key(100 + seed), 256)
    state = optimiser.init(weights)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        rows = jnp.asarray(rng.choice(256, 32, replace=False))
        weights, state = step(weights, state, rows)
    test, labels = eqx.filter_jit(paths)(jax.random.key(200 + seed), 256)
    return float(jnp.mean((eqx.filter_jit(logits)(weights, test) > 0) == (labels > 0.5)))


@pytest.mark.slow
def test_depth_2_sees_which_way_the_path_turns_inside_the_windows_and_depth_1_does_not():
    assert accuracy(2, steps=100) >= 0.95
    assert accuracy(1, steps=100) < 0.75
