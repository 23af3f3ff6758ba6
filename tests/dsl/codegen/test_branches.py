"""Branches that are not taken have no say, neither in values nor in derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Max, Min, Piecewise

import sciml as sm
from sciml import D

x = sm.unknown("x")
p = sm.parameter("p", 0.0)

# expression, point, value and derivative there
CASES = [
    (Piecewise((sympy.sqrt(x), x > 0), (0, True)), -1.0, 0.0, 0.0),
    (Piecewise((sympy.sqrt(x), x > 0), (0, True)), 0.0, 0.0, 0.0),
    (Piecewise((sympy.sqrt(x), x > 0), (0, True)), 4.0, 2.0, 0.25),
    (Piecewise((sympy.log(x), x > 0), (-x, True)), -2.0, 2.0, -1.0),
    (Piecewise((1 / x, sympy.Ne(x, 0)), (3, True)), 0.0, 3.0, 0.0),
    (Piecewise((sympy.sin(x) / x, sympy.Ne(x, 0)), (1, True)), 0.0, 1.0, 0.0),
    (Piecewise((x ** sympy.Rational(3, 2) / (1 - x), x > 1), (x, True)), 1.0, 1.0, 1.0),
    (Piecewise((sympy.acosh(x), x > 1), (x**2, True)), 0.5, 0.25, 1.0),
    (Piecewise((sympy.asin(x), sympy.Abs(x) < 1), (x, True)), 3.0, 3.0, 1.0),
    (Piecewise((sympy.exp(x), x < 10), (x, True)), 1000.0, 1000.0, 1.0),
    (Piecewise((sympy.gamma(x), x > 0), (1, True)), -2.0, 1.0, 0.0),
    (Piecewise((Piecewise((sympy.log(x), x > 1), (1 / x, True)), x > 0), (7, True)), 0.0, 7.0, 0.0),
    (Piecewise((x, x < 1), (x**2, (x >= 1) & (x < 2)), (4, True)), 1.5, 2.25, 3.0),
    (Piecewise((x, (x < -1) | (x > 1)), (sympy.sqrt(1 - x**2), True)), 2.0, 2.0, 1.0),
    (sympy.sqrt(Max(x, 0)), -1.0, 0.0, 0.0),
    (sympy.sqrt(Max(x, 0)), 0.0, 0.0, 0.0),
    (sympy.log(Max(x, 1)), 0.3, 0.0, 0.0),
    (Max(x, 0) ** sympy.Float(1.5), -2.0, 0.0, 0.0),
    (1 / Min(x, -1), 5.0, -1.0, 0.0),
    (sympy.sqrt(x**2 + 0), 2.0, 2.0, 1.0),
    (x**2 * p, 3.0, 0.0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "point", "value", "slope"), CASES)
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_value_and_derivative_are_those_of_the_branch_taken(mode, expression, point, value, slope):
    model = sm.compile(sm.System(sm.Eq(D(x), expression), initial={x: point}))

    def rate(y):
        return model.vector_field(0.0, y)[0]

    found = jax.jit(lambda y: (rate(y), mode(rate)(y)))(jnp.array([point]))
    np.testing.assert_allclose(found[0], value, rtol=1e-14)
    np.testing.assert_allclose(found[1], [slope], rtol=1e-14)


def test_derivatives_by_parameters_are_finite_on_branches_not_taken():
    system = sm.System(
        sm.Eq(D(x), Piecewise((sympy.sqrt(p - 1) / p + sympy.log(p), p > 1), (p * x, True))),
        initial={x: 2.0},
    )
    model = sm.compile(system)

    def rate(value):
        return model.replace(values={p: value}).vector_field(0.0, model.initial)[0]

    np.testing.assert_allclose(jax.grad(rate)(0.0), 2.0)
    np.testing.assert_allclose(jax.grad(rate)(1.0), 2.0)


def test_elements_of_an_array_take_their_own_branches():
    u = sm.unknown("u", shape=4)
    system = sm.System(sm.Eq(D(u), Piecewise((sympy.sqrt(u), u > 0), (-u, True))), initial={u: 1})
    model = sm.compile(system)
    y = jnp.array([-1.0, 0.0, 4.0, 9.0])
    np.testing.assert_allclose(model.vector_field(0.0, y), [1.0, 0.0, 2.0, 3.0])
    slopes = jax.jacfwd(lambda y: model.vector_field(0.0, y))(y)
    np.testing.assert_allclose(slopes, np.diag([-1.0, -1.0, 0.25, 1 / 6]))


def test_whole_powers_of_negative_numbers_stay_whole():
    for power in (2, 3, 5, 12, -1, -3):
        model = sm.compile(sm.System(sm.Eq(D(x), x**power), initial={x: 1}))
        y = jnp.array([-1.7])
        np.testing.assert_allclose(model.vector_field(0.0, y), [(-1.7) ** power], rtol=1e-14)
        assert "jnp.power" not in model.source
        slope = jax.grad(lambda y, m=model: m.vector_field(0.0, y)[0])(y)
        np.testing.assert_allclose(slope, [power * (-1.7) ** (power - 1)], rtol=1e-14)
