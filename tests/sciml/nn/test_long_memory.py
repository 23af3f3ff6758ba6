"""Claims about long expressive memory: its discretisation, its bounds, and what it learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sciml as sm
from sciml import D

z, y, u = sm.unknown("z", shape=3), sm.unknown("y", shape=3), sm.unknown("u", shape=2)
SERIES = jax.random.normal(jax.random.key(1), (30, 2))


def network(**options):
    return sm.nn.LongExpressiveMemory(z, y, u, key=jax.random.key(0), **options)


def layer(net, name, *inputs):
    linear = net.model.networks[name].net.layers[0]
    return linear.weight @ jnp.concatenate(inputs) + linear.bias


def test_a_step_is_the_one_of_the_paper():
    net, now, hidden = network(dt=0.5, outputs=2), jnp.zeros(3), jnp.zeros(3)
    for entry, found, read in zip(SERIES, net.states(SERIES), net(SERIES), strict=True):
        first = 0.5 * jax.nn.sigmoid(layer(net, "lem_z_gate", now, entry))
        second = 0.5 * jax.nn.sigmoid(layer(net, "lem_y_gate", now, entry))
        hidden = (1 - first) * hidden + first * jnp.tanh(layer(net, "lem_z_target", now, entry))
        now = (1 - second) * now + second * jnp.tanh(layer(net, "lem_y_target", hidden, entry))
        np.testing.assert_allclose(found, jnp.concatenate([hidden, now]), rtol=1e-12)
        np.testing.assert_allclose(read, net.readout(now), rtol=1e-12)


def test_the_states_stay_between_minus_one_and_one_for_any_input():
    for size in (1.0, 1e3, 1e8):
        assert jnp.max(jnp.abs(network().states(size * SERIES))) <= 1.0


def test_the_steps_converge_to_the_solution_with_first_order():
    times = jnp.linspace(0.0, 10.0, 11)
    series = jnp.ones((11, 2))  # constant: then only the step is in error
    sol = network().solve(times, series, rtol=1e-9, atol=1e-11)
    errors = []
    for finer in (4, 8, 16):
        states = network(dt=1 / finer).states(jnp.ones((10 * finer, 2)))
        errors.append(float(jnp.max(jnp.abs(states[finer - 1 :: finer] - sol.ys[1:]))))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1.0, atol=0.1)
    assert sol[y].shape == (11, 3)


def test_gradients_and_batches_go_through():
    net, batch = network(), jnp.stack([SERIES, -SERIES])

    def loss(net):
        return jnp.mean(jax.vmap(net)(batch) ** 2)

    slope = eqx.filter_grad(loss)(net)
    weight = lambda net: net.model.networks["lem_y_target"].net.layers[0].weight
    up, down = (loss(eqx.tree_at(weight, net, weight(net).at[1, 2].add(h))) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(weight(slope)[1, 2], (up - down) / 2e-5, rtol=1e-5)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(sm.DeclarationError, match="z and w have 3 and 2 elements"):
        sm.nn.long_expressive_memory(z, sm.unknown("w", shape=2), u, key=jax.random.key(0))
    with pytest.raises(sm.DeclarationError, match="dt = 1.5: the step is above 0 and at most 1"):
        network(dt=1.5)
    with pytest.raises(sm.ShapeError, match=r"series of u has the shape \(time, 2\)"):
        network()(SERIES[:, :1])


class Gru(eqx.Module):
    """The same task, the same size."""

    cell: eqx.nn.GRUCell
    readout: eqx.nn.Linear

    def __init__(self, size, *, key):
        inner, outer = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(1, size, key=inner)
        self.readout = eqx.nn.Linear(size, 1, key=outer)

    def __call__(self, series):
        def step(h, given):
            after = self.cell(given, h)
            return after, after

        return jax.vmap(self.readout)(jax.lax.scan(step, jnp.zeros(16), series)[1])


def fitzhugh_nagumo(count, *, key):
    """Series of v from v(0) between -1 and 1: `count`, 1001 times, 1."""
    v, w = sm.unknowns("v w")
    model = sm.compile(
        sm.System(
            sm.Eq(D(v), v - v**3 / 3 - w + 0.5),
            sm.Eq(D(w), 0.02 * (v + 0.7 - 0.8 * w)),
            initial={v: 0, w: 0},
        )
    )
    times = jnp.linspace(0.0, 400.0, 1001)
    starts = jax.random.uniform(key, (count,), minval=-1.0, maxval=1.0)
    solved = jax.vmap(lambda at: sm.solve(model, (0, 400), initial={v: at}, saveat=times)[v])
    return solved(starts)[..., None]


def trained(net, series, *, epochs, seed):
    """Adam with the learning rate of the paper, in batches of 32; next-step prediction."""
    optimiser = optax.adam(0.00904)

    @eqx.filter_jit
    def step(net, state, batch):
        slope = eqx.filter_grad(error)(net, batch)
        change, state = optimiser.update(slope, state)
        return eqx.apply_updates(net, change), state

    state, rng = optimiser.init(eqx.filter(net, eqx.is_inexact_array)), np.random.default_rng(seed)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(epochs):
            for rows in np.split(rng.permutation(len(series)), len(series) // 32):
                net, state = step(net, state, series[rows])
    return net


def error(net, batch):
    return jnp.mean((jax.vmap(net)(batch[:, :-1]) - batch[:, 1:]) ** 2)


@pytest.mark.slow
def test_it_foretells_a_relaxation_oscillation_better_than_a_gru_of_the_same_size():
    """Rusch et al. (2022), section 5: 0.002 after 400 epochs with twice the series."""
    train, test = (fitzhugh_nagumo(n, key=jax.random.key(k)) for n, k in ((64, 1), (32, 2)))
    fast, slow, given = sm.unknown("z", shape=16), sm.unknown("y", shape=16), sm.unknown("u")
    key, found = jax.random.key(0), []
    for net in (
        sm.nn.LongExpressiveMemory(fast, slow, given, key=key),
        Gru(16, key=key),
    ):
        net = trained(net, train, epochs=160, seed=0)
        found.append(float(jnp.sqrt(eqx.filter_jit(error)(net, test))))
    assert found[0] <= 0.01
    assert found[0] <= 0.5 * found[1]
