"""Claims about liquid time-constant networks: bounds for any step and input, and order."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml.nn._driven import check_series, held

x, u = sm.unknown("x", shape=5), sm.unknown("u", shape=2)
TIMES = jnp.linspace(0.0, 2.0, 21)
SERIES = jnp.stack([jnp.sin(3 * TIMES), TIMES**2], axis=1)


def network(seed=0, **options):
    return sm.nn.LiquidTimeConstant(x, u, key=jax.random.key(seed), **options)


def test_the_system_is_the_equation_of_the_paper():
    model = network().model
    y, I = jnp.linspace(-1.0, 1.0, 5), jnp.asarray([0.3, -2.0])
    gate = jnp.exp(model.parameters["ltc_log_gain"]) * model.networks["ltc_gate"](
        jnp.concatenate([y, I])
    )
    tau, A = jnp.exp(model.parameters["ltc_log_tau"]), model.parameters["ltc_A"]
    expected = -(1 / tau + gate) * y + gate * A
    np.testing.assert_allclose(held(model, I).vector_field(0.0, y), expected, rtol=1e-13)


@pytest.mark.parametrize("depth", [0, 2])
def test_the_state_stays_in_its_bounds_for_any_step_and_any_input(depth):
    net = network(1, depth=depth)
    run = eqx.filter_jit(jax.vmap(net, in_axes=(0, 0)))
    steps = jnp.asarray([1e-6, 1.0, 1e3, 1e12])
    times = steps[:, None] * jnp.arange(40.0)[None]
    inputs = jax.random.normal(jax.random.key(2), (4, 40, 2))
    A = net.model.parameters["ltc_A"][None, None]
    for size in (1.0, 1e3):
        states = run(times, size * inputs)
        assert jnp.all(states >= jnp.minimum(0, A))
        assert jnp.all(states <= jnp.maximum(0, A))


def test_the_effective_time_constants_are_between_those_of_a_closed_and_an_open_gate():
    @eqx.filter_jit
    def both(net, key):
        first, second = jax.random.split(key)
        log_tau, log_gain = jax.random.normal(first, (2, 5))
        model = net.model.replace(values={"ltc_log_tau": log_tau, "ltc_log_gain": log_gain})
        net = eqx.tree_at(lambda n: n.model, net, model)
        sol = net.solve(TIMES, 1e3 * jax.random.normal(second, (21, 2)))
        tau, gain = jnp.exp(log_tau), jnp.exp(log_gain)
        return sol["ltc_tau"], tau / (1 + tau * gain), tau

    for seed in range(5):
        found, low, high = both(network(seed), jax.random.key(seed))
        assert jnp.all(found <= high[None] * (1 + 1e-12))
        assert jnp.all(found >= low[None] * (1 - 1e-12))


def test_networks_of_equal_structure_are_one_for_compiled_code():
    assert jax.tree.structure(network(0)) == jax.tree.structure(network(1))


def test_the_fused_step_converges_to_the_solution_with_first_order():
    path = sm.System(sm.Eq(u, sm.stack([sympy.sin(3 * sm.t), sm.t**2])))
    system = sm.nn.liquid_time_constant(x, u, key=jax.random.key(0)) + path
    reference = sm.solve(system, (0, 2), saveat=TIMES, rtol=1e-9, atol=1e-11)[x]
    errors = []
    for finer in (1, 2, 4, 8):
        times = jnp.linspace(0.0, 2.0, 20 * finer + 1)
        series = jnp.stack([jnp.sin(3 * times), times**2], axis=1)
        errors.append(float(jnp.max(jnp.abs(network()(times, series)[::finer] - reference))))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 1.0, atol=0.05)


def test_a_solution_is_asked_by_symbol_and_its_input_is_the_series():
    sol = network().solve(TIMES, SERIES)
    assert sol[x].shape == (21, 5)
    np.testing.assert_allclose(sol[u], SERIES, rtol=1e-12)


def test_several_scalars_are_the_same_network_as_a_vector():
    parts = sm.unknowns("a b c d e")
    key, inputs = jax.random.key(0), sm.unknowns("p q")
    apart = sm.nn.LiquidTimeConstant(parts, inputs, key=key)
    together = network()
    np.testing.assert_allclose(apart(TIMES, SERIES), together(TIMES, SERIES), rtol=1e-13)
    sol, whole = apart.solve(TIMES, SERIES), together.solve(TIMES, SERIES)
    np.testing.assert_allclose(sol[parts[3]], whole[x][:, 3], rtol=1e-12)


def test_gradients_of_the_fused_step_are_those_of_finite_differences():
    net = network()

    def loss(model):
        return jnp.sum(eqx.tree_at(lambda n: n.model, net, model)(TIMES, SERIES) ** 2)

    slope = eqx.filter_grad(loss)(net.model)
    for name in ("ltc_A", "ltc_log_tau", "ltc_log_gain"):
        value = net.model.parameters[name]
        up, down = (
            loss(net.model.replace(values={name: value.at[1].add(h)})) for h in (1e-5, -1e-5)
        )
        np.testing.assert_allclose(slope.parameters[name][1], (up - down) / 2e-5, rtol=1e-6)
    assert jnp.linalg.norm(slope.networks["ltc_gate"].net.layers[0].weight) > 0


def test_a_batch_goes_through_vmap_and_jit():
    batch = jnp.stack([SERIES, -SERIES])
    states = eqx.filter_jit(jax.vmap(network(), in_axes=(None, 0)))(TIMES, batch)
    np.testing.assert_allclose(states[1], network()(TIMES, -SERIES), rtol=1e-12)


@pytest.mark.parametrize(
    ("states", "inputs", "message"),
    [
        (sm.parameter("k"), u, "states: k is no unknown; declare it"),
        ((), u, "states: none is given"),
        (sm.unknown("m", shape=(2, 2)), u, r"m has shape \(2, 2\); scalars and vectors"),
        (x, "u", "inputs: 'u' is no unknown"),
        ([x, sm.unknown("x")], u, "the names x, x must differ"),
    ],
)
def test_what_is_no_state_or_input_is_refused(states, inputs, message):
    with pytest.raises(sm.DeclarationError, match=message):
        sm.nn.liquid_time_constant(states, inputs, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("times", "series", "error", "message"),
    [
        (TIMES, SERIES[:, :1], sm.ShapeError, r"series of u has the shape \(time, 2\), not"),
        (TIMES[:5], SERIES, sm.ShapeError, r"times of shape \(5,\) for a series of u with 21"),
        (TIMES[:1], SERIES[:1], sm.DataError, "is too short: it has 1 times"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(times, series, error, message):
    with pytest.raises(error, match=message):
        check_series(series, (u,), times)


def test_a_control_drives_the_declared_system_as_a_series_does_the_module():
    X, key = sm.control("X", channels=2), jax.random.key(0)
    system = sm.nn.liquid_time_constant(x, X, key=key)
    series = jnp.stack([TIMES, 1 - TIMES], axis=1)  # the same by any interpolation
    sol = sm.solve(system, (0, 2), controls={X: (TIMES, series)}, saveat=TIMES)
    np.testing.assert_allclose(sol[x], network().solve(TIMES, series)[x], atol=1e-5)
    with pytest.raises(sm.DeclarationError, match="X is a control, and a module sets its inputs"):
        sm.nn.LiquidTimeConstant(x, X, key=key)


def test_an_equation_of_a_network_is_where_the_user_declared_it():
    assert network().system.equations[0].origin.file.endswith("test_liquid.py")
