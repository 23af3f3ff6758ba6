"""A structure as a linear solver of lineax: for the stages of Diffrax's implicit solvers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx

from ._structure import AbstractStructure


class StructuredState(eqx.Module):
    """Factors, and whether the transposed system is solved."""

    factors: Any
    transposed: bool = eqx.field(static=True)


_FULL = lx.LU()


class StructuredSolver(lx.AbstractLinearSolver):
    """Solves with any operator whose matrix has the structure: it is found by a few products.

    Operators on other spaces, such as those of adjoint equations, are solved with by dense LU.

    >>> import jax.numpy as jnp, lineax as lx
    >>> from sciml.solvers.linear import Diagonal, StructuredSolver
    >>> operator = lx.FunctionLinearOperator(lambda x: 2.0 * x, jnp.zeros(3))
    >>> lx.linear_solve(operator, jnp.ones(3), StructuredSolver(Diagonal(3))).value
    Array([0.5, 0.5, 0.5], dtype=float32)
    """

    structure: AbstractStructure = eqx.field(static=True)

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        shape = operator.in_structure()
        if not (hasattr(shape, "shape") and shape.shape == (self.structure.size,)):
            return _FULL.init(operator, options)
        start = jnp.zeros(shape.shape, shape.dtype)
        matrix = self.structure.jacobian(operator.mv, start)
        return StructuredState(self.structure.factor(matrix), transposed=False)

    def compute(
        self, state: Any, vector: Any, options: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        if not isinstance(state, StructuredState):
            return _FULL.compute(state, vector, options)
        solve = self.structure.solve_transposed if state.transposed else self.structure.solve
        return solve(state.factors, vector), lx.RESULTS.successful, {}

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict]:
        if not isinstance(state, StructuredState):
            return _FULL.transpose(state, options)
        return StructuredState(state.factors, transposed=not state.transposed), {}

    def conj(self, state: StructuredState, options: dict[str, Any]) -> tuple[Any, dict]:
        raise NotImplementedError("real matrices alone are solved with here")

    def assume_full_rank(self) -> bool:
        return True
