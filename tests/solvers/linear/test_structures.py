"""Every structure solves as dense LU does, forth and transposed, and is differentiated so."""

from __future__ import annotations

import importlib.util

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from benchmarks import problems
from benchmarks.stiff_problems import brusselator_1d, brusselator_2d
from sciml import DeclarationError, compile
from sciml.dsl.codegen.pattern import Pattern
from sciml.solvers.linear import (
    KLU,
    BlockJacobi,
    BlockTridiagonal,
    Dense,
    Diagonal,
    Krylov,
    SparseLU,
    StructuredSolver,
    Unrolled,
    choose_structure,
    linear_solve,
    shifted,
)

needs_klu = pytest.mark.skipif(importlib.util.find_spec("klujax") is None, reason="no klujax")


def grid(side: int = 6) -> Pattern:
    """Five points on a square."""
    size = side * side
    matrix = np.eye(size)
    for i in range(size):
        for j in (i - 1, i + 1, i - side, i + side):
            if 0 <= j < size:
                matrix[i, j] = 1
    return Pattern.of(matrix)


def arrow(size: int = 9) -> Pattern:
    """A full row, a full column and the diagonal; one place of the diagonal is empty."""
    matrix = np.eye(size)
    matrix[0] = matrix[:, 0] = 1
    matrix[4, 4] = 0
    return Pattern.of(matrix)


def torus(side: int = 4, species: int = 2) -> Pattern:
    """Species that diffuse to four neighbours on a torus, and react at each point."""
    points = np.arange(side**2).reshape(side, side)
    matrix = np.zeros((side**2, side**2))
    for axis in (0, 1):
        for shift in (1, -1):
            matrix[points.ravel(), np.roll(points, shift, axis).ravel()] = 1
    reactions = np.kron(np.ones((species, species)), np.eye(side**2))
    return Pattern.of(np.kron(np.eye(species), matrix) + reactions)


def places(pattern: Pattern) -> tuple:
    return tuple(zip(pattern.rows.tolist(), pattern.cols.tolist(), strict=True))


CASES = {
    "diagonal": (Diagonal(5), Pattern.of(np.eye(5))),
    "unrolled": (Unrolled(9, places(arrow())), arrow()),
    "sparse": (SparseLU(grid()), grid()),
    "sparse arrow": (SparseLU(arrow()), arrow()),
    "dense": (Dense(9), arrow()),
    "krylov": (Krylov(grid(), tolerance=1e-13), grid()),
    "krylov, ilu": (Krylov(grid(), tolerance=1e-13, preconditioner="ilu"), grid()),
    "krylov, two species": (Krylov(torus(), tolerance=1e-13, most=8), torus()),
    "block": (BlockTridiagonal(grid()), grid()),
    "klu": (KLU(grid()), grid()),
}
NAMES = [pytest.param(n, marks=needs_klu) if n == "klu" else n for n in CASES]


def matrix_of(pattern: Pattern, dtype=float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    dense = np.zeros(pattern.shape, dtype)
    values = random.normal(size=pattern.size)
    if dtype is complex:
        values = values + 1j * random.normal(size=pattern.size)
    dense[pattern.rows, pattern.cols] = values
    return dense


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [float, complex])
def test_a_shifted_matrix_is_solved_with(name, dtype):
    structure, pattern = CASES[name]
    dense = matrix_of(pattern, dtype)
    b = np.random.default_rng(1).normal(size=structure.size).astype(dtype)
    matrix = structure.jacobian(lambda x: jnp.asarray(dense) @ x, jnp.zeros(structure.size, dtype))
    whole = shifted(structure, matrix, jnp.asarray(9.0, dtype))
    wanted = 9 * np.eye(structure.size) - dense
    np.testing.assert_allclose(
        structure.apply(whole, jnp.asarray(b)), wanted @ b, rtol=1e-12, atol=1e-12
    )
    factors = structure.factor(whole)
    for found, theirs in (
        (structure.solve(factors, jnp.asarray(b)), wanted),
        (structure.solve_transposed(factors, jnp.asarray(b)), wanted.T),
    ):
        np.testing.assert_allclose(found, np.linalg.solve(theirs, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("diagonal",)])
def test_a_solve_is_differentiated_as_a_linear_solve(name):
    structure, pattern = CASES[name]
    dense = jnp.asarray(matrix_of(pattern))
    b = jnp.asarray(np.random.default_rng(1).normal(size=structure.size))

    def ours(s):
        matrix = structure.jacobian(lambda x: s * (dense @ x), jnp.zeros(structure.size))
        whole = shifted(structure, matrix, jnp.asarray(9.0))
        return jnp.sum(jnp.sin(linear_solve(structure, whole, structure.factor(whole), b * s)))

    def theirs(s):
        return jnp.sum(jnp.sin(jnp.linalg.solve(9 * jnp.eye(structure.size) - s * dense, b * s)))

    wanted = jax.grad(theirs)(1.3)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(1.3), wanted, rtol=1e-8)
    np.testing.assert_allclose(jax.jvp(ours, (1.3,), (1.0,))[1], wanted, rtol=1e-8)


