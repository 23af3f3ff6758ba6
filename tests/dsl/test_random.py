"""Random expressions and systems, compiled in straight lines and in groups, against numpy."""

import functools

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t
from sciml.dsl.codegen import cut, source

X = sm.unknowns("x0 x1 x2 x3")
Q = sm.unknown("q", shape=3)
M = sm.unknown("m", shape=(2, 2))
A, B = sm.parameters("a b")
C = sm.parameter("c", shape=4)
E = sm.parameter("e", shape=(2, 3))
F = sm.neural("f", eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0)))
G = sm.neural("g", eqx.nn.MLP(1, 3, 4, 1, key=jax.random.key(1)))
H = sm.neural("h", lambda u, v: u * jnp.cos(v))

VALUES = {A: 0.7, B: -1.3, C: [0.3, -0.8, 1.1, 2.0], E: [[0.1, 0.2, -0.3], [1.5, -1.6, 0.7]]}
STATE = {
    **dict(zip(X, (0.4, -0.9, 1.7, -0.2), strict=True)),
    Q: np.array([0.5, -1.2, 0.8]),
    M: np.array([[0.3, -0.4], [1.1, 0.6]]),
}
TIME = 0.6

LEAVES = [
    *X,
    *(Q[i] for i in range(3)),
    M[0, 1],
    M[1, 0],
    A,
    B,
    *(C[i] for i in range(4)),
    E[1, 2],
    t,
]
NUMBERS = [*map(sympy.Integer, range(-3, 4)), sympy.Rational(1, 3), sympy.pi, sympy.sqrt(2)]


def tree(rng, depth):
    """A random expression.

    Conditions are about leaves alone: of anything larger, sympy solves them, for minutes.
    """
    kind = rng.integers(3 if depth == 0 else 20)
    if kind < 2:
        return LEAVES[rng.integers(len(LEAVES))]
    if kind == 2:
        known = rng.random() < 0.5
        return NUMBERS[rng.integers(len(NUMBERS))] if known else sympy.Float(rng.uniform(-2, 2))
    makers = UNARY if kind < 10 else BINARY
    make = makers[rng.integers(len(makers))]
    count = 1 if kind < 10 else 2
    leaf = LEAVES[rng.integers(len(LEAVES))]
    return make(leaf, *(tree(rng, depth - 1) for _ in range(count)))


UNARY = [
    lambda leaf, e: sympy.sin(e),
    lambda leaf, e: sympy.tanh(e),
    lambda leaf, e: sympy.exp(-(e**2)),
    lambda leaf, e: e**2,
    lambda leaf, e: e**3,
    lambda leaf, e: sympy.sqrt(1 + e**2),
    lambda leaf, e: (1 + e**2) ** sympy.Float(-0.3),
    lambda leaf, e: sympy.log(2 + e**2),
    lambda leaf, e: e * sympy.Piecewise((sympy.sqrt(leaf), leaf > 0), (0, True)),
    lambda leaf, e: G(e)[1] - G(e)[2],
    lambda leaf, e: sm.index((e + leaf) * Q, 2),
    lambda leaf, e: sm.index(sm.matmul(E, Q + e), 1),
]
BINARY = [
    lambda leaf, e, f: e + f,
    lambda leaf, e, f: e - f,
    lambda leaf, e, f: e * f,
    lambda leaf, e, f: e / (2 + sympy.sin(f)),
    lambda leaf, e, f: e + f * sympy.Max(leaf, A),
    lambda leaf, e, f: sympy.Piecewise((e, leaf > 0.1), (f, True)),
    lambda leaf, e, f: F(e, f),
    lambda leaf, e, f: H(e, f),
    lambda leaf, e, f: sm.total(sm.stack([e, f, leaf]) * Q),
]


