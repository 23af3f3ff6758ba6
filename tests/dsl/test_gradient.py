"""Gradients of expressions and derivatives of networks, against jax on the same expressions."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t
from sciml.dsl._derivative import derivative_of

KEY = jax.random.key(3)
x, y = sm.unknowns("x y")
u, M = sm.unknown("u", shape=3), sm.unknown("M", shape=(2, 3))
k, w = sm.parameter("k", 0.7), sm.parameter("w", [0.2, -0.4, 0.9])
A = sm.constant([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], "A")


def mlp(inputs, outputs):
    return eqx.nn.MLP(inputs, outputs, 5, 2, jax.nn.softplus, key=KEY)


F = sm.neural("F", mlp(2, "scalar"))
G = sm.neural("G", mlp(3, 2))
H = sm.neural("H", mlp(4, 1))
P = sm.neural("P", mlp(2, 1), pointwise=True)
Q = sm.neural("Q", lambda a, b: jnp.sum(jnp.sin(a) * b[None], axis=0))  # (2, 3) and (3,) to (3,)
STATE = {x: 0.4, y: 1.3, u: [0.3, -0.8, 0.5], M: [[0.1, 0.7, -0.2], [1.1, 0.4, 0.6]]}


def model():
    equations = [sm.Eq(D(s), -k * s) for s in STATE]
    known = sum(f(*a) for f, a in ((F, (x, y)), (P, (x, y)), (H, (u, x))))
    known += sm.total(G(u)) + sm.total(Q(M, u))
    return sm.compile(sm.System(*equations, initial=STATE, observed={"all": known + sm.total(w)}))


MODEL = model()

SCALARS = {
    "polynomial": x**3 * y - 2 * x + k,
    "quotient": sympy.sin(x * y) / (1 + x**2) ** sympy.Rational(3, 2),
    "power": (1 + y) ** x + x**k,
    "branches": sympy.Piecewise((x**2 * y, x < 0.2), (x * sympy.exp(y), x < 1), (y, True)),
    "extremes": sympy.Max(x, y**2) + sympy.Min(x * y, 3) + sympy.Abs(x - y),
    "angle": sympy.atan2(y, x),
    "sum": sm.total(u**2 * w) + x * sm.total(u),
    "broadcast": sm.total(M * u + x * M),
    "broadcast scalar": sm.total(M + x),
    "axis": sm.total(sm.total(M**2, axis=0) * u) + sm.total(sm.total(M, axis=1) ** 2),
    "mean": sm.mean(sympy.sin(u)),
    "elements": u[0] * u[1] ** 2 + sm.total(u[1:]) ** 2 + sm.total(u[::-1] * w) + M[0, 1] ** 2,
    "products": (w @ u) ** 2 + sm.total((A @ u) ** 2) + sm.total(sympy.sin(A[:, 0] @ M)),
    "matrix": sm.total((M @ w) ** 2),
    "shifts": sm.total(sm.roll(u, 1) * u**2) + sm.total(sm.roll(M, -1, axis=1) * M),
    "joined": sympy.sin(sm.total(2 * sm.stack([x, y]) ** 2))
    + sm.total(sm.stack([x, y, x * y]) * u)
    + sm.total(sm.concatenate([u, u[:2]]) ** 3),
    "network": F(x, y) ** 2,
    "network of an array": H(u, x) + sympy.sin(H(u * x, y)),
    "network with outputs": sm.total(G(u) ** 2) + G(2 * u)[1],
    "network pointwise": P(x, y) * x + sm.total(P(u, x) * w),
    "network of a matrix": Q(M, u)[1] + x,
}


def by_jax(expression, symbol):
    (piece,) = (s for s in MODEL.states if s.symbol == symbol)
    y0 = MODEL.state()
    flat = jax.grad(lambda y: MODEL.evaluate(expression, 0.0, y))(y0)[piece.slice]
    return jnp.reshape(flat, piece.shape)


@pytest.mark.parametrize("name", SCALARS)
def test_the_gradient_is_that_of_jax(name):
    expression = SCALARS[name]
    for symbol in STATE:
        if not expression.has(symbol):
            continue
        found = MODEL.evaluate(sm.gradient(expression, symbol), 0.0, MODEL.state())
        assert found.shape == symbol.shape
        np.testing.assert_allclose(found, by_jax(expression, symbol), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCALARS)
def test_the_gradient_can_be_taken_again(name):
    expression = sm.gradient(SCALARS[name], x) if SCALARS[name].has(x) else SCALARS[name]
    for symbol in (x, u):
        found = MODEL.evaluate(sm.gradient(expression, symbol), 0.0, MODEL.state())
        np.testing.assert_allclose(found, by_jax(expression, symbol), rtol=1e-11, atol=1e-11)


def test_other_symbols_are_held_fixed_and_rates_are_symbols_of_their_own():
    lagrangian = D(x) ** 2 * x / 2 + sm.total(D(u) ** 2) / 2
    assert sm.gradient(lagrangian, D(x)) == x * D(x)
    assert sm.gradient(lagrangian, x) == D(x) ** 2 / 2
    assert sm.gradient(lagrangian, D(u)) == D(u)
    np.testing.assert_array_equal(sm.gradient(lagrangian, u).array, np.zeros(3))
    assert sm.gradient(k * x, k) == x


@pytest.mark.parametrize(
    "expression", [F(x, y), F(x * y, t), P(x, t) * x, H(u, x), sm.total(G(u)), Q(M, u)[2]]
)
def test_the_rate_of_a_network_in_time_is_the_chain_rule(expression):
    speed = {x: 1.5, y: -0.5, u: [1.0, 2.0, -1.0], M: [[1.0, 0.0, 2.0], [-1.0, 0.5, 0.3]]}
    rate = D(expression)
    for symbol, value in speed.items():
        value = sm.constant(value) if np.ndim(value) else value
        rate = rate.xreplace({D(symbol): value})
    direction = jnp.concatenate([jnp.ravel(jnp.asarray(speed[s.symbol])) for s in MODEL.states])
    value = lambda time, y: MODEL.evaluate(expression, time, y)
    _, expected = jax.jvp(value, (0.2, MODEL.state()), (1.0, direction))
    found = MODEL.evaluate(rate, 0.2, MODEL.state())
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_second_derivatives_of_a_network_are_its_hessian():
    hessian = jax.hessian(lambda y: F.module(y))(jnp.asarray([0.4, 1.3]))
    for i in range(2):
        for j in range(2):
            found = MODEL.evaluate(derivative_of(F(x, y), i, j), 0.0, MODEL.state())
            np.testing.assert_allclose(found, hessian[i, j], rtol=1e-12)


def test_by_scalar_symbols_sympy_differentiates_the_same():
    for expression in (F(x, y) * y, F(x, y**2), P(x, y)):
        assert expression.diff(x) == sm.gradient(expression, x)


def test_a_network_is_differentiated_once_for_all_its_arguments():
    energy = F(x, y) + y**2
    system = sm.System(
        sm.Eq(D(x), sm.gradient(energy, y)),
        sm.Eq(D(y), -sm.gradient(energy, x)),
        initial={x: 1, y: 0},
    )
    source = sm.compile(system).source
    assert source.count("derivative(") == 1
    assert str(system.equations[1]) == "D(y) = -D(F(x, y), x)"
    assert r"\partial_{x}" in system._repr_latex_()


def test_a_product_with_a_derivative_does_not_form_it():
    slope, direction = derivative_of(G(u), 0), sm.constant([1.0, -1.0, 2.0])
    product = sm.constant([0.3, 0.7]) @ (slope @ direction)
    source = MODEL.program.observe([product, sm.constant([0.3, 0.7]) @ slope]).source
    assert "tangent(" in source
    assert "cotangent(" in source
    assert " derivative(" not in source
    jacobian = jax.jacobian(G.module)(jnp.asarray(STATE[u]))
    found = MODEL.evaluate(product, 0.0, MODEL.state())
    np.testing.assert_allclose(
        found, jnp.asarray([0.3, 0.7]) @ jacobian @ direction.array, rtol=1e-12
    )
    pulled = MODEL.evaluate(sm.constant([0.3, 0.7]) @ slope, 0.0, MODEL.state())
    np.testing.assert_allclose(pulled, jnp.asarray([0.3, 0.7]) @ jacobian, rtol=1e-12)


def test_the_weights_of_a_differentiated_network_are_trained():
    model = sm.compile(
        sm.System(sm.Eq(D(x), y), sm.Eq(D(y), -F(x, y).diff(x)), initial={x: 1, y: 0.5})
    )

    def loss(model):
        return jnp.sum(model.vector_field(0.0, model.state()) ** 2)

    slopes = eqx.filter_grad(loss)(model).networks["F"]
    leaf = lambda m: m.networks["F"].layers[0].weight
    step = 1e-6
    nudged = [eqx.tree_at(leaf, model, leaf(model).at[0, 0].add(sign * step)) for sign in (1, -1)]
    expected = (loss(nudged[0]) - loss(nudged[1])) / (2 * step)
    np.testing.assert_allclose(slopes.layers[0].weight[0, 0], expected, rtol=1e-6)


def test_derivatives_stand_in_systems_of_many_equations():
    many = sm.unknowns([f"z{i}" for i in range(60)])
    equations = [
        sm.Eq(D(z), F(z, t).diff(z) * sympy.sin(z) + z**2 * many[i - 1] - z / (1 + z**2))
        for i, z in enumerate(many)
    ]
    model = sm.compile(sm.System(*equations, initial=dict.fromkeys(many, 0.0)))
    values = jnp.linspace(-1.0, 1.0, 60)
    slope = jax.vmap(lambda z: jax.grad(F.module)(jnp.stack([z, 0.3]))[0])(values)
    expected = slope * jnp.sin(values) + values**2 * jnp.roll(values, 1)
    expected = expected - values / (1 + values**2)
    np.testing.assert_allclose(model.vector_field(0.3, values), expected, rtol=1e-12, atol=1e-14)


def test_the_rate_of_a_table_is_its_slope():
    height = sm.forcing("height", [0, 1, 3], [0.0, 2.0, 1.0])
    model = sm.compile(sm.System(sm.Eq(D(x), D(height(t))), initial={x: 0.0}))
    assert [float(model.vector_field(a, model.state())[0]) for a in (0.5, 2.0)] == [2.0, -0.5]


def test_a_gradient_is_pickled():
    linear = sm.neural("linear", eqx.nn.Linear(2, 1, key=KEY))
    slope = sm.gradient(linear(x, y) ** 2 + x, x)
    again = pickle.loads(pickle.dumps(slope))
    assert str(again) == str(slope) == "2*linear(x, y)*D(linear(x, y), x) + 1"
