"""The mass matrix M of ``M y' = f``: products with it, and its form in a structure.

It is constant: the identity (None), a diagonal (a vector), a square array, or a `MassMatrix`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl.codegen.mass import MassMatrix

from ._dense import Dense
from ._structure import AbstractStructure

Mass = Array | MassMatrix | None


def weighed(mass: Mass, x: Array) -> Array:
    """The mass matrix times a vector."""
    if mass is None:
        return x
    if isinstance(mass, MassMatrix):
        return mass.apply(x)
    return mass.astype(x.dtype) * x if mass.ndim == 1 else mass.astype(x.dtype) @ x


def embedded(structure: AbstractStructure, mass: Mass, dtype: Any) -> Any:
    """The mass matrix as a matrix of a structure, whose pattern holds all its entries."""
    if mass is None:
        return structure.diagonal(jnp.ones(structure.size, dtype))
    if not isinstance(mass, MassMatrix):
        if mass.ndim == 1:
            return structure.diagonal(mass.astype(dtype))
        if isinstance(structure, Dense):
            return mass.astype(dtype)
    # a linear map is its own derivative
    return structure.jacobian(lambda x: weighed(mass, x), jnp.zeros(structure.size, dtype))


def rates(mass: Mass, f: Array) -> Array:
    """Some ``y'`` with ``M y' = f``, as far as there is one: the others are 0, or the least."""
    if mass is None:
        return f
    if isinstance(mass, MassMatrix):
        # rows without a rate, and columns beside the diagonal, are those of zeros on it
        return mass.diagonal.astype(f.dtype) * f
    if mass.ndim == 1:  # of any size, and zero for algebraic equations
        mass = mass.astype(f.dtype)
        return jnp.where(mass == 0, 0.0, f / jnp.where(mass == 0, 1.0, mass))
    return jnp.linalg.pinv(mass.astype(f.dtype)) @ f


def shifted(structure: AbstractStructure, matrix: Any, scale: Any, mass: Mass = None) -> Any:
    """``scale M - A``, in the form of the structure; M is the identity, if no mass is given."""
    own = embedded(structure, mass, jnp.result_type(scale))
    return jax.tree.map(lambda m, a: scale * m - a, own, matrix)
