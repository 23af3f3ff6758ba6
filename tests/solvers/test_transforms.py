"""`jit`, `vmap` and `grad` go through a solve; nothing is compiled twice."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D
from sciml.dsl import Model
from sciml.solvers import _solve

x, y = sm.unknowns("x y")
k, start = sm.parameter("k", 0.5), sm.parameter("start", 1.0)
DECAY = sm.System(sm.Eq(D(x), -k * x), initial={x: 1})
FIXED = {
    "solver": dfx.Tsit5(),
    "stepsize_controller": dfx.ConstantStepSize(),
    "dt0": 0.05,
    "saveat": [1.0],
}  # fixed steps: derivatives of the discrete solve itself


def end(rate, first, **options):
    sol = sm.solve(DECAY, t=(0, 1), values={k: rate}, initial={x: first}, **{**FIXED, **options})
    return sol[x][-1]


def test_values_and_initial_values_are_traced_arguments_of_jit_and_vmap():
    rates, firsts = jnp.array([0.1, 1.0]), jnp.array([1.0, 3.0])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(end))(rates, firsts), firsts * np.exp(-np.asarray(rates)), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("differentiate", "adjoint"),
    [
        (jax.jacrev, dfx.DirectAdjoint()),
        (jax.jacfwd, dfx.ForwardMode()),
        (jax.jacrev, dfx.BacksolveAdjoint()),
    ],
    ids=["direct", "forward", "backsolve"],
)
def test_derivatives_by_every_adjoint_are_right(differentiate, adjoint):
    function = lambda rate, first: end(rate, first, adjoint=adjoint)
    found = jax.jit(differentiate(function, argnums=(0, 1)))(0.7, 2.0)
    np.testing.assert_allclose(found, [-2 * np.exp(-0.7), np.exp(-0.7)], rtol=1e-6)


def test_the_derivative_by_the_end_of_the_interval_is_the_rate_there():
    options = {**FIXED, "saveat": dfx.SaveAt(t1=True)}
    value = lambda t1: sm.solve(DECAY, t=(0, t1), **options)[x][-1]
    np.testing.assert_allclose(jax.grad(value)(2.0), -0.5 * np.exp(-1), rtol=1e-6)


def test_a_whole_solution_is_a_pytree_that_leaves_jit():
    sol = jax.jit(lambda rate: sm.solve(DECAY, t=(0, 1), values={k: rate}, saveat=[0.5, 1.0]))(2.0)
    np.testing.assert_allclose(sol[2 * x], 2 * np.exp([-1, -2]), rtol=1e-5)
    assert float(sol[k]) == 2
    assert sol.result == dfx.RESULTS.successful


def test_gradients_reach_initial_values_that_are_expressions_of_parameters():
    system = sm.System(sm.Eq(D(x), -k * x), initial={x: start**2}, values={start: 3})
    value = lambda s: sm.solve(system, t=(0, 1), values={start: s}, **FIXED)[x][-1]
    np.testing.assert_allclose(jax.grad(value)(3.0), 6 * np.exp(-0.5), rtol=1e-6)


@pytest.fixture(scope="module")
def universal():
    """A model with a network inside, and a loss of its leaves."""
    network = eqx.nn.MLP(2, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    f = sm.neural("f", network)
    system = sm.System(
        sm.Eq(D(x), k * x - f(x, y)), sm.Eq(D(y), f(x, y) - y), initial={x: 1, y: 0.5}
    )

    def loss(model):
        sol = sm.solve(model, t=(0, 1), **{**FIXED, "saveat": [0.5, 1.0]})
        return jnp.sum(sol[x * y] ** 2)

    return sm.compile(system), eqx.filter_jit(loss)


def test_the_gradient_through_a_neural_term_equals_finite_differences(universal):
    model, loss = universal
    gradient = eqx.filter_grad(loss)(model)
    leaves, structure = jax.tree.flatten(eqx.filter(model, eqx.is_inexact_array))
    slopes = jax.tree.leaves(eqx.filter(gradient, eqx.is_inexact_array))
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    direction = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]

    def along(h):
        moved = [leaf + h * d for leaf, d in zip(leaves, direction, strict=True)]
        return float(loss(eqx.combine(jax.tree.unflatten(structure, moved), static)))

    h = 1e-3  # central differences of fourth order
    difference = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    total = sum(float(jnp.sum(s * d)) for s, d in zip(slopes, direction, strict=True))
    np.testing.assert_allclose(total, difference, rtol=1e-6)
    assert all(np.any(np.asarray(s) != 0) for s in slopes)  # no gradient is silently zero


def test_a_solution_with_a_network_leaves_filter_jit_and_filter_vmap(universal):
    model, _ = universal
    solve = lambda rate: sm.solve(model, t=(0, 1), values={k: rate}, saveat=[1.0])
    batch = eqx.filter_vmap(solve)(jnp.array([0.1, 0.2]))
    alone = eqx.filter_jit(solve)(0.2)
    np.testing.assert_allclose(batch[x + y][1], alone[x + y], rtol=1e-10)
    assert batch["x"].shape == (2, 1)


@pytest.fixture
def traces(monkeypatch):
    """Counts how often the inner solve is traced."""
    count = []
    state = Model.state

    def counted(self):
        count.append(1)
        return state(self)

    monkeypatch.setattr(_solve.Model, "state", counted)
    return count


def test_nothing_is_compiled_again_for_other_numbers(traces):
    system = sm.System(sm.Eq(D(x), -k * x + x**2 / 9), initial={x: 1})

    def solve(**options):
        return sm.solve(system, **{"t": (0, 1), "saveat": [0.5, 1.0], "dt0": 0.1, **options})

    solve()
    assert len(traces) == 1
    solve(values={k: 0.7})
    solve(initial={x: 0.5})
    solve(t=(0.25, 7))
    solve(saveat=[0.1, 0.2])
    solve(dt0=0.2)
    solve(values={k: jnp.asarray(0.9)}, initial={"x": jnp.asarray(2.0)})
    assert len(traces) == 1


def test_an_equal_system_declared_anew_compiles_nothing_again(traces):
    def declare():
        v, rate = sm.unknown("v"), sm.parameter("rate", 2.0)
        return sm.System(sm.Eq(D(v), -rate * v - v**3), initial={v: 1})

    sm.solve(declare(), t=(0, 1), saveat=[1.0])
    sm.solve(declare(), t=(0, 1), saveat=[1.0])
    assert len(traces) == 1
