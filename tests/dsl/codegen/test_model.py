"""The compiled model: its leaves, its source, its types, and what is compiled again."""

import inspect
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from benchmarks import cost, counting, graph_size
from sciml import D, t

x, y, z = sm.unknowns("x y z")
a, b = sm.parameters("a b")
NET = eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0))


def declare(net=NET, start=1.0):
    f = sm.neural("f", net)(x, y)
    return sm.System(
        sm.Eq(D(x), a * x - f[0]),
        sm.Eq(D(y), b * sympy.sin(x * y) + f[1]),
        initial={x: start, y: 2 * a},
        values={a: 0.5, b: 0.25},
        observed={z: x * y, "energy": x**2 + z},
    )


def test_leaves_are_parameters_initial_values_and_networks():
    model = sm.compile(declare())
    assert {k: float(v) for k, v in model.parameters.items()} == {"a": 0.5, "b": 0.25}
    np.testing.assert_array_equal(model.state(), [1.0, 1.0])
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(model)]
    assert paths[:3] == [".parameters['a']", ".parameters['b']", ".initial"]
    assert all(path.startswith(".networks['f']") for path in paths[3:])


def test_the_vector_field_is_the_equations():
    model = sm.compile(declare())
    state = jnp.array([0.3, -0.7])
    f = NET(state)
    expected = [0.5 * 0.3 - f[0], 0.25 * np.sin(-0.21) + f[1]]
    np.testing.assert_allclose(model.vector_field(0.0, state, None), expected, rtol=1e-14)
    observed = model.observed(0.0, state)
    np.testing.assert_allclose(observed["z"], -0.21, rtol=1e-14)
    np.testing.assert_allclose(observed["energy"], 0.09 - 0.21, rtol=1e-14)


def test_gradients_reach_every_leaf():
    model = sm.compile(declare())
    state = jnp.array([0.3, -0.7])
    loss = eqx.filter_grad(lambda m: jnp.sum(m.vector_field(0.0, state) ** 2))
    leaves = jax.tree.leaves(eqx.filter(loss(model), eqx.is_inexact_array))
    zero = [leaf for leaf in leaves if not np.any(leaf)]
    assert len(zero) == 1  # the initial state alone
    assert zero[0].shape == (2,)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_everything_has_the_type_that_was_asked_for(dtype):
    model = sm.compile(declare(), dtype=dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array))} == {
        jnp.dtype(dtype)
    }
    made = jax.make_jaxpr(lambda y: model.vector_field(0.3, y))(model.state())
    assert {v.aval.dtype for e in made.jaxpr.eqns for v in e.outvars} <= {
        jnp.dtype(dtype), jnp.dtype(bool), jnp.dtype(jnp.int32), jnp.dtype(jnp.int64)
    }  # fmt: skip
    assert model.observed(0.0, model.state())["energy"].dtype == dtype


def test_numbers_are_written_with_all_their_digits():
    numbers = [0.1, 1 / 3, 6.02214076e23, 4.44e11, 1e-300, 2 / 7]
    system = sm.System(
        [sm.Eq(D(u), n * u) for n, u in zip(numbers, sm.unknowns("u0 u1 u2 u3 u4 u5"), strict=True)]
    )
    model = sm.compile(system)
    np.testing.assert_array_equal(model.vector_field(0.0, jnp.ones(6)), numbers)


def test_source_is_readable_python_that_names_the_users_symbols():
    source = sm.compile(declare()).source
    compile(source, "source", "exec")
    for piece in ("x = state[0]", "y = state[1]", "p['a']", "p['b']", "jnp.sin("):
        assert piece in source
    assert source.count("x*y") == 1
    assert inspect.cleandoc(source).count("jnp.sin") == 1


def test_what_equations_and_observed_quantities_share_is_computed_once():
    shared = sympy.tanh(sympy.sin(x * y))
    system = sm.System(sm.Eq(D(x), shared * x), sm.Eq(D(y), y / shared), observed={z: shared})
    assert sm.compile(system).source.count("jnp.tanh") == 1


