"""Neural, augmented and second-order neural ODEs."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from descent import descend

import sciml as sm
from sciml import D

KEY = jax.random.key(0)
X = sm.unknown("x", shape=2)
TIMES = jnp.linspace(0.0, 1.5, 30)
SPIRAL = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
TIGHT = sm.nn.Stepping(rtol=1e-9, atol=1e-9)


def by_hand(net, times, initial, stepping=TIGHT, time=False):
    """The same network in Diffrax, without the language."""
    field = lambda t, y, _: net(jnp.append(y, t)) if time else net(y)
    return dfx.diffeqsolve(
        dfx.ODETerm(field),
        dfx.Dopri8(),
        times[0],
        times[-1],
        None,
        initial,
        saveat=dfx.SaveAt(ts=times),
        stepsize_controller=dfx.PIDController(rtol=1e-11, atol=1e-11),
    ).ys


@pytest.mark.parametrize("time", [False, True])
def test_a_neural_ode_is_the_network_integrated(time):
    module = sm.nn.NeuralODE(X, width=8, time=time, key=KEY)
    initial = jnp.array([2.0, 0.3])
    expected = by_hand(module.model.networks["f"], TIMES, initial, time=time)
    np.testing.assert_allclose(module(TIMES, initial, stepping=TIGHT), expected, rtol=1e-7)


def test_states_may_be_scalars_and_vectors_and_solutions_are_indexed_by_them():
    a, b = sm.unknowns("a b")
    module = sm.nn.NeuralODE([a, X, b], width=8, key=KEY)
    initial = jnp.array([0.1, 2.0, 0.3, -1.0])
    ys = module(TIMES, initial, stepping=TIGHT)
    np.testing.assert_allclose(ys, by_hand(module.model.networks["f"], TIMES, initial), rtol=1e-6)
    start = {a: 0.1, X: [2.0, 0.3], b: -1.0}
    sol = module.solve((0, 1.5), initial=start, saveat=TIMES, stepping=TIGHT)
    np.testing.assert_allclose(sol[X], ys[:, 1:3], rtol=1e-12)
    np.testing.assert_allclose(sol[a + b], ys[:, 0] + ys[:, 3], rtol=1e-12)
    assert str(module.system.equations[0]).startswith("D(a) = f(concatenate(")


@pytest.mark.parametrize("states", [sm.unknown("x"), sm.unknown("x", shape=1)])
def test_one_state_is_enough(states):
    module = sm.nn.NeuralODE(states, width=4, key=KEY)
    assert module(TIMES, jnp.ones(1)).shape == (30, 1)


def test_jit_vmap_and_grad_go_through():
    module = sm.nn.NeuralODE(X, width=8, key=KEY)
    starts = jax.random.normal(KEY, (3, 2))
    batch = eqx.filter_jit(jax.vmap(lambda y0: module(TIMES, y0)))(starts)
    single = jnp.stack([module(TIMES, y0) for y0 in starts])
    np.testing.assert_allclose(batch, single, rtol=1e-5, atol=1e-7)

    frozen = sm.nn.Stepping(
        solver=dfx.Tsit5(), dt0=0.05, stepsize_controller=dfx.ConstantStepSize()
    )

    def loss(module):
        return jnp.sum(module(TIMES, starts[0], stepping=frozen) ** 2)

    slopes = eqx.filter_grad(loss)(module)
    leaf = lambda m: m.model.networks["f"].layers[1].weight
    nudge = lambda step: eqx.tree_at(leaf, module, leaf(module).at[2, 3].add(step))
    expected = (loss(nudge(1e-5)) - loss(nudge(-1e-5))) / 2e-5
    np.testing.assert_allclose(leaf(slopes)[2, 3], expected, rtol=1e-6)


def test_what_is_no_state_is_refused_with_a_cure():
    for states, error, text in [
        (sm.parameter("k"), sm.DeclarationError, "k is no unknown"),
        ([X, X], sm.DeclarationError, "x is given twice"),
        (sm.unknown("u", shape=(2, 3)), sm.ShapeError, "declare it with shape=6"),
        ([], sm.DeclarationError, "no state was given"),
    ]:
        with pytest.raises(error, match=text):
            sm.nn.neural_ode(states, key=KEY)
    module = sm.nn.NeuralODE(X, width=4, key=KEY)
    with pytest.raises(sm.DataError, match=r"shape \(2,\), not \(3,\)"):
        module(TIMES, jnp.ones(3))
    with pytest.raises(sm.DataError, match="at least one more"):
        module(TIMES[:1], jnp.ones(2))
    with pytest.raises(sm.DeclarationError, match="sm.nn.neural_ode"):
        sm.nn.augmented_neural_ode(X, augmented=0, key=KEY)
    with pytest.raises(sm.DataError, match="without the augmented ones"):
        sm.nn.AugmentedNeuralODE(X, width=4, key=KEY)(TIMES, jnp.ones(3))


def test_a_neural_ode_of_one_number_keeps_the_order_of_starts():
    module = sm.nn.NeuralODE(sm.unknown("x"), width=16, key=jax.random.key(5))
    ends = [float(module(TIMES, jnp.array([x]))[-1, 0]) for x in np.linspace(-2, 2, 9)]
    assert np.all(np.diff(ends) > 0)


def test_an_augmented_one_need_not():
    """A rotation through the added state by half a turn: x -> -x (Dupont 2019, section 3)."""
    module = sm.nn.AugmentedNeuralODE(sm.unknown("x"), width=4, depth=0, key=KEY)
    layer = lambda m: (m.model.networks["f"].layers[0].weight, m.model.networks["f"].layers[0].bias)
    turn = np.pi * jnp.array([[0.0, -1.0], [1.0, 0.0]])
    module = eqx.tree_at(layer, module, (turn, jnp.zeros(2)))
    for x in (-1.0, 0.3, 2.0):
        ends = module(jnp.array([0.0, 1.0]), jnp.array([x]), stepping=TIGHT)
        np.testing.assert_allclose(ends[-1], [-x], atol=1e-7)
    sol = module.solve((0, 1), initial={"x": 1.0}, stepping=TIGHT)
    np.testing.assert_allclose(sol["augmented"][0], [0.0])


def test_a_second_order_one_integrates_the_acceleration():
    module = sm.nn.SecondOrderNeuralODE(X, width=8, key=KEY)
    net = module.model.networks["f"]
    initial, rates = jnp.array([2.0, 0.3]), jnp.array([-0.5, 1.0])
    field = lambda y: jnp.concatenate([y[2:], net(y)])
    expected = by_hand(field, TIMES, jnp.concatenate([initial, rates]))[:, :2]
    np.testing.assert_allclose(module(TIMES, initial, rates, stepping=TIGHT), expected, rtol=1e-7)
    sol = module.solve((0, 1), initial={X: initial, D(X): rates}, stepping=TIGHT)
    slope = np.gradient(np.asarray(sol[X]), np.asarray(sol.ts), axis=0)
    np.testing.assert_allclose(sol[D(X)][1:-1], slope[1:-1], atol=1e-3)


def test_the_model_is_a_system_like_any_other(tmp_path):
    module = sm.nn.NeuralODE(X, width=4, key=KEY)
    assert [path.name for path in sm.export(module.model, tmp_path / "net", kind="python")]
    with pytest.raises(sm.ModelError, match="x"):
        sm.solve(module.model, t=(0, 1))


@pytest.mark.slow
def test_the_cubic_spiral_is_learned():
    """Chen's example: u' = A u^3, from (2, 0), 30 points up to t = 1.5."""
    truth = sm.System(sm.Eq(D(X), sm.constant(SPIRAL) @ X**3), initial={X: [2.0, 0.0]})
    data = sm.solve(truth, t=(0, 1.5), saveat=TIMES, rtol=1e-9, atol=1e-9)[X]
    module = sm.nn.NeuralODE(X, width=64, depth=1, key=KEY)
    loose = sm.nn.Stepping(rtol=1e-4, atol=1e-6, max_steps=64)
    windows = jnp.stack([data[i : i + 4] for i in range(27)])

    def loss(module):
        found = jax.vmap(lambda w: module(TIMES[:4], w[0], stepping=loose))(windows)
        return jnp.mean((found - windows) ** 2)

    module, _ = descend(module, loss, steps=2000, rate=3e-2)
    np.testing.assert_allclose(module(TIMES, data[0]), data, atol=0.1)
