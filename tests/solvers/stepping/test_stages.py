"""The loop over stages: its derivatives are those of stages written one after the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.solvers.stepping._stages import last_stage

MOST = 120
Y = jnp.asarray([0.3, -0.2, 0.5])
K = jnp.asarray([0.7, 1.1, 0.4])


def _stage(count, k):
    """A recurrence that is nonlinear in both states, and stands still from its count on."""

    def stage(field, n, before, now):
        new = 0.9 * now - 0.1 * before**2 + 0.05 * field(0.1 * n.astype(now.dtype), now)
        return jnp.where(n < count, new + 1e-3 * k * before, now)

    return stage


def _field(k):
    return lambda t, y: jnp.sin(k * y + t)


def _looped(y, k, count):
    count = jnp.asarray(count, jnp.int32)
    return last_stage(_stage(count, k), _field(k), count, MOST, 0.5 * y, y)


def _written_out(y, k, count):
    def further(n, pair):
        return pair[1], _stage(count, k)(_field(k), n, *pair)

    return jax.lax.fori_loop(0, count, further, (0.5 * y, y))[1]


@pytest.mark.parametrize("count", [0, 1, 2, 22, 23, 24, 25, 61, 120])
def test_gradients_are_those_of_stages_written_out(count):
    def loss(run, y, k):
        return jnp.sum(run(y, k, count) ** 2)

    both = [jax.jit(jax.grad(loss, (1, 2)), static_argnums=0)(f, Y, K)
            for f in (_looped, _written_out)]  # fmt: skip
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


def test_members_of_a_batch_have_counts_of_their_own():
    counts = jnp.asarray([3, 40, 17])

    def slope(k, count):
        return jax.grad(lambda k: jnp.sum(_looped(Y, k, count) ** 2))(k)

    together = jax.jit(jax.vmap(slope, in_axes=(None, 0)))(K, counts)
    for row, count in zip(together, (3, 40, 17), strict=True):
        one = jax.grad(lambda k, n=count: jnp.sum(_written_out(Y, k, n) ** 2))(K)
        np.testing.assert_allclose(row, one, rtol=1e-12)


def test_products_with_the_hessian_are_those_of_stages_written_out():
    def product(run):
        slope = jax.grad(lambda k: jnp.sum(run(Y, k, 30) ** 2))
        return jax.jvp(slope, (K,), (jnp.ones_like(K),))[1]

    np.testing.assert_allclose(product(_looped), product(_written_out), rtol=1e-10)