def test_parameters_alone_are_computed_once_and_not_at_every_step():
    system = sm.System(sm.Eq(D(x), sympy.exp(a / b) * x), values={a: 1, b: 2}, initial={x: 1})
    model = sm.compile(system)
    constants = model.constants()
    made = jax.make_jaxpr(lambda y, c: model.vector_field(0.0, y, c))(model.state(), constants)
    assert "exp" not in str(made)


def test_compiling_twice_and_other_values_compile_nothing_again():
    traced = []

    @eqx.filter_jit
    def rate(model):
        traced.append(1)
        return model.vector_field(0.0, model.state())

    system = declare()
    first = rate(sm.compile(system))
    rate(sm.compile(system))
    rate(sm.compile(declare(start=3.0)))  # declared anew
    other = rate(sm.compile(system.replace(values={a: 0.9}, initial={x: 2.0})))
    rate(sm.compile(declare(eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(9)))))
    assert len(traced) == 1
    assert not np.allclose(first, other)


def test_models_are_pytrees_that_pickle():
    model = sm.compile(declare(eqx.nn.Linear(2, 2, key=jax.random.key(3))))
    again = pickle.loads(pickle.dumps(model))
    state = jnp.array([0.2, 0.4])
    np.testing.assert_array_equal(again.vector_field(0.0, state), model.vector_field(0.0, state))
    assert jax.tree.structure(again) == jax.tree.structure(model)


def test_replace_takes_symbols_names_and_traced_values():
    model = sm.compile(declare())
    new = model.replace(values={"a": 2.0}, initial={x: 4.0})
    np.testing.assert_array_equal(new.state(), [4.0, 4.0])  # y starts at 2 a
    slope = jax.grad(lambda v: model.replace(values={a: v}).vector_field(0.0, jnp.ones(2))[0])(1.0)
    assert slope == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"c": 1.0}}, "c is no parameter of this model; it has a, b"),
        ({"values": {x: 1.0}}, "x is an unknown, and values are of parameters"),
        ({"initial": {a: 1.0}}, "a is a parameter: give it in values"),
        ({"initial": {"w": 1.0}}, "w is no unknown of this model; it has x, y"),
        ({"initial": {y: 1.0}}, r"the initial value of y is an expression of the system, 2\*a"),
        ({"networks": {"g": NET}}, "g is no network of this model; it has f"),
        ({"values": {a: [1.0, 2.0]}}, r"a was declared with shape \(\); .* by jax.vmap"),
        ({"values": {a: "much"}}, "a is given 'much', which is no number"),
    ],
)
def test_replacements_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(sm.DeclarationError, match=message):
        sm.compile(declare()).replace(**changes)


def test_time_is_a_symbol_like_any_other():
    model = sm.compile(sm.System(sm.Eq(D(x), t**2 - x), initial={x: 1}))
    np.testing.assert_allclose(model.vector_field(3.0, jnp.array([4.0])), [5.0])


def test_the_graph_of_an_array_model_does_not_grow_with_its_length():
    assert graph_size.equations(10) == graph_size.equations(1_000_000)


@pytest.mark.parametrize("name", cost.CASES)
def test_the_generated_field_and_step_have_no_more_operations_than_those_by_hand(name):
    made, by_hand = cost.operations(name)
    assert made <= by_hand
    made, by_hand = cost.step_instructions(name)
    assert made <= by_hand


def test_many_like_equations_become_few_operations():
    def operations(size):
        u = sm.unknowns([f"u{i}" for i in range(size)])
        rates = [0.1 * i * u[i] * u[(i + 1) % size] - u[i - 1] / (2 + i) for i in range(size)]
        model = sm.compile(sm.System([sm.Eq(D(v), rate) for v, rate in zip(u, rates, strict=True)]))
        return counting.equations(lambda s: model.vector_field(0.0, s), jnp.ones(size))

    assert operations(100) == operations(1000) < 40
