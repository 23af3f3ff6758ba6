"""Hamiltonian and Lagrangian systems, declared and neural."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from descent import descend
from scipy.special import ellipk
from sympy.physics.mechanics import LagrangesMethod, dynamicsymbols

import sciml as sm
from sciml import D

KEY = jax.random.key(0)
q, p = sm.unknowns("q p")
Q, P = sm.unknown("q", shape=2), sm.unknown("p", shape=2)
PENDULUM = p**2 / 2 - sympy.cos(q)
KEPLER = sm.total(P**2) / 2 - 1 / sympy.sqrt(sm.total(Q**2))
AT_STEPS = dfx.SaveAt(steps=True, t0=True)
TIGHT = sm.nn.Stepping(rtol=1e-10, atol=1e-10)


def drift(energy):
    return float(jnp.max(jnp.abs(energy - energy[0])) / jnp.abs(energy[0]))


def test_the_energy_of_a_pendulum_drifts_less_than_a_thousandth_over_a_hundred_periods():
    module = sm.nn.Hamiltonian(q, p, energy=PENDULUM)
    assert module.separable
    period = 4 * ellipk(np.sin(1.0) ** 2)  # released at q = 2
    sol = module.solve(
        (0, 100 * period),
        initial={q: 2.0, p: 0.0},
        saveat=AT_STEPS,
        stepping=module.symplectic(period / 300),
    )
    assert drift(sol["energy"]) < 1e-3


def test_the_energy_of_an_eccentric_orbit_drifts_less_than_a_thousandth_over_a_hundred_periods():
    module = sm.nn.Hamiltonian(Q, P, energy=KEPLER)
    assert module.separable
    sol = module.solve(
        (0, 200 * np.pi),
        initial={Q: [0.5, 0.0], P: [0.0, np.sqrt(3.0)]},
        saveat=AT_STEPS,
        stepping=module.symplectic(2 * np.pi / 1000),
    )
    assert drift(sol["energy"]) < 1e-3
    spin = sol[Q[0] * P[1] - Q[1] * P[0]]
    np.testing.assert_allclose(spin, spin[0], rtol=1e-10)


def test_the_energy_of_a_network_does_not_drift_either():
    module = sm.nn.Hamiltonian(q, p, width=8, key=KEY)
    assert not module.separable
    start = {q: 1.0, p: 0.5}
    sol = module.solve((0, 200), initial=start, saveat=AT_STEPS, stepping=module.symplectic(0.1))
    assert np.ptp(sol[q]) > 1
    assert drift(sol["energy"]) < 1e-3
    np.testing.assert_allclose(sol["energy"][3], module.energy(sol.ys[3]), rtol=1e-12)


def test_a_neural_energy_obeys_hamiltons_equations():
    for states in ((q, p), (Q, P)):
        module = sm.nn.Hamiltonian(*states, width=8, key=KEY)
        state = jax.random.normal(KEY, module.model.initial.shape)
        slope = jax.grad(module.model.networks["H"])(state)
        n = state.size // 2
        expected = jnp.concatenate([slope[n:], -slope[:n]])
        np.testing.assert_allclose(
            module.model.vector_field(0.0, state), expected, rtol=1e-12, atol=1e-14
        )
    a, b = sm.unknowns("a b")
    apart = sm.nn.Hamiltonian([q, a], [p, b], width=8, key=KEY)
    whole = sm.nn.Hamiltonian(Q, P, width=8, key=KEY)
    state = jnp.array([0.3, -1.0, 0.7, 2.0])
    fields = [m.model.vector_field(0.0, state) for m in (apart, whole)]
    np.testing.assert_allclose(*fields, rtol=1e-12)


def test_part_of_an_energy_may_be_a_network_and_part_a_parameter():
    m = sm.parameter("m")
    V = sm.neural("V", eqx.nn.MLP(1, 1, 8, 1, jnp.tanh, key=KEY))
    module = sm.nn.Hamiltonian(q, p, energy=p**2 / (2 * m) + V(q), values={m: 2.0})
    assert module.separable
    rates = module.model.vector_field(0.0, jnp.array([0.4, 3.0]))
    force = -jax.grad(lambda x: V.module(jnp.stack([x]))[0])(0.4)
    np.testing.assert_allclose(rates, jnp.stack([1.5, force]), rtol=1e-12)


def test_the_flow_of_a_neural_energy_preserves_area():
    module = sm.nn.Hamiltonian(q, p, width=8, key=KEY)
    times = jnp.array([0.0, 2.0])
    end = lambda y: module(times, y, stepping=TIGHT)[-1]
    jacobian = jax.jacfwd(lambda y: module(times, y, stepping=FORWARD)[-1])(jnp.array([1.0, 0.5]))
    np.testing.assert_allclose(jnp.linalg.det(jacobian), 1.0, rtol=1e-6)
    assert end(jnp.array([1.0, 0.5])).shape == (2,)


FORWARD = sm.nn.Stepping(rtol=1e-9, atol=1e-9, adjoint=dfx.ForwardMode())


def test_what_does_not_pair_is_refused():
    for positions, momenta, text in [
        (q, Q, "q is given twice"),
        ([q, p], sm.unknown("r"), "2 positions and 1 momenta"),
        (q, P, r"p \(2,\): declare both"),
    ]:
        with pytest.raises(sm.DeclarationError, match=text):
            sm.nn.hamiltonian(positions, momenta, energy=PENDULUM)
    for declare in (lambda: sm.nn.hamiltonian(q, p), lambda: sm.nn.lagrangian(q)):
        with pytest.raises(sm.DeclarationError, match="give key="):
            declare()
    with pytest.raises(sm.DeclarationError, match="one vector"):
        sm.nn.lagrangian([q, P], key=KEY)


def test_a_declared_lagrangian_gives_the_equations_that_sympy_derives():
    x, y = dynamicsymbols("x y")
    speed = 2 * x.diff() ** 2 + y.diff() ** 2 + 2 * sympy.cos(x - y) * x.diff() * y.diff()
    function = speed / 2 + 2 * sympy.cos(x) + sympy.cos(y)
    theirs = sm.compile(sm.System(sm.from_mechanics(LagrangesMethod(function, [x, y]))))
    a, b = sm.unknowns("a b")
    ours = function.subs({x.diff(): D(a), y.diff(): D(b)}).subs({x: a, y: b})
    module = sm.nn.Lagrangian([a, b], function=ours)
    state = jnp.array([0.4, 2.0, -0.3, 1.1])
    np.testing.assert_allclose(
        module.model.vector_field(0.0, state), theirs.vector_field(0.0, state), rtol=1e-12
    )
    np.testing.assert_allclose(
        module.energy(state[:2], state[2:]),
        (2 * 0.09 + 1.21 - 0.66 * np.cos(1.6)) / 2 - 2 * np.cos(0.4) - np.cos(2.0),
        rtol=1e-12,
    )


@pytest.mark.parametrize("scalars", [False, True])
def test_a_neural_lagrangian_obeys_the_formula_of_cranmer(scalars):
    symbols = sm.unknowns("a b") if scalars else Q
    module = sm.nn.Lagrangian(symbols, width=8, key=KEY)
    net = module.model.networks["L"]
    function = lambda y: net(y) + jnp.sum(y[2:] ** 2) / 2
    state = jnp.array([0.4, 2.0, -0.3, 1.1])
    slope, hessian = jax.grad(function)(state), jax.hessian(function)(state)
    right = slope[:2] - hessian[2:, :2] @ state[2:]
    expected = jnp.linalg.solve(hessian[2:, 2:], right)
    found = module.accelerations(state[:2], state[2:])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_energy_of_a_neural_lagrangian_is_kept():
    module = sm.nn.Lagrangian(Q, width=8, key=KEY)
    ys = module(jnp.linspace(0, 10, 20), jnp.ones(2), jnp.array([0.5, 0.0]), stepping=TIGHT)
    energies = jax.vmap(lambda y: module.energy(y[:2], y[2:]))(ys)
    np.testing.assert_allclose(energies, energies[0], rtol=1e-8)


def test_the_weights_of_an_energy_have_gradients_through_a_solve():
    module = sm.nn.Hamiltonian(q, p, width=8, key=KEY)
    times, start = jnp.linspace(0, 1, 4), jnp.array([1.0, 0.5])
    frozen = module.symplectic(0.1, max_steps=64)
    loss = lambda m: jnp.sum(m(times, start, stepping=frozen) ** 2)
    slopes = eqx.filter_grad(loss)(module)
    leaf = lambda m: m.model.networks["H"].layers[1].weight
    nudge = lambda h: eqx.tree_at(leaf, module, leaf(module).at[2, 3].add(h))
    expected = (loss(nudge(1e-5)) - loss(nudge(-1e-5))) / 2e-5
    np.testing.assert_allclose(leaf(slopes)[2, 3], expected, rtol=1e-6)


@pytest.mark.slow
def test_the_energy_of_a_pendulum_is_learned_up_to_a_constant():
    truth = sm.nn.Hamiltonian(q, p, energy=PENDULUM)
    starts = jax.random.uniform(jax.random.key(1), (256, 2), minval=-1.5, maxval=1.5)
    rates = jax.vmap(lambda y: truth.model.vector_field(0.0, y))(starts)
    module = sm.nn.Hamiltonian(q, p, width=32, key=KEY)

    def loss(module):
        found = jax.vmap(lambda y: module.model.vector_field(0.0, y))(starts)
        return jnp.mean((found - rates) ** 2)

    module, value = descend(module, loss, steps=2000)
    assert value < 1e-4
    learned, known = (jax.vmap(m.energy)(starts) for m in (module, truth))
    np.testing.assert_allclose(learned - learned[0], known - known[0], atol=0.02)
