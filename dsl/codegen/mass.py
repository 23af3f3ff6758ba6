"""MassMatrix: which combinations of rates the rows of a vector field give."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Inexact

from .pattern import Pattern, by_row
from .program import Program, State


class MassMatrix(eqx.Module):
    """A constant mass matrix with few entries beside its diagonal; it may be singular.

    Fields: `diagonal`; `entries`, those beside it, and `places`, where they are.
    """

    diagonal: Float[Array, " state"]
    entries: Float[Array, " entry"]
    places: Pattern = eqx.field(static=True)

    def beside(self, x: Inexact[Array, " state"]) -> Inexact[Array, " state"]:
        """The entries beside the diagonal, times a vector."""
        # Sums over rows of equal length: a scatter would keep a step from being one kernel.
        terms = jnp.pad(self.entries.astype(x.dtype) * x[self.places.cols], (0, 1))
        return jnp.sum(terms[by_row(self.places.rows, self.places.shape[0])], axis=1)

    def apply(self, x: Inexact[Array, " state"]) -> Inexact[Array, " state"]:
        """The matrix times a vector."""
        return self.diagonal.astype(x.dtype) * x + self.beside(x)

    def dense(self) -> Float[Array, "state state"]:
        """The matrix with all its zeros."""
        return jnp.diag(self.diagonal).at[self.places.rows, self.places.cols].add(self.entries)


def mass_pattern(program: Program) -> Pattern:
    """Where the mass matrix of a program has entries beside its diagonal."""
    rows, cols = _coupled(program)
    shape = program.size, program.size
    return Pattern.of(scipy.sparse.csr_array((np.ones(len(rows)), (rows, cols)), shape))


def mass_matrix(
    program: Program, diagonal: Float[Array, " state"], couplings: Sequence[Array]
) -> MassMatrix:
    """The mass matrix of a program, from the values of its couplings."""
    shapes = [piece.shape for row, _ in program.couplings for piece in _named(program, row)]
    parts = [
        jnp.ravel(jnp.broadcast_to(value, shape))
        for value, shape in zip(couplings, shapes, strict=True)
    ]
    rows, cols = _coupled(program)
    return MassMatrix(
        diagonal, jnp.concatenate(parts)[np.lexsort((cols, rows))], mass_pattern(program)
    )


def _coupled(program: Program) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the couplings, element by element."""
    places = [np.zeros(0, int)], [np.zeros(0, int)]
    for pair in program.couplings:
        for found, name in zip(places, pair, strict=True):
            found += [np.arange(p.offset, p.offset + p.size) for p in _named(program, name)]
    return np.concatenate(places[0]), np.concatenate(places[1])


def _named(program: Program, name: str) -> list[State]:
    return [piece for piece in program.states if piece.name == name]