def number_of(e, values):
    """The value of an expression, by numpy: walked anew, without sciml's compiler."""
    if e in values:
        return values[e]
    if e == t:
        return TIME
    if e.is_Atom and e.is_number:
        return float(e)
    if isinstance(e, sympy.Piecewise):
        for value, condition in e.args:
            if condition is sympy.true or bool(condition.func(*numbers_of(condition, values))):
                return number_of(value, values)
    name = type(e).__name__
    if name == "NeuralCall":
        inputs = [jnp.asarray(number_of(a, values)) for a in e.operands]
        if e.network in (F, G):
            output = e.network.module(jnp.stack(inputs))
            return np.asarray(output[0] if e.network == F else output)
        return np.asarray(e.network.module(*inputs))
    if name in ("Index", "Sum"):
        inside = number_of(e.args[0], values)
        return inside[e.settings[0]] if name == "Index" else np.sum(inside)
    numbers = numbers_of(e, values)
    if name == "Matmul":
        return numbers[0] @ numbers[1]
    if name == "Stack":
        return np.stack(numbers)
    if e.is_Add:
        return sum(numbers)
    if e.is_Mul:
        return functools.reduce(lambda one, other: one * other, numbers)
    if e.is_Pow:
        return numbers[0] ** (numbers[1] if not e.exp.is_Integer else int(e.exp))
    if name in ("Max", "Min"):
        return (np.max if name == "Max" else np.min)(numbers)
    return getattr(np, name.lower())(*numbers)


def numbers_of(e, values):
    return [number_of(a, values) for a in e.args]


def expected(e):
    values = {**{k: np.asarray(v, float)[()] for k, v in VALUES.items()}, **STATE}
    return number_of(e, values)


def compiled(rhs):
    """Rates of x0, x1, ... in a system with these right-hand sides, and the model."""
    extra = sm.unknowns([f"y{i}" for i in range(len(rhs))])
    equations = [sm.Eq(D(y), e) for y, e in zip(extra, rhs, strict=True)]
    equations.insert(len(equations) // 2, sm.Eq(D(Q), -A * Q + X[0]))
    equations += [sm.Eq(D(x), X[1] - x) for x in X]
    equations.append(sm.Eq(D(M), sm.matmul(M, M) * t))
    initial = {**STATE, **dict.fromkeys(extra, 0.0)}
    observed = {sm.unknown("z"): A * B * sm.total(C) * sm.total(E)}  # names all that has a value
    system = sm.System(*equations, initial=initial, values=VALUES, observed=observed)
    return sm.compile(system), extra


@pytest.fixture(params=["lines", "groups", "few groups"])
def mode(request, monkeypatch):
    monkeypatch.setattr(source, "GROUP_ABOVE", 10**9 if request.param == "lines" else -1)
    if request.param == "few groups":
        monkeypatch.setattr(cut, "_RARE", 3)
        monkeypatch.setattr(cut, "_MANY", 0)
        monkeypatch.setattr(cut, "_SHAPES", 4)
    return request.param


@hypothesis.given(st.integers(0, 2**32 - 1))
@hypothesis.settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],  # smaller seeds are no simpler systems
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_a_random_system_has_the_rates_that_numpy_finds(mode, seed):
    rng = np.random.default_rng(seed)
    rhs = [tree(rng, 3) for _ in range(rng.integers(1, 9))]
    wanted = np.array([expected(e) for e in rhs], float)
    hypothesis.assume(np.all(np.isfinite(wanted)) and np.max(np.abs(wanted)) < 1e6)
    model, extra = compiled(rhs)
    rates = eqx.filter_jit(lambda m, y: m.vector_field(TIME, y))(model, model.state())
    names = [s.name for s in model.states]
    found = [rates[model.states[names.index(y.func.__name__)].offset] for y in extra]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    q = model.states[names.index("q")]
    np.testing.assert_allclose(rates[q.slice], -0.7 * STATE[Q] + 0.4, rtol=1e-12)
    m = model.states[names.index("m")]
    np.testing.assert_allclose(rates[m.slice], 0.6 * np.ravel(STATE[M] @ STATE[M]), rtol=1e-12)
