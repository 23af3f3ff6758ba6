"""Claims about random fields: their covariance, their ends, and that a key is one field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sympy import sin

import sciml as sm
from sciml import D, t

x, y = sm.coordinates("x y")
u, v = sm.unknown("u", t, x), sm.unknown("v", t, x, y)


def model(nodes, *, ring=True, length=2.0):
    ends = [sm.Eq(u.at(x=1), u.at(x=1 + length))]
    if not ring:
        ends = [sm.Eq(sm.at(D(u, x), x=place), 0) for place in (1, 1 + length)]
    heat = sm.Eq(D(u, t), D(u, x, x))
    return sm.compile(
        sm.System(heat, domain={x: (1, 1 + length)}, boundary=ends), grid={x: nodes}, order=2
    )


def square(nodes):
    ends = [sm.Eq(v.at(x=0), v.at(x=4)), sm.Eq(v.at(y=0), v.at(y=4))]
    heat = sm.Eq(D(v, t), sm.laplacian(v, x, y))
    system = sm.System(heat, domain={x: (0, 4), y: (0, 4)}, boundary=ends)
    return sm.compile(system, grid={x: nodes, y: nodes}, order=2)


def draws(field, model, symbol, count=8000):
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.vmap(lambda key: field.draw(model, symbol, key=key))(keys))


def matern(distance, length, smoothness):
    """The covariances that have closed forms: Rasmussen and Williams (2006), equation 4.17."""
    d = np.sqrt(2 * smoothness) * distance / length
    return {1.5: 1 + d, 2.5: 1 + d + d**2 / 3}[smoothness] * np.exp(-d)


@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("smoothness", [1.5, 2.5])
def test_the_covariance_is_that_of_matern(ring, smoothness):
    nodes = 41 - ring
    field = sm.RandomField(0.2, smoothness=smoothness, std=3.0, modes=64)
    found = draws(field, model(nodes, ring=ring), u)
    covariance = found.T @ found / len(found) / 9
    distance = 0.05 * np.abs(np.arange(nodes) - np.arange(nodes)[:, None])
    if ring:
        distance = np.minimum(distance, 2 - distance)
    np.testing.assert_allclose(covariance, matern(distance, 0.2, smoothness), atol=0.06)


def test_the_covariance_in_two_coordinates_depends_on_the_distance_alone():
    found = draws(sm.RandomField(0.4, smoothness=1.5, modes=24), square(20), v, count=6000)
    beside = np.mean(found[:, 0] * found[:, 2])  # 0.4 along x
    across = np.mean(found * np.roll(found, (1, 1), axis=(1, 2)))  # 0.2 sqrt(2)
    np.testing.assert_allclose(beside, matern(0.4, 0.4, 1.5), atol=0.02)
    np.testing.assert_allclose(across, matern(0.2 * np.sqrt(2), 0.4, 1.5), atol=0.02)


@pytest.mark.parametrize("ends", ["free", "zero", "flat"])
def test_a_key_is_one_field_on_whatever_grid(ends):
    field, key = sm.RandomField(0.5, ends=ends), jax.random.key(3)
    coarse = field.draw(model(17, ring=False), u, key=key)
    fine = field.draw(model(33, ring=False), u, key=key)
    np.testing.assert_allclose(fine[::2], coarse, atol=1e-12)


def test_the_ends_are_zero_or_flat_where_asked_for():
    grid, key = model(2001, ring=False), jax.random.key(3)
    zero = sm.RandomField(0.5, ends="zero").draw(grid, u, key=key)
    flat = sm.RandomField(0.5, ends="flat").draw(grid, u, key=key)
    free = sm.RandomField(0.5).draw(grid, u, key=key)
    assert np.max(np.abs(zero[jnp.array([0, -1])])) < 1e-12
    steps = [np.abs(np.diff(one))[[0, -1]] / 1e-3 for one in (flat, free)]
    assert np.max(steps[0]) < 0.05 < 0.2 < np.min(steps[1])


def test_the_mean_is_an_expression_of_the_coordinates():
    field = sm.RandomField(0.5, std=1e-9, mean=2 + sin(x))
    grid = model(32)
    found = field.draw(grid, u, key=jax.random.key(0))
    np.testing.assert_allclose(found, 2 + np.sin(grid.grid["x"]), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0.0}, "length of a RandomField is a positive number"),
        ({"length": 1.0, "smoothness": -1}, "smoothness of a RandomField"),
        ({"length": 1.0, "std": float("inf")}, "std of a RandomField"),
        ({"length": 1.0, "ends": "open"}, "'free', 'zero', 'flat', not 'open'"),
        ({"length": 1.0, "modes": 0}, "modes of a RandomField"),
    ],
)
def test_what_makes_no_field_is_refused(options, message):
    with pytest.raises(sm.DeclarationError, match=message):
        sm.RandomField(**options)


def test_a_mean_of_something_else_and_what_is_no_field_are_refused():
    with pytest.raises(sm.DeclarationError, match="an expression of x, and y is none of these"):
        sm.RandomField(1.0, mean=y).draw(model(8), u, key=jax.random.key(0))
    with pytest.raises(sm.DeclarationError, match="v is no field of this model; it has u"):
        sm.RandomField(1.0).draw(model(8), v, key=jax.random.key(0))
