"""What can be declared: symbols, equations in any form, arrays, terms, and systems of them."""

import dataclasses
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.interpolate
import sympy

import sciml as sm
from sciml import D, t

x, y, z = sm.unknowns("x y z")
a, b, c = sm.parameters("a b c")


def rates(system, state, time=0.0, **options):
    return sm.compile(system, **options).vector_field(time, jnp.asarray(state, float))


# -- symbols ---------------------------------------------------------------------------------------


def test_symbols_carry_what_was_declared_of_them():
    u = sm.unknown("u", shape=(2, 3), unit="m", bounds=(0, None), guess=1.0, description="depth")
    assert (u.shape, u.unit, u.bounds, u.description) == ((2, 3), "m", (0.0, np.inf), "depth")
    k = sm.parameter("k", 0.3, unit="1/s", bounds=(0, 1), description="decay")
    assert (k.value, k.unit, k.bounds, k.shape) == (0.3, "1/s", (0.0, 1.0), ())
    assert sm.parameter("m", [1.0, 2.0]).shape == (2,)
    assert sm.parameters("p, q r") == (sm.parameter("p"), sm.parameter("q"), sm.parameter("r"))


@pytest.mark.parametrize(
    "thing",
    [
        x,
        a,
        sm.unknown("u", shape=3, unit="m", bounds=(0, 1)),
        sm.parameter("m", [1.0, 2.0], unit="kg", description="masses"),
        D(x, 2),
        sm.Eq(D(x), a * x),
        sm.System(sm.Eq(D(x), a * x), initial={x: 1}, values={a: 2}, observed={z: x**2}, name="n"),
    ],
)
def test_everything_declared_pickles(thing):
    again = pickle.loads(pickle.dumps(thing))
    assert type(again) is type(thing) or type(again).__name__ == type(thing).__name__
    assert str(again) == str(thing)
    if isinstance(thing, sympy.Basic):
        assert again == thing
        assert hash(again) == hash(thing)


def test_D_is_the_rate_of_expressions_of_any_order():
    assert D(x**2) == 2 * x * D(x)
    assert D(x, 2) == D(D(x)) == D(x, t, t)
    assert D(x, 0) == x
    assert D(sympy.sin(x) * y) == sympy.cos(x) * D(x) * y + sympy.sin(x) * D(y)


# -- equations in any form -------------------------------------------------------------------------

