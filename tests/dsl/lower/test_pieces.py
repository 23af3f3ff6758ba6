"""Stencils in pieces: the inside from the state, strips at the ends; the same numbers as whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sympy import cos, exp, sin

import sciml as sm
from sciml import D, t
from sciml.dsl.lower import Fields

x, y, z = sm.coordinates("x y z")
u, v = sm.unknown("u", t, x, y), sm.unknown("v", t, x, y)
w = sm.unknown("w", t, x, y, z)
k = sm.parameter("k", 0.3)
table = sm.parameter("table", shape=(22, 25))


def ring(field, s):
    return sm.Eq(field.at(**{s.name: 0}), field.at(**{s.name: 1}))


def wall(field, s, end):
    return sm.Eq(field.at(**{s.name: end}), 0)


FLUX = sm.Eq(
    D(u, t), D((1 + k * u**2) * D(u, x), x) + D(u, y, y) + x * D(u, x, y) + sin(x * y)
)  # fmt: skip
ROUND = [ring(u, x), ring(u, y)]
MIXED = [
    sm.Eq(u.at(x=0), sin(y)), wall(u, x, 1), wall(u, y, 0),
    sm.Eq(sm.at(D(u, y), y=1) + u.at(y=1), cos(x)),
]  # fmt: skip


def system(*equations, boundary, initial=None, **given):
    domain = {s: (0, 1) for s in (x, y, z) if any(s in f.args for f in (initial or {u: 0}))}
    return sm.System(*equations, domain=domain, boundary=boundary, initial=initial or {u: 0},
                     **given)  # fmt: skip


SYSTEMS = {
    "walls of all kinds": lambda: system(FLUX, boundary=MIXED),
    "periodic": lambda: system(FLUX, boundary=ROUND),
    "a channel": lambda: system(FLUX, boundary=[ring(u, x), wall(u, y, 0), wall(u, y, 1)]),
    "upwind, and no condition where things leave": lambda: system(
        sm.Eq(D(u, t) + D(u, x) + y * D(u, y), 0), boundary=[sm.Eq(u.at(x=0), exp(-t))]
    ),
    "finite volumes": lambda: system(
        sm.Eq(D(u, t) + D(u**2 / 2, x) + D(u**3, y), 0), boundary=ROUND
    ),
    "fields with ends of different kinds": lambda: system(
        sm.Eq(D(u, t), sm.laplacian(u, x, y) + D(v, x)), sm.Eq(D(v, t), D(u, x) + D(v, y, y) - v),
        boundary=[*MIXED, wall(v, y, 0), wall(v, y, 1)], initial={u: 0, v: 0},
    ),
    "a coefficient at each node": lambda: system(
        sm.Eq(D(u, t), D(table * D(u, x), x) + table * D(u, y, y)), boundary=MIXED,
        values={table: np.linspace(1, 2, 550).reshape(22, 25)},
    ),
    "an equation for twice the rate": lambda: system(
        sm.Eq(2 * D(u, t) - sm.laplacian(u, x, y), k * u), boundary=MIXED
    ),
}  # fmt: skip


@pytest.fixture
def as_whole(monkeypatch):
    def compiled(make, grid):
        with monkeypatch.context() as patched:
            patched.setattr(Fields, "pieces", lambda *_: None)
            return sm.compile(make(), grid=grid)

    return compiled


def agree(make, grid, as_whole):
    model, whole = sm.compile(make(), grid=grid), as_whole(make, grid)
    state = jnp.asarray(np.random.default_rng(0).normal(size=model.program.size))
    rates, expected = (m.vector_field(0.3, state) for m in (model, whole))
    np.testing.assert_allclose(rates, expected, atol=1e-12 * float(jnp.max(jnp.abs(expected))))
    return model, whole


@pytest.mark.filterwarnings("ignore:the initial values break", "ignore:the conditions")
@pytest.mark.parametrize("make", SYSTEMS.values(), ids=list(SYSTEMS))
def test_pieces_make_the_whole(make, as_whole):
    model, whole = agree(make, {x: 22, y: 25}, as_whole)
    assert model.source != whole.source


def test_in_space_too(as_whole):
    def make():
        return system(
            sm.Eq(D(w, t), sm.laplacian(w, x, y, z) + D(w, x, z)), initial={w: 0},
            boundary=[ring(w, x), *(wall(w, s, end) for s in (y, z) for end in (0, 1))],
        )  # fmt: skip

    model, whole = agree(make, {x: 18, y: 17, z: 19}, as_whole)
    assert model.source != whole.source


def test_small_grids_are_taken_whole(as_whole):
    model, whole = agree(lambda: system(FLUX, boundary=ROUND), {x: 6, y: 6}, as_whole)
    assert model.source == whole.source


def test_what_looks_along_all_of_an_axis_is_taken_whole(as_whole):
    def make():
        total = sm.integral(u, (x, 0, 1))
        return system(sm.Eq(D(u, t), D(u, x, x) + D(u, y, y) - total), boundary=ROUND)

    model, whole = agree(make, {x: 22, y: 25}, as_whole)
    assert model.source == whole.source


def test_the_state_is_not_copied_to_have_ends():
    """No array is larger than the state, and none is the state with more around it."""
    model = sm.compile(system(FLUX, boundary=ROUND), grid={x: 40, y: 44})
    jaxpr = jax.make_jaxpr(lambda y: model.vector_field(0.0, y))(model.state())
    sizes = [v.aval.size for e in jaxpr.eqns for v in e.outvars]
    assert max(sizes) == 40 * 44


def test_the_graph_does_not_grow_with_the_grid():
    def size(n):
        model = sm.compile(system(FLUX, boundary=MIXED), grid={x: n, y: n})
        return len(jax.make_jaxpr(lambda y: model.vector_field(0.0, y))(model.state()).eqns)

    assert size(32) == size(128)


def test_gradients_go_through_pieces():
    model = sm.compile(system(FLUX, boundary=ROUND), grid={x: 20, y: 20})
    state = jnp.asarray(np.random.default_rng(1).normal(size=400))
    way = jnp.asarray(np.random.default_rng(2).normal(size=400))

    def total(y):
        return jnp.sum(jnp.tanh(model.vector_field(0.0, y) * 1e-4))

    step = 1e-6
    difference = (total(state + step * way) - total(state - step * way)) / (2 * step)
    np.testing.assert_allclose(jax.grad(total)(state) @ way, difference, rtol=1e-6)
