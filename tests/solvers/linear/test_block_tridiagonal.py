"""Block-tridiagonal systems against dense solves."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.dsl.codegen.pattern import Pattern
from sciml.solvers.linear import linear_solve, shifted
from sciml.solvers.linear._block_tridiagonal import BlockTridiagonal


def banded(size: int, band: int, dtype: type = float, seed: int = 0) -> np.ndarray:
    """A random band, dominated by its diagonal."""
    rng = np.random.default_rng(seed)
    full = rng.normal(size=(size, size))
    if dtype is complex:
        full = full + 1j * rng.normal(size=(size, size))
    kept = np.triu(np.tri(size, k=band), -band)
    return full * kept + 4 * (band + 1) * np.eye(size)


def structure_of(matrix: np.ndarray, chunks: int | None = None) -> tuple[BlockTridiagonal, tuple]:
    """The structure, and the matrix in its own form, as the Jacobian of the product with it."""
    structure = BlockTridiagonal(Pattern.of(matrix), chunks)
    start = jnp.zeros(len(matrix), matrix.dtype)
    return structure, structure.jacobian(lambda y: jnp.asarray(matrix) @ y, start)


@functools.partial(jax.jit, static_argnums=0)
def solved(structure: BlockTridiagonal, matrix: Any, b: Any) -> Any:
    return structure.solve(structure.factor(matrix), b)


CASES = [(1, 1, None), (200, 1, 16), (203, 2, None), (50, 3, 2), (61, 11, None)]


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize(("size", "band", "chunks"), CASES)
def test_solutions_are_those_of_a_dense_solver(size, band, chunks, dtype):
    dense = banded(size, band, dtype)
    structure, matrix = structure_of(dense, chunks)
    b = jnp.asarray(np.random.default_rng(1).normal(size=size), dtype)

    @jax.jit
    def all_of_it(matrix, b):
        factors = structure.factor(matrix)
        product = structure.apply(matrix, b)
        return product, structure.solve(factors, b), structure.solve_transposed(factors, b)

    product, found, transposed = all_of_it(matrix, b)
    np.testing.assert_allclose(product, dense @ b, atol=1e-12)
    np.testing.assert_allclose(found, np.linalg.solve(dense, b), atol=1e-13)
    np.testing.assert_allclose(transposed, np.linalg.solve(dense.T, b), atol=1e-13)


def test_unknowns_of_two_species_one_after_the_other_are_brought_together():
    line = banded(40, 1)
    dense = np.block([[line, np.eye(40)], [np.eye(40), line]])
    structure, matrix = structure_of(dense)
    b = jnp.linspace(-1, 1, 80)
    found = solved(structure, matrix, b)
    assert structure.block == 2
    np.testing.assert_allclose(found, np.linalg.solve(dense, b), atol=1e-13)


def test_a_shifted_matrix_is_solved_where_places_are_left_empty():
    dense = banded(21, 2)
    structure, matrix = structure_of(dense, 4)
    system = shifted(structure, matrix, jnp.asarray(1.0))
    found = solved(structure, system, jnp.ones(21))
    np.testing.assert_allclose(found, np.linalg.solve(np.eye(21) - dense, np.ones(21)), atol=1e-12)


def test_a_block_is_pivoted_within():
    dense = banded(24, 3)
    dense[::3, ::3][np.diag_indices(8)] = 0
    dense[np.arange(0, 24, 3), np.arange(1, 24, 3)] = 9
    dense[np.arange(1, 24, 3), np.arange(0, 24, 3)] = 9
    structure, matrix = structure_of(dense, 2)
    found = solved(structure, matrix, jnp.ones(24))
    np.testing.assert_allclose(found, np.linalg.solve(dense, np.ones(24)), atol=1e-10)


@pytest.mark.parametrize(("band", "chunks"), [(1, 1), (1, 4), (2, 4), (3, 2), (9, 1)])
def test_a_matrix_that_is_singular_or_not_finite_gives_no_finite_solution(band, chunks):
    structure, matrix = structure_of(banded(60, band), chunks)
    assert jnp.isfinite(solved(structure, matrix, jnp.ones(60))).all()
    for row in (0, 29, 59):
        zero, place = (jnp.arange(60) != row).astype(float), jnp.arange(60) == row
        singular = structure_jacobian(structure, zero[:, None] * banded(60, band))
        assert not jnp.isfinite(solved(structure, singular, jnp.ones(60))).all()
        for broken in (np.nan, np.inf):
            diagonal = structure.diagonal(jnp.where(place, broken, 1.0))
            spoilt = jax.tree.map(jnp.add, matrix, diagonal)
            assert not jnp.isfinite(solved(structure, spoilt, jnp.ones(60))).all()


def structure_jacobian(structure: BlockTridiagonal, dense: Any) -> tuple:
    return structure.jacobian(lambda y: jnp.asarray(dense) @ y, jnp.zeros(len(dense)))


def test_gradients_through_a_solve_are_those_of_a_dense_one():
    dense = banded(40, 2)
    structure, matrix = structure_of(dense)

    def banded_loss(scale, b):
        scaled = jax.tree.map(lambda a: scale * a, matrix)
        return jnp.sum(linear_solve(structure, scaled, structure.factor(scaled), b) ** 3)

    def dense_loss(scale, b):
        return jnp.sum(jnp.linalg.solve(scale * jnp.asarray(dense), b) ** 3)

    at = jnp.asarray(1.3), jnp.linspace(0, 5, 40)
    found, expected = (jax.jit(jax.grad(f, (0, 1)))(*at) for f in (banded_loss, dense_loss))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


def test_systems_are_solved_side_by_side():
    structure, matrix = structure_of(banded(40, 2))
    scales, b = jnp.array([1.0, 2.0, 5.0]), jnp.linspace(0, 1, 40)

    one = solved(structure, matrix, b)
    several = jax.tree.map(lambda a: scales[:, None, None, None, None] * a[None], matrix)
    found = jax.jit(jax.vmap(lambda m: solved(structure, m, b)))(several)
    np.testing.assert_allclose(found, one[None] / scales[:, None], atol=1e-14)


def test_structures_are_equal_by_content_and_say_what_they_are():
    first, second = (BlockTridiagonal(Pattern.of(banded(40, 2))) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first.describe() == (
        "block LU of 20 blocks of 2 x 2 on three diagonals, in 2 chunks; Jacobian from 5 products"
    )