FORMS = {
    "rate on the right": (sm.Eq(-x, D(x)), [3.0], [-3.0]),
    "residual": (sm.Eq(D(x) + 2 * x), [3.0], [-6.0]),
    "rate on both sides": (sm.Eq(2 * D(x) - x, D(x) + x), [3.0], [6.0]),
    "coefficient": (sm.Eq((1 + x**2) * D(x), x), [3.0], [0.3]),
    "rate of an expression": (sm.Eq(D(x**2), x), [3.0], [0.5]),
    "second order": (sm.Eq(D(x, 2) + x, -D(x)), [3.0, 5.0], [5.0, -8.0]),
    "third order": (sm.Eq(D(x, 3), D(x, 2) * x), [1.0, 2.0, 3.0], [2.0, 3.0, 3.0]),
    "sympy's own equation": (sympy.Eq(D(x), -x), [3.0], [-3.0]),
    "factored": (sm.Eq(a * (D(x) - x), b * x), [2.0], [3.0]),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_equation_in_any_form_is_brought_to_first_order(form):
    equation, state, expected = FORMS[form]
    system = sm.System(equation, values={a: 2, b: 1} if form == "factored" else {})
    np.testing.assert_allclose(rates(system, state), expected, rtol=1e-14)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_coupled_highest_derivatives_are_solved_for(size):
    rng = np.random.default_rng(size)
    mass = rng.normal(size=(size, size)) + 3 * np.eye(size)
    force = rng.normal(size=size)
    q = sm.unknowns([f"q{i}" for i in range(size)])
    system = sm.System(
        [
            sm.Eq(sum(mass[i, j] * D(q[j], 2) for j in range(size)), force[i] - q[i])
            for i in range(size)
        ],
        initial=dict.fromkeys((*q, *map(D, q)), 0),
    )
    state = rng.normal(size=2 * size)
    expected = np.linalg.solve(mass, force - state[:size])
    found = rates(system, state)
    np.testing.assert_allclose(found[:size], state[size:], rtol=1e-14)
    np.testing.assert_allclose(found[size:], expected, rtol=1e-12)


def test_mass_matrices_that_depend_on_the_state_are_solved_at_each_step():
    system = sm.System(
        sm.Eq(D(x, 2) + sympy.cos(x - y) * D(y, 2), -x),
        sm.Eq(sympy.cos(x - y) * D(x, 2) + 3 * D(y, 2), -y),
        initial={x: 0, y: 0, D(x): 0, D(y): 0},
    )
    state = np.array([0.4, -0.3, 0.1, 0.2])
    cosine = np.cos(0.7)
    expected = np.linalg.solve([[1, cosine], [cosine, 3]], [-0.4, 0.3])
    np.testing.assert_allclose(rates(system, state), [0.1, 0.2, *expected], rtol=1e-13)


def test_algebraic_definitions_are_substituted():
    system = sm.System(sm.Eq(D(x), -z), sm.Eq(z, y + x**2), sm.Eq(y, 2 * x), initial={x: 1})
    model = sm.compile(system)
    assert [s.name for s in model.states] == ["x"]
    np.testing.assert_allclose(model.vector_field(0.0, jnp.array([3.0])), [-15.0])
    assert float(model.evaluate(z, 0.0, jnp.array([3.0]))) == 15.0


# -- arrays ----------------------------------------------------------------------------------------


def test_array_operators_are_those_of_numpy():
    u, v = sm.unknown("u", shape=(3, 4)), sm.unknown("v", shape=4)
    matrix = np.arange(12.0).reshape(3, 4)
    system = sm.System(
        sm.Eq(D(u), matrix * v - sm.roll(u, 1, axis=1) + sm.total(u, axis=0) / u[0]),
        sm.Eq(D(v), matrix.T @ u[:, 1] + sm.concatenate([v[2:], v[:2]]) * sm.mean(u) - v[::-1]),
        initial={u: 1, v: 1},
    )
    rng = np.random.default_rng(0)
    U, V = rng.uniform(1, 2, (3, 4)), rng.uniform(1, 2, 4)
    found = rates(system, np.concatenate([U.ravel(), V]))
    first = matrix * V - np.roll(U, 1, axis=1) + U.sum(0) / U[0]
    second = matrix.T @ U[:, 1] + np.concatenate([V[2:], V[:2]]) * U.mean() - V[::-1]
    np.testing.assert_allclose(found, np.concatenate([first.ravel(), second]), rtol=1e-13)


def test_array_equations_of_second_order_and_with_a_mass_matrix():
    u = sm.unknown("u", shape=3)
    mass = np.array([[2.0, 1, 0], [1, 3, 1], [0, 1, 4]])
    system = sm.System(sm.Eq(sm.matmul(mass, D(u, 2)), -u), initial={u: 1, D(u): 0})
    state = np.array([1.0, 2, 3, 4, 5, 6])
    expected = np.concatenate([state[3:], np.linalg.solve(mass, -state[:3])])
    np.testing.assert_allclose(rates(system, state), expected, rtol=1e-13)


def test_elements_and_arrays_mix():
    u = sm.unknown("u", shape=2)
    system = sm.System(sm.Eq(D(u), sm.stack([x, -u[0]])), sm.Eq(D(x), u[1] * a), values={a: 2})
    found = rates(system, [1.0, 2.0, 5.0])
    np.testing.assert_allclose(found, [5.0, -1.0, 4.0])


# -- terms -----------------------------------------------------------------------------------------


def test_networks_are_called_with_several_arguments_and_have_several_outputs():
    net = eqx.nn.MLP(3, 2, 5, 1, key=jax.random.key(0))
    f = sm.neural("f", net)
    u, v = f(x, y, t)
    system = sm.System(sm.Eq(D(x), u), sm.Eq(D(y), v * x), initial={x: 1, y: 1})
    expected = net(jnp.array([0.3, 0.7, 2.0]))
    found = rates(system, [0.3, 0.7], time=2.0)
    np.testing.assert_allclose(found, [expected[0], expected[1] * 0.3], rtol=1e-14)


def test_a_network_of_one_scalar_takes_arrays_element_by_element():
    net = eqx.nn.MLP("scalar", "scalar", 5, 1, key=jax.random.key(0))
    u = sm.unknown("u", shape=4)
    with pytest.raises(sm.ShapeError, match="takes 1 input, not 4; .* pointwise=True"):
        sm.neural("g", net)(u)
    system = sm.System(sm.Eq(D(u), sm.neural("g", net, pointwise=True)(u)), initial={u: 1})
    state = jnp.linspace(-1, 1, 4)
    np.testing.assert_allclose(rates(system, state), jax.vmap(net)(state), rtol=1e-14)


def test_callables_and_tables_are_forcing_terms():
    times, values = np.linspace(0, 5, 30), np.sin(np.linspace(0, 5, 30))
    curve = sm.forcing("curve", times, values, kind="cubic")
    line = sm.forcing("line", times, values)
    push = sm.forcing("push", lambda s: jnp.exp(-s))
    system = sm.System(sm.Eq(D(x), curve(t) + 10 * line(t) + 100 * push(t)), initial={x: 0})
    cubic = scipy.interpolate.CubicSpline(times, values, bc_type="natural")
    for time in (0.0, 1.234, 4.99):
        expected = cubic(time) + 10 * np.interp(time, times, values) + 100 * np.exp(-time)
        np.testing.assert_allclose(rates(system, [0.0], time=time), [expected], rtol=1e-12)


# -- systems ---------------------------------------------------------------------------------------

DECAY = sm.System(sm.Eq(D(x), -a * x), initial={x: 1}, values={a: 2}, observed={z: x / 2})


def test_a_system_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DECAY.name = "other"
    with pytest.raises(TypeError):
        DECAY.values[a] = 3


def test_replace_merges_by_name_and_leaves_the_old_system():
    new = DECAY.replace(values={"a": 3}, initial={x: 5}, name="n")
    assert {str(k): v for k, v in new.values.items()} == {"a": 3}
    assert new.initial == {x: 5}
    assert new.observed == DECAY.observed
    assert DECAY.values == {a: 2}
    with pytest.raises(sm.DeclarationError, match="a System has no field 'value'"):
        DECAY.replace(value={a: 3})


def test_systems_are_added():
    other = sm.System(sm.Eq(D(y), x - b * y), initial={y: 0}, values={b: 1, a: 2}, name="pool")
    both = DECAY + other
    assert [str(e) for e in both.equations] == ["D(x) = -a*x", "D(y) = -b*y + x"]
    np.testing.assert_allclose(rates(both, [3.0, 1.0]), [-6.0, 2.0])
    with pytest.raises(sm.DeclarationError, match="both systems give a in values, one as 2 and"):
        DECAY + other.replace(values={a: 7})


def test_values_may_depend_on_parameters_and_initial_values_too():
    system = sm.System(
        sm.Eq(D(x), -b * x),
        initial={x: a + b},
        values={a: 2, b: 3 * c, c: a / 4},
    )
    model = sm.compile(system)
    assert list(model.parameters) == ["a"]
    np.testing.assert_allclose(model.state(), [3.5])
    np.testing.assert_allclose(model.replace(values={a: 4.0}).state(), [7.0])
    slope = jax.grad(lambda v: model.replace(values={a: v}).vector_field(0.0, jnp.ones(1))[0])
    np.testing.assert_allclose(slope(2.0), -0.75)


def test_symbols_of_sympy_may_be_parameters_if_they_have_a_value():
    k = sympy.Symbol("k")
    np.testing.assert_allclose(rates(sm.System(sm.Eq(D(x), k * x), values={k: 3}), [2.0]), [6.0])


def test_equations_remember_the_line_where_they_were_written():
    equation = sm.Eq(D(x), x)
    assert str(equation.origin).startswith("tests/dsl/test_language.py:")
    assert sm.System(equation).origin.line == equation.origin.line + 2


def test_terminal_text_is_aligned():
    k = sm.parameter("rate", 0.5, unit="1/s", description="decay")
    shown = str(sm.System(sm.Eq(D(x, 2), -k * x), initial={x: 1, D(x): 0}, name="spring"))
    assert shown.splitlines()[:2] == ["System spring", "  D(x, 2) = -rate*x"]
    table = [line.split() for line in shown.splitlines()[3:]]
    assert table[0] == ["symbol", "kind", "value", "unit", "description"]
    assert table[-1] == ["rate", "parameter", "0.5", "1/s", "decay"]
    starts = {line.index(w) for line in shown.splitlines()[4:] for w in ("unknown", "parameter")
              if w in line}  # fmt: skip
    assert len(starts) == 1


def test_data_frames_of_values_are_no_values():
    with pytest.raises(sm.SciMLError):
        sm.compile(DECAY.replace(values={a: pd.DataFrame({"a": [1, 2]})}))
