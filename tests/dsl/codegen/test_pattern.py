"""The pattern of a Jacobian: never a non-zero missed, and none too many where it matters."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from benchmarks.problems import pollu
from sciml import D
from sciml.dsl.codegen.depends import PatternError
from sciml.dsl.codegen.pattern import Pattern, jacobian_pattern

STENCIL = np.diag(np.full(11, 1.0), 1) - 2 * np.eye(12) + np.diag(np.full(11, 1.0), -1)
RATES = jnp.linspace(0.5, 1.5, 12)
ORDER = np.random.default_rng(0).permutation(12)


def dense(pattern: Pattern) -> np.ndarray:
    return pattern.to_scipy().toarray()


def numeric(function, y, repeats: int = 12) -> np.ndarray:
    """The union of the non-zeros at some random points."""
    points = np.random.default_rng(1).uniform(0.2, 2, (repeats, *y.shape))
    found = jax.jit(jax.vmap(jax.jacfwd(function)))(jnp.asarray(points, y.dtype))
    return np.any(np.asarray(found) != 0, axis=0)


def brusselator_1d(y):
    u, v = jnp.split(y, 2)
    second = lambda w: jnp.pad(w, 1, constant_values=1.0)[2:] - 2 * w + jnp.roll(w, 1)
    return jnp.concatenate([1 + u**2 * v - 4 * u + second(u), 3 * u - u**2 * v + second(v)])


def brusselator_2d(y):
    u, v = jnp.reshape(y, (2, 4, 4))
    around = lambda w: sum(jnp.roll(w, shift, axis) for shift in (-1, 1) for axis in (0, 1)) - 4 * w
    rates = jnp.stack([1 + u**2 * v - 4.4 * u + around(u), 3.4 * u - u**2 * v + around(v)])
    return jnp.ravel(rates)


def looped(y):
    """Each element takes from the one before, in a loop."""
    step = lambda carry, x: (x, jnp.sin(carry) * x)
    return jax.lax.scan(step, jnp.zeros((), y.dtype), y)[1]


EXACT = {
    "matrix": lambda y: jnp.asarray(STENCIL) @ jnp.tanh(y) + RATES * y,
    "matrix from the right": lambda y: (y[None] @ jnp.asarray(STENCIL))[0],
    "batched": lambda y: jnp.ravel(jnp.einsum("bij,bj->bi", jnp.tril(jnp.ones((3, 4, 4))),
                                              jnp.reshape(y, (3, 4)))),
    "convolution": lambda y: jnp.convolve(y, jnp.array([1.0, 0.0, 2.0]), mode="same"),
    "gather": lambda y: y[ORDER] * y[::-1],
    "scatter": lambda y: (y**2).at[2:6].add(3 * y[6:10]).at[0].set(y[3] * y[4]),
    "one update": lambda y: jax.lax.dynamic_update_slice(y, y[6:8] ** 2, (3,)),
    "choice": lambda y: jnp.where(np.arange(12) < 5, y, jnp.cos(y[::-1])),
    "limiter": lambda y: jnp.where(y > jnp.mean(y), jnp.roll(y, 1), jnp.roll(y, -1)) * y,
    "mask": lambda y: jnp.cumsum(jnp.asarray(np.arange(12) % 3 == 0, y.dtype) * y**2),
    "sums": lambda y: jnp.repeat(jnp.sum(jnp.reshape(y, (3, 4)) ** 2, axis=1), 4),
    "jit": jax.jit(lambda y: jax.nn.softplus(y) - jax.nn.relu(y[::-1])),
    "map": lambda y: jax.lax.map(lambda pair: pair[0] * jnp.sin(pair[1]), (y, jnp.roll(y, 2))),
    "loop": looped,
    "one branch": lambda y: jax.lax.cond(True, lambda x: x**2, lambda x: x[::-1], y),
    "counted": lambda y: jax.lax.fori_loop(0, 2, lambda i, x: jnp.sin(x), y),
    "checkpoint": jax.checkpoint(lambda y: y[ORDER] ** 2),
    "1-D Brusselator": brusselator_1d,
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_the_pattern_is_that_of_the_numbers(name):
    y = jnp.linspace(0.1, 1, 12)
    found = dense(jacobian_pattern(EXACT[name], y))
    expected = numeric(EXACT[name], y)
    assert not (expected & ~found).any(), "a non-zero is missed"
    assert (expected == found).all(), f"{found.sum() - expected.sum()} too many"


@jax.custom_jvp
def straight_through(y):
    return jnp.round(y)


straight_through.defjvps(lambda tangent, answer, y: tangent)

SAFE = {
    "unknown index": lambda y: jax.lax.dynamic_slice(y, (jnp.argmax(y),), (3,)),
    "unknown branch": lambda y: jax.lax.cond(y[0] > 1, lambda x: x**2, lambda x: x[::-1], y),
    "solve": lambda y: jnp.linalg.solve(jnp.asarray(STENCIL) + jnp.diag(y), y),
    "sort": jnp.sort,
    "long loop": lambda y: jax.lax.fori_loop(0, 99, lambda i, x: jnp.roll(x, 1) * 0.99, y),
    "own derivative": straight_through,
    "while": lambda y: jax.lax.while_loop(lambda x: x[0] < 3, lambda x: x + jnp.roll(x, 1), y),
}


@pytest.mark.parametrize("name", SAFE)
def test_no_non_zero_is_missed(name):
    y = jnp.linspace(0.1, 1, 12)
    found = dense(jacobian_pattern(SAFE[name], y))
    assert not (numeric(SAFE[name], y) & ~found).any()


def test_the_two_dimensional_brusselator_has_six_non_zeros_in_a_row():
    y = jnp.ones(32)
    found = jacobian_pattern(brusselator_2d, y)
    assert (dense(found) == numeric(brusselator_2d, y)).all()
    assert (np.bincount(found.rows) == 6).all()


def test_values_of_arguments_are_unknown():
    y = jnp.ones(3)
    whole = jacobian_pattern(lambda y, matrix: matrix @ y, y, args=(jnp.eye(3),))
    assert whole.size == 9
    traced = jax.jit(lambda a: jacobian_pattern(lambda y: a @ y, y).size + 0 * a[0, 0])(jnp.eye(3))
    assert traced == 9


def test_the_pattern_of_pollu_is_that_of_its_numbers():
    model = sm.compile(pollu().system)
    expected = numeric(lambda y: model.vector_field(0.0, y), model.state())
    assert (dense(model.jacobian_pattern) == expected).all()
    assert model.jacobian_pattern is model.jacobian_pattern
    changed = model.replace(initial={"y1": 3.0})
    assert changed.jacobian_pattern is model.jacobian_pattern


def test_a_network_inside_depends_on_its_arguments_only():
    u, v = sm.unknowns("u v", shape=(6,))
    network = sm.neural("g", eqx.nn.MLP(2, "scalar", 4, 1, key=jax.random.key(0)), pointwise=True)
    model = sm.compile(sm.System(sm.Eq(D(u), network(u, v)), sm.Eq(D(v), -v * 2)))
    expected = np.kron([[1, 1], [0, 1]], np.eye(6)) != 0
    assert (dense(model.jacobian_pattern) == expected).all()


def test_thirty_thousand_unknowns_are_quick():
    large = lambda y: jnp.ravel(jnp.roll(jnp.reshape(y, (2, 128, 128)), 1, 2)) * y
    assert jacobian_pattern(large, jax.ShapeDtypeStruct((32768,), jnp.float64)).size == 65536


def test_a_pattern_too_dense_to_store_is_refused():
    with pytest.raises(PatternError, match="too dense"):
        jacobian_pattern(lambda y: y - jnp.mean(y), jax.ShapeDtypeStruct((32768,), jnp.float64))


def test_patterns_are_equal_by_content_and_shown_as_pictures():
    tridiagonal = Pattern.of(STENCIL)
    assert tridiagonal == Pattern.of(2 * STENCIL)
    assert hash(tridiagonal) == hash(Pattern.of(2 * STENCIL))
    assert tridiagonal != Pattern.of(np.eye(12))
    assert str(tridiagonal) == "pattern of 12 x 12, 34 non-zeros (23.6 %), bandwidth 1"
    assert Pattern.of(np.tri(4)).bandwidth == (3, 0)
    assert tridiagonal._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")
    assert len(tridiagonal.plot().lines) == 1