@pytest.mark.parametrize("name", ["unrolled", "sparse", "block", "krylov"])
def test_a_singular_matrix_gives_no_numbers(name):
    structure, _ = CASES[name]
    zero = structure.diagonal(jnp.zeros(structure.size))
    assert not np.isfinite(structure.solve(structure.factor(zero), jnp.ones(structure.size))).any()


def test_the_mass_is_a_diagonal():
    structure, pattern = CASES["sparse arrow"]
    mass = jnp.asarray([1.0, 0, 1, 1, 0, 1, 1, 1, 1])
    dense = matrix_of(pattern)
    matrix = structure.jacobian(lambda x: jnp.asarray(dense) @ x, jnp.zeros(9))
    x = np.arange(9.0)
    found = structure.apply(shifted(structure, matrix, jnp.asarray(2.0), mass), jnp.asarray(x))
    np.testing.assert_allclose(found, 2 * np.asarray(mass) * x - dense @ x, rtol=1e-12)


@pytest.mark.parametrize("name", ["sparse", "block"])
def test_lineax_solves_with_a_structure(name):
    structure, pattern = CASES[name]
    dense = jnp.asarray(matrix_of(pattern)) + 9 * jnp.eye(structure.size)
    b = jnp.ones(structure.size)
    operator = lx.FunctionLinearOperator(lambda x: dense @ x, jax.eval_shape(lambda: b))
    solver = StructuredSolver(structure)
    found = eqx.filter_jit(lambda: lx.linear_solve(operator, b, solver).value)()
    np.testing.assert_allclose(found, np.linalg.solve(dense, b), rtol=1e-9)
    found = lx.linear_solve(operator.T, b, solver).value
    np.testing.assert_allclose(found, np.linalg.solve(dense.T, b), rtol=1e-9)


def test_elimination_by_minimum_degree_fills_in_little():
    side = 16
    structure = SparseLU(grid(side))
    filled = len(structure.plan.rows)
    assert filled < side**2 * 2 * side * 0.6  # an order by bandwidth fills the whole band


@pytest.mark.parametrize("species", [1, 2, 3, 4])
def test_the_unknowns_at_a_point_are_found(species):
    structure = BlockJacobi(torus(10, species))
    assert structure.block == species


def test_blocks_are_inverted_exactly_where_nothing_else_couples():
    pattern = Pattern.of(np.kron(np.ones((3, 3)), np.eye(5)))
    structure, dense = BlockJacobi(pattern), matrix_of(pattern) + 9 * np.eye(15)
    matrix = structure.jacobian(lambda x: jnp.asarray(dense) @ x, jnp.zeros(15))
    found = structure.solve(structure.factor(matrix), jnp.arange(15.0))
    np.testing.assert_allclose(found, np.linalg.solve(dense, np.arange(15.0)), rtol=1e-10)


def test_products_are_enough_to_solve_with():
    structure = CASES["krylov, two species"][0]
    dense = jnp.asarray(matrix_of(torus())) + 9 * jnp.eye(structure.size)
    matrix = structure.jacobian(lambda x: dense @ x, jnp.zeros(structure.size))
    weights = jnp.linspace(0.1, 2.0, structure.size)
    b = jnp.cos(jnp.arange(1.0 * structure.size))
    found = structure.solve_near(
        lambda x: dense @ x, structure.near.factor(matrix), b,
        units=(weights, 1 / weights), small=jnp.asarray(1e-10),
    )  # fmt: skip
    assert float(jnp.sqrt(jnp.mean(((b - dense @ found) / weights) ** 2))) <= 1e-9


def test_an_unknown_preconditioner_is_refused():
    with pytest.raises(DeclarationError, match='"block_jacobi" or "ilu"'):
        Krylov(grid(), preconditioner="jacobi")


def test_the_structure_follows_from_the_pattern():
    kinds = {
        "robertson": (compile(problems.robertson().system).jacobian_pattern, Unrolled),
        "pollu": (compile(problems.pollu().system).jacobian_pattern, SparseLU),
        "rod": (compile(brusselator_1d(1024).system).jacobian_pattern, BlockTridiagonal),
        "torus": (compile(brusselator_2d(12).system).jacobian_pattern, SparseLU),
        "fine torus": (compile(brusselator_2d(24).system).jacobian_pattern, Krylov),
        "full": (Pattern.of(np.ones((40, 40))), Dense),
        "alone": (Pattern.of(np.eye(1000)), Diagonal),
    }
    rows = np.kron(np.eye(300) + np.eye(300, k=1) + np.eye(300, k=-1), np.ones((8, 8)))
    if importlib.util.find_spec("klujax"):  # a rod of 8 species: little fills in
        kinds["rod of many"] = Pattern.of(rows), KLU
    for name, (pattern, kind) in kinds.items():
        assert isinstance(choose_structure(pattern, "cpu"), kind), name
    assert isinstance(choose_structure(kinds["pollu"][0], "gpu"), Dense)
    assert isinstance(choose_structure(kinds["rod"][0], "gpu"), BlockTridiagonal)
