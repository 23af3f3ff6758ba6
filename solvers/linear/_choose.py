"""Which structure serves a pattern, in one table."""

from __future__ import annotations

import functools
import importlib.util

import jax

from sciml.dsl.codegen.pattern import Pattern

from ._block_tridiagonal import BlockTridiagonal
from ._dense import Dense
from ._diagonal import Diagonal
from ._klu import KLU
from ._krylov import Krylov
from ._ordering import bandwidth, block_order, reverse_cuthill_mckee
from ._sparse import SparseLU, count_steps, limit
from ._structure import AbstractStructure
from ._unrolled import Unrolled

# The first that fits, by measurements on two cores:
#
# | pattern                                   | device | structure                         |
# |-------------------------------------------|--------|-----------------------------------|
# | diagonal                                  | any    | division                          |
# | up to 20 steps of elimination, as in      | any    | elimination written in scalars    |
# |   full matrices of 4 unknowns             |        |                                   |
# | blocks of up to 4 on three diagonals, and | any    | block-tridiagonal, in chunks      |
# |   256 or more unknowns                    |        |   side by side                    |
# | up to 8000 unknowns, or half full         | GPU    | dense LU                          |
# | more than half full, over 32 unknowns     | CPU    | dense LU                          |
# | up to 300 000 steps of elimination        | CPU    | sparse LU in JAX                  |
# | up to 30 steps for each entry, as in      | CPU    | KLU, if klujax is installed       |
# |   chains and trees, or algebraic equations|        |                                   |
# | any other, as of grids in two and three   | any    | Krylov subspaces, preconditioned  |
# |   dimensions                              |        |                                   |
_FEW, _SCALARS, _NARROW, _LONG = 8, 20, 4, 256
_ON_GPU, _FULL, _SMALL = 8000, 0.5, 32
_STEPS, _LOOKED_AT = 300_000, 50_000


@functools.lru_cache(maxsize=128)
def choose_structure(
    pattern: Pattern, device: str = "", *, algebraic: bool = False
) -> AbstractStructure:
    """The structure for Jacobians of a pattern, by the table above; `device` is "cpu" or "gpu".

    `algebraic` tells of algebraic equations, whose blocks on the diagonal may be singular.
    """
    size, entries = pattern.shape[0], len(pattern.rows)
    on_cpu = (device or jax.default_backend()) == "cpu"
    if not (pattern.rows != pattern.cols).any():
        return Diagonal(size)
    if size <= _FEW and count_steps(pattern) <= _SCALARS:
        places = zip(pattern.rows.tolist(), pattern.cols.tolist(), strict=True)
        return Unrolled(size, tuple(places))
    full = entries > _FULL * size**2
    if size >= _LONG and not full and block_order(pattern)[1] <= _NARROW:
        return BlockTridiagonal(pattern)
    iterative = Krylov(pattern, preconditioner="ilu" if algebraic else "block_jacobi")
    if not on_cpu:
        return Dense(size) if full or size <= _ON_GPU else iterative
    if full and size > _SMALL:
        return Dense(size)
    if size <= _LOOKED_AT and count_steps(pattern) <= _STEPS:
        return SparseLU(pattern)
    if importlib.util.find_spec("klujax") and (algebraic or _fills_little(pattern)):
        return KLU(pattern)
    return iterative


def _fills_little(pattern: Pattern) -> bool:
    """Whether elimination takes few steps; of large patterns only the bandwidth is known."""
    if pattern.shape[0] <= _LOOKED_AT:
        return count_steps(pattern) <= limit(pattern)
    return pattern.shape[0] * bandwidth(pattern, reverse_cuthill_mckee(pattern)) ** 2 <= limit(
        pattern
    )
