"""Claims about signatures: closed forms, Chen's identity, and a second method."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm

WALK = np.cumsum(np.random.default_rng(0).normal(size=(20, 3)), axis=0)


def power(vector, k):
    """The k-th tensor power."""
    found = np.ones(())
    for _ in range(k):
        found = np.multiply.outer(found, vector)
    return found


def product(one, other):
    """The product of two signatures, level by level."""
    pairs = [(k, j) for k in range(len(one)) for j in range(k + 1)]
    found = [np.zeros(np.shape(level)) for level in one]
    for k, j in pairs:
        found[k] = found[k] + np.multiply.outer(np.asarray(one[j]), np.asarray(other[k - j]))
    return found


def test_the_signature_of_a_straight_path_is_a_power_of_its_change():
    for points in (2, 7):
        change = np.array([0.3, -2.0, 1.1])
        path = np.linspace(0, 1, points)[:, None] * change[None]
        for k, level in enumerate(sm.signature(jnp.asarray(path), depth=5)):
            np.testing.assert_allclose(level, power(change, k) / math.factorial(k), atol=1e-12)


def test_the_signature_of_a_path_is_the_product_of_those_of_its_parts():
    whole = sm.signature(jnp.asarray(WALK), depth=4)
    parts = (sm.signature(jnp.asarray(p), depth=4) for p in (WALK[:8], WALK[7:]))
    for level, expected in zip(whole, product(*parts), strict=True):
        np.testing.assert_allclose(level, expected, atol=1e-10)


def test_the_second_level_is_the_integral_of_the_path():
    """A second method: the trapezoid is exact where the path is linear."""
    level = sm.signature(jnp.asarray(WALK), depth=2)[2]
    middle = 0.5 * (WALK[1:] + WALK[:-1]) - WALK[0]
    np.testing.assert_allclose(level, middle.T @ np.diff(WALK, axis=0), rtol=1e-12)


def test_a_running_signature_holds_those_of_all_beginnings():
    running = sm.signature(jnp.asarray(WALK), depth=3, running=True)
    for end in (1, 2, 13, 20):
        alone = sm.signature(jnp.asarray(WALK[:end]), depth=3)
        for level, one in zip(running, alone, strict=True):
            np.testing.assert_allclose(level[end - 1], one, atol=1e-10)


def test_it_does_not_depend_on_how_the_path_is_timed_or_where_it_begins():
    twice = np.repeat(WALK, 2, axis=0) + 5.0
    for one, other in zip(
        sm.signature(jnp.asarray(WALK), depth=3),
        sm.signature(jnp.asarray(twice), depth=3),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_its_gradient_is_that_of_finite_differences():
    def last(path):
        return jnp.sum(sm.signature(path, depth=3)[3] ** 2)

    path = jnp.asarray(WALK[:5])
    up, down = (last(path.at[2, 1].add(h)) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(jax.grad(last)(path)[2, 1], (up - down) / 2e-5, rtol=1e-6)


def test_a_path_that_is_none_is_refused():
    with pytest.raises(sm.DeclarationError, match="depth = 0: a signature has 1 level or more"):
        sm.signature(jnp.zeros((3, 2)), depth=0)
    with pytest.raises(sm.DataError, match=r"has the shape \(time, channel\), not \(0, 2\)"):
        sm.signature(jnp.zeros((0, 2)), depth=1)
