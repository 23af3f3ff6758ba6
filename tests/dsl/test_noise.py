"""Noise found from the symbols, and the two calculuses."""

import functools
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, settings, strategies as st

import sciml as sm
from sciml import D
from sciml.dsl._noise import find_noise, white

x, y, z = sm.unknowns("x y z")
u = sm.unknown("u", shape=3)
W, V = sm.brownian("W"), sm.brownian("V")
Z = sm.brownian("Z", shape=3)
a = sm.parameter("a", 0.3)
F = sm.neural("F", eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0)))

KINDS = {
    "additive": [sm.Eq(D(x), -x + a * sympy.sin(sm.t) * D(W)), sm.Eq(D(y), x + D(W) - 2 * D(V))],
    "scalar": [sm.Eq(D(x), y * D(W)), sm.Eq(D(y), x * y * D(W))],
    "diagonal": [sm.Eq(D(x), x * D(W)), sm.Eq(D(y), sympy.cos(y) * D(V))],
    "commutative": [sm.Eq(D(x), x * D(W) + x * D(V)), sm.Eq(D(y), 2 * y * D(W) - y * D(V))],
    "general": [sm.Eq(D(x), y * D(W)), sm.Eq(D(y), x * D(V))],
    "diagonal ": [sm.Eq(D(u), u**2 * D(Z))],
    "additive ": [sm.Eq(D(u), sm.matmul(np.eye(3), D(Z)) - u)],
    "general ": [sm.Eq(D(u), sm.total(u) * D(Z))],
    "scalar ": [sm.Eq(D(u), u * D(W))],
    "general  ": [sm.Eq(D(x), F(x, y) * D(W)), sm.Eq(D(y), y * D(V))],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_noise_is_found_from_the_symbols(kind):
    assert find_noise(sm.simplify(sm.System(KINDS[kind]))).kind == kind.strip()


def test_noise_enters_through_definitions_and_other_equations():
    system = sm.System(
        sm.Eq(D(x) - D(y), x),
        sm.Eq(2 * D(y), z * D(W) - y),
        sm.Eq(z, x**2),
        initial={x: 1, y: 2},
    )
    matrix = sm.compile(system).diffusion(0.0, jnp.array([3.0, 2.0]))
    np.testing.assert_allclose(matrix, [[4.5], [4.5]])
    drift = sm.compile(system).vector_field(0.0, jnp.array([3.0, 2.0]))
    np.testing.assert_allclose(drift, [3 - 1, -1])


def test_noise_acts_on_the_highest_rate_of_a_second_order_equation():
    system = sm.System(sm.Eq(D(x, 2), -x + a * D(W)), initial={x: 1, D(x): 0})
    np.testing.assert_allclose(sm.compile(system).diffusion(0.0, jnp.zeros(2)), [[0.0], [0.3]])


COEFFICIENTS = [x, y, x * y, x**2, sympy.sin(x), sympy.exp(-y), 1 + y**2, a * x, sympy.cos(x * y)]


@given(st.lists(st.sampled_from(range(len(COEFFICIENTS))), min_size=6, max_size=6))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_ito_to_stratonovich_and_back_is_the_identity(chosen):
    f, g, *noise = (COEFFICIENTS[i] for i in chosen)
    system = sm.System(
        sm.Eq(D(x), f + noise[0] * D(W) + noise[1] * D(V)),
        sm.Eq(D(y), g + noise[2] * D(W) + noise[3] * D(V)),
    )
    back = sm.to_ito(sm.to_stratonovich(system))
    for one, other in zip(system.equations, back.equations, strict=True):
        assert one.lhs == other.lhs
        assert sympy.simplify(one.rhs - other.rhs) == 0


def test_the_conversion_is_that_of_the_textbook():
    system = sm.System(sm.Eq(D(x), x + sympy.sin(x) * D(W)))
    (equation,) = sm.to_stratonovich(system).equations
    expected = x - sympy.sin(x) * sympy.cos(x) / 2 + sympy.sin(x) * D(W)
    assert sympy.simplify(equation.rhs - expected) == 0
    (equation,) = sm.to_stratonovich(sm.System(sm.Eq(D(u), u**2 * D(Z)))).equations
    assert equation.rhs == u**2 * D(Z) - u**3


def test_networks_in_the_noise_cannot_be_converted_and_say_so():
    system = sm.System(sm.Eq(D(x), F(x, y) * D(W)), sm.Eq(D(y), -y))
    with pytest.raises(sm.ModelError, match="cannot be differentiated symbolically"):
        sm.to_stratonovich(system)


def test_change_of_variables_is_itos_formula():
    logistic = sm.System(sm.Eq(D(x), x * (1 - x) + a * x * (1 - x) * D(W)), initial={x: 0.25})
    sigmoid = 1 / (1 + sympy.exp(-y))
    changed = sm.change_variables(logistic, {x: sigmoid})
    (equation,) = changed.equations
    p = sympy.Symbol("p")
    expected = 1 + a * D(W) - a**2 * (1 - 2 * p) / 2
    difference = equation.rhs - expected.subs(p, sigmoid)
    assert sympy.simplify(difference) == 0
    assert float(changed.initial[y]) == pytest.approx(np.log(0.25 / 0.75))
    assert changed.observed == {x: sigmoid}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({x: sympy.exp(x)}, "give it as a function of one new unknown"),
        ({z: sympy.exp(y)}, "z is no unknown of this system"),
        ({x: -sympy.exp(y)}, "does not take the initial value 1"),
    ],
)
def test_changes_that_are_none_are_refused(variables, message):
    system = sm.System(sm.Eq(D(x), x * D(W)), initial={x: 1})
    with pytest.raises(sm.DeclarationError, match=message):
        sm.change_variables(system, variables)


@pytest.mark.parametrize(
    "matrix", [[[1, 2], [2, 1]], [[1, 0.5], [0.4, 1]], [[2, 0], [0, 1]], [[1, 0.5]]]
)
def test_what_is_no_correlation_is_refused(matrix):
    with pytest.raises(sm.DeclarationError, match="symmetric positive definite"):
        sm.brownian("W", correlation=matrix)


def test_drivers_pickle_and_print():
    for driver in (W, Z, sm.control("X", channels=2), sm.brownian("C", correlation=np.eye(2))):
        assert pickle.loads(pickle.dumps(driver)) == driver
    system = sm.System(sm.Eq(D(x), -x + a * D(W)), name="noisy")
    assert "D(x) = a*D(W) - x" in str(system)
    assert r"\dot{W}" in system._repr_latex_()


def test_systems_of_different_calculus_do_not_add():
    one = sm.System(sm.Eq(D(x), D(W)))
    other = sm.System(sm.Eq(D(y), D(V)), calculus="stratonovich")
    with pytest.raises(sm.DeclarationError, match="bring both to one calculus"):
        functools.reduce(lambda s, t: s + t, [one, other])
    assert white(W) == D(W)
