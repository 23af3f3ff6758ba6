"""Every function of sympy that is taken, with its derivative, against mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy
from sympy import Abs, Max, Min, Mod, Piecewise, Rational

import sciml as sm
from sciml import D

x = sm.unknown("x")
ALL, POSITIVE, UNIT, ABOVE_ONE = (-2.3, 2.6), (0.2, 3.1), (-0.9, 0.9), (1.1, 4.0)
FUNCTIONS = {
    sympy.sin(x): ALL, sympy.cos(x): ALL, sympy.tan(x): (-1.2, 1.3), sympy.cot(x): (0.3, 2.8),
    sympy.sec(x): (-1.2, 1.3), sympy.csc(x): (0.3, 2.8), sympy.sinc(x): (-0.3, 7.0),
    sympy.asin(x): UNIT, sympy.acos(x): UNIT, sympy.atan(x): ALL, sympy.acot(x): POSITIVE,
    sympy.asec(x): ABOVE_ONE, sympy.acsc(x): ABOVE_ONE, sympy.atan2(x, 0.7): ALL,
    sympy.sinh(x): ALL, sympy.cosh(x): ALL, sympy.tanh(x): ALL, sympy.coth(x): POSITIVE,
    sympy.sech(x): ALL, sympy.csch(x): POSITIVE,
    sympy.asinh(x): ALL, sympy.acosh(x): ABOVE_ONE, sympy.atanh(x): UNIT,
    sympy.acoth(x): ABOVE_ONE, sympy.asech(x): (0.1, 0.9), sympy.acsch(x): POSITIVE,
    sympy.exp(x): ALL, sympy.log(x): POSITIVE, sympy.log(x, 10): POSITIVE,
    sympy.sqrt(x): POSITIVE, sympy.cbrt(x): POSITIVE, x ** Rational(5, 3): POSITIVE,
    x**3: ALL, x**-2: POSITIVE, x**2.5: POSITIVE, 2**x: ALL, x**x: POSITIVE,
    Abs(x): ALL, sympy.sign(x) * x: ALL, sympy.floor(x) + x: ALL, sympy.ceiling(x) + x: ALL,
    sympy.frac(x): ALL, Mod(x, 2): ALL, sympy.Heaviside(x - 0.1) * x: ALL,
    Max(x, 0.3): ALL, Min(x, 0.3, x**2): ALL, Piecewise((x**2, x < 0.1), (x, True)): ALL,
    sympy.erf(x): ALL, sympy.erfc(x): ALL, sympy.erfinv(x): UNIT, sympy.erfcinv(x): (0.1, 1.8),
    sympy.gamma(x): POSITIVE, sympy.loggamma(x): POSITIVE, sympy.digamma(x): POSITIVE,
    sympy.polygamma(2, x): POSITIVE, sympy.beta(x, 1.7): POSITIVE, sympy.factorial(x): POSITIVE,
    sympy.binomial(x, 2): ABOVE_ONE, sympy.harmonic(x): POSITIVE, sympy.zeta(x): ABOVE_ONE,
    sympy.uppergamma(1.4, x): POSITIVE, sympy.lowergamma(1.4, x): POSITIVE,
    sympy.Ei(x): POSITIVE, sympy.expint(1, x): POSITIVE,
    sympy.besselj(0, x): (-60.0, 60.0), sympy.besselj(1, x): (-60.0, 60.0),
    sympy.besselj(7, x): (-60.0, 60.0), sympy.besseli(0, x): ALL, sympy.besseli(1, x): ALL,
}  # fmt: skip
# A rate whose derivative sympy's own mpmath printer cannot write
BY_HAND = {
    sympy.frac(x): lambda z: z - mpmath.floor(z),
    sympy.sinc(x): lambda z: mpmath.sinc(z),
    sympy.erfcinv(x): lambda z: mpmath.erfinv(1 - z),
    sympy.expint(1, x): lambda z: mpmath.e1(z),
    sympy.acot(x): lambda z: mpmath.atan(1 / z),
}


def exact(expression, point):
    """Value and derivative by mpmath in 30 digits."""
    function = BY_HAND.get(expression)
    if function is None:
        symbol = sympy.Symbol("z")
        function = sympy.lambdify(symbol, expression.subs(x, symbol), modules="mpmath")
    with mpmath.workdps(30):
        at = mpmath.mpf(float(point))
        return float(function(at)), float(mpmath.diff(function, at))


@pytest.fixture(scope="module")
def model():
    return sm.compile(sm.System(sm.Eq(D(x), -x), initial={x: 1}))


@pytest.fixture(scope="module")
def values(model):
    """Values and derivatives of every function at its points, which are inside of its domain."""
    ends = np.array(list(FUNCTIONS.values()))
    parts = np.linspace(0.013, 0.987, 6)
    points = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * parts

    @jax.jit
    def table(points):
        def at(expression, points):
            def value(z):
                return model.evaluate(expression, 0.0, z[None])

            return jax.vmap(jax.value_and_grad(value))(points)

        rows = [at(e, row) for e, row in zip(FUNCTIONS, points, strict=True)]
        return tuple(jnp.stack(part) for part in zip(*rows, strict=True))

    return points, *(np.asarray(found) for found in table(jnp.asarray(points)))


@pytest.mark.parametrize("number", range(len(FUNCTIONS)), ids=[str(e) for e in FUNCTIONS])
def test_value_and_derivative_are_those_of_mpmath(number, values):
    expression = list(FUNCTIONS)[number]
    points, found, slopes = (part[number] for part in values)
    expected = np.array([exact(expression, point) for point in points])
    scale = np.max(np.abs(expected), axis=0)
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-11, atol=1e-13 * scale[0])
    np.testing.assert_allclose(slopes, expected[:, 1], rtol=1e-9, atol=1e-11 * scale[1])


@pytest.mark.parametrize("order", [0, 1, 2, 5, 20])
def test_bessels_function_is_right_for_small_and_large_arguments(order):
    points = np.array([-55.0, -39.9, -3.0, -1.5, 0.0, 0.4, 1.99, 2.01, 10.0, 39.9, 40.1, 300.0])
    model = sm.compile(
        sm.System(sm.Eq(D(x), -x), initial={x: 1}, observed={"j": sympy.besselj(order, x)})
    )
    found = jax.jit(jax.vmap(lambda z: model.observed(0.0, z[None])["j"]))(jnp.asarray(points))
    expected = [float(mpmath.besselj(order, point)) for point in points]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=3e-15)


@pytest.mark.parametrize(
    "expression", [sympy.besselj(x, 2), sympy.bessely(0, x), sympy.besselj(21, x), sympy.Chi(x)]
)
def test_functions_that_jax_has_not_are_refused_with_the_cure(expression):
    with pytest.raises(sm.DeclarationError, match=r"sciml\.forcing"):
        sm.compile(sm.System(sm.Eq(D(x), expression), initial={x: 1}))


@pytest.mark.parametrize("expression", [sympy.I * x, sympy.sqrt(-2) + x])
def test_complex_terms_are_refused(expression):
    with pytest.raises(sm.SciMLError, match="real"):
        sm.compile(sm.System(sm.Eq(D(x), expression), initial={x: 1}))
