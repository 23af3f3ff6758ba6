"""Slices and blocks as single operations: their derivatives are those of JAX's own."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.dsl.codegen.backwards import quick_backwards

x, y = sm.coordinates("x y")
u = sm.unknown("u", t, x, y)


def _stencil(a, b):
    """Overlapping slices, a frame that does not overlap, and one that does."""
    inside = b[1:-1, 1:-1] * (a[2:, 1:-1] - 2 * a[1:-1, 1:-1] ** 2 + a[:-2, 1:-1])
    whole = jnp.pad(inside, 1)
    whole = jax.lax.dynamic_update_slice(whole, jnp.sin(a[:1]), (0, 0))
    again = jax.lax.dynamic_update_slice(whole, b[:3, :3] ** 2, (0, 0))
    return again * a + whole[::2, ::2].sum()


@pytest.fixture(params=[6, 60], ids=["small", "large"])
def arrays(request):
    random = np.random.default_rng(0)
    size = request.param, request.param + 1
    return [jnp.asarray(random.normal(size=size)) for _ in range(4)]


def test_value_and_both_modes_are_those_of_the_function(arrays):
    a, b, da, db = arrays
    quick = quick_backwards(_stencil)
    for f in (jax.jit, lambda g: g):
        np.testing.assert_array_equal(f(quick)(a, b), f(_stencil)(a, b))
    one, other = (jax.jit(lambda *v, g=g: jax.jvp(g, v[:2], v[2:]))(a, b, da, db)[1]
                  for g in (quick, _stencil))  # fmt: skip
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    for back in zip(*(jax.vjp(g, a, b)[1](da) for g in (quick, _stencil)), strict=True):
        np.testing.assert_allclose(*back, rtol=1e-12, atol=1e-12)


def test_batches_second_derivatives_and_single_precision_hold_too(arrays):
    a, b, da, db = arrays
    quick = quick_backwards(_stencil)
    ways = jnp.stack([da, db])

    def batch(g):
        return jax.vmap(lambda d: jax.vjp(g, a, b)[1](d))(ways)

    def bent(g):
        slope = jax.grad(lambda v: jnp.sum(g(v, b) ** 2))
        return jax.jvp(slope, (a,), (da,))[1], jax.vjp(slope, a)[1](da)[0]

    for make in (batch, bent):
        for ours, theirs in zip(make(quick), make(_stencil), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)
    single = [v.astype(jnp.float32) for v in arrays]
    found = jax.grad(lambda v: jnp.sum(quick(v, single[1])))(single[0])
    assert found.dtype == jnp.float32


def test_a_member_with_a_batch_of_arguments_is_one_of_many(arrays):
    a, b, *_ = arrays
    many = jnp.stack([a, 2 * a])
    quick = quick_backwards(_stencil)
    slopes = jax.vmap(jax.grad(lambda v: jnp.sum(quick(v, b))))(many)
    for row, one in zip(slopes, many, strict=True):
        expected = jax.grad(lambda v: jnp.sum(_stencil(v, b)))(one)
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_by_a_coefficient_of_each_node_is_that_of_differences():
    k = sm.parameter("k", shape=(12, 12))
    walls = [sm.Eq(u.at(**{s.name: end}), 0) for s in (x, y) for end in (0, 1)]
    system = sm.System(
        sm.Eq(D(u, t), D(k * D(u, x), x) + D(k * D(u, y), y)),
        domain={x: (0, 1), y: (0, 1)}, initial={u: x * (1 - x) * y}, boundary=walls,
        values={k: np.ones((12, 12))},
    )  # fmt: skip
    model = sm.compile(system, grid={x: 12, y: 12}, order=2)
    random = np.random.default_rng(1)
    here, way = (jnp.asarray(1 + 0.3 * random.random((12, 12))) for _ in range(2))

    def functional(value):
        sol = sm.solve(
            model, t=(0, 0.05), values={k: value}, saveat=[0.05], solver=sm.RKC(radius=2000.0),
            dt0=0.01, stepsize_controller=dfx.ConstantStepSize(),
        )  # fmt: skip
        return jnp.sum(jnp.cos(sol[u][-1]))

    slope = jnp.sum(jax.jit(jax.grad(functional))(here) * way)
    run, step = jax.jit(functional), 1e-4
    difference = (run(here + step * way) - run(here - step * way)) / (2 * step)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_what_is_no_array_passes_through(arrays):
    a, b, *_ = arrays

    def bent(v, other, how):
        return how(_stencil(v, other))

    slope = jax.grad(lambda v: jnp.sum(quick_backwards(bent)(v, b, jnp.tanh)))(a)
    expected = jax.grad(lambda v: jnp.sum(bent(v, b, jnp.tanh)))(a)
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-12)
