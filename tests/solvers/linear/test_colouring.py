"""Colourings: no two columns of a colour share a row; as few colours as can be for stencils."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from sciml.dsl.codegen.pattern import Pattern, jacobian_pattern
from sciml.solvers.linear._colouring import colour_columns, compressed_jacobian, is_colouring


def torus(side: int, species: int) -> Pattern:
    """The five-point stencil on a torus, each species with all others at the same point."""
    line = scipy.sparse.diags([1.0] * 5, [0, -1, 1, side - 1, 1 - side], shape=(side, side))
    one = scipy.sparse.identity(side)
    plane = scipy.sparse.kron(line, one) + scipy.sparse.kron(one, line)
    point = scipy.sparse.identity(side**2)
    blocks = [[plane if i == j else point for j in range(species)] for i in range(species)]
    return Pattern.of(scipy.sparse.block_array(blocks))


def test_a_three_point_stencil_takes_three_colours():
    assert colour_columns(Pattern.of(np.triu(np.tri(50, k=1), -1))).max() == 2


@pytest.mark.parametrize("density", [0.0, 0.02, 0.2, 1.0])
def test_columns_of_a_colour_share_no_row(density):
    pattern = Pattern.of(scipy.sparse.random_array((60, 80), density=density, rng=0))
    colours = colour_columns(pattern)
    together = colours[:, None] == colours[None]
    matrix = pattern.to_scipy().toarray().astype(int)
    assert not (matrix.T @ matrix)[together & ~np.eye(80, dtype=bool)].any()
    assert is_colouring(pattern, colours)


def test_a_colouring_that_is_none_is_seen():
    assert not is_colouring(Pattern.of(np.ones((2, 2))), np.zeros(2, np.int32))


def test_thirty_thousand_columns_take_few_colours():
    pattern = torus(128, 2)
    colours = colour_columns(pattern)
    assert is_colouring(pattern, colours)
    assert colours.max() + 1 <= 8


def test_the_compressed_jacobian_has_the_entries_of_the_dense_one():
    f = lambda y: jnp.roll(y, 1) ** 2 * y - jnp.sin(y)
    y = jnp.linspace(0.1, 2, 30)
    pattern = jacobian_pattern(f, y)
    found = compressed_jacobian(f, y, pattern=pattern, colours=colour_columns(pattern))
    expected = jax.jacfwd(f)(y)[pattern.rows, pattern.cols]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
