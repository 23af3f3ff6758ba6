"""The verb `steady`: what does not change in time, by Newton's method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError, Model, Scheme, SolveError, System, compile, t as time
from sciml.dsl.codegen.depends import PatternError

from ._newton import Root, find_root, root_structure
from ._results import is_traced, refuse_missing
from ._solution import Solution
from .linear import AbstractStructure, Dense

_TRACED = "no steady state was found; run it without jit, vmap and grad to see why"
_POWER = 0.6  # of the rounding error: the next correction is then below it


def steady(
    system: System | Model,
    *,
    initial: Mapping[Any, Any] | None = None,
    values: Mapping[Any, Any] | None = None,
    grid: Mapping[Any, Any] | None = None,
    order: int = 4,
    scheme: Scheme = None,
    max_steps: int = 100,
    throw: bool = True,
) -> Solution:
    """The steady state of a system: where all rates are zero, and all algebraic equations hold.

    ``0 = f(y)`` for a system ``M dy/dt = f(y)``; also of fields and unknowns without any rate, for
    which it is what `solve` without `t` does. By Newton's method, damped, from the initial values
    (0, where none are given), with a sparse direct solver; a linear problem takes one iteration.

    Arguments
      system: what to solve; a `System` is compiled first, once.
      initial, values: the guess, and parameters that replace the declared ones.
      grid, order, scheme: of a system of fields, as for `compile`.
      max_steps: how many iterations there may be; ``sol.stats["num_steps"]`` tells how many
        there were.
      throw: whether a failure raises; otherwise `Solution.result` tells.

    Returns a `Solution` without times: ``sol[u]`` has the shape of the nodes. Derivatives by
    parameters are those of the implicit function. The stability of the state is not looked at.

    Raises `SolveError` where none was found: it names the unknown and the iteration, or says that
    the solution is not determined.

    >>> import sciml as sm
    >>> x, r = sm.unknown("x"), sm.parameter("r", 2.0)
    >>> growth = sm.System(sm.Eq(sm.D(x), r * x * (1 - x / 5)), initial={x: 4})
    >>> round(float(sm.steady(growth)[x]), 4)
    5.0

    Source: Deuflhard, Newton Methods for Nonlinear Problems (2004), section 3.3.
    """
    model = compiled(system, grid, order, scheme)
    _refuse(model, max_steps)
    if initial or values:
        model = model.replace(initial=initial, values=values)
    model = _guessed(model)
    refuse_missing(model)
    structure = _structure(model)
    y, root = _solved(model, structure, max_steps)
    if throw:
        y = _checked(model, y, root)
    results: Any = dfx.RESULTS
    code = results.where(root.good, results.successful, results.nonlinear_divergence)
    method = f"Newton's method, {structure.describe()}"
    stats = {"num_steps": root.count}
    return Solution(model, jnp.zeros((), model.dtype), y, None, stats, code, method)


def compiled(system: Any, grid: Any, order: int, scheme: Any) -> Model:
    """The model of a system, or the model that was given."""
    model = system
    if isinstance(system, System):
        model = compile(system, grid=grid, order=order, scheme=scheme)
    elif grid is not None:
        raise DeclarationError("grid: this model is compiled already; give the grid to sm.compile")
    if not isinstance(model, Model):
        raise DeclarationError(f"solve takes a System or a Model, not {type(system).__name__}")
    return model


def _refuse(model: Model, max_steps: Any) -> None:
    """What has no steady state."""
    if model.program.noise is not None or model.program.paths:
        raise DeclarationError(
            "a system with noise or controls is never at rest: leave them out, or solve it over "
            "t=(t0, t1)"
        )
    for equation in (*model.system.equations, *model.system.boundary):
        if _is_timed(equation.lhs) or _is_timed(equation.rhs):
            raise DeclarationError(
                f"{equation}, written at {equation.origin}, depends on time, so that nothing is "
                "steady: put a parameter in the place of t"
            )
    if not (isinstance(max_steps, int) and max_steps > 0):
        raise DeclarationError(f"max_steps is a positive whole number, not {max_steps!r}")


def _is_timed(e: Any) -> bool:
    """Whether t stands in an expression otherwise than as an argument of unknowns."""
    if isinstance(e, sympy.Derivative):
        return _is_timed(e.expr)
    if isinstance(e, sympy.core.function.AppliedUndef):
        return False
    return e == time or any(map(_is_timed, e.args))


def _guessed(model: Model) -> Model:
    """The same, with 0 where no initial value is given."""
    start = jnp.where(jnp.isnan(model.initial), 0.0, model.initial)
    return eqx.tree_at(lambda m: m.initial, model, start)


def _structure(model: Model) -> AbstractStructure:
    try:
        return root_structure(model.jacobian_pattern)
    except PatternError:  # nearly full, and large
        return Dense(model.program.size)


@eqx.filter_jit
def _solved(
    model: Model, structure: AbstractStructure, max_steps: int
) -> tuple[Float[Array, " state"], Root]:
    constants, networks = model.constants()
    program = model.program

    def residual(y: Array) -> Array:
        return program.rhs(jnp.zeros((), y.dtype), y, constants, networks)

    guess = jax.lax.stop_gradient(model.state())
    return find_root(
        residual,
        guess,
        structure,
        tuple(s.slice for s in model.states),
        tolerance=float(jnp.finfo(guess.dtype).eps) ** _POWER,
        max_steps=max_steps,
    )


# -- what went wrong -------------------------------------------------------------------------------


def _checked(model: Model, y: Array, root: Root) -> Array:
    """The state, or an error that says what went wrong."""
    if is_traced(y, root.good):
        return eqx.error_if(y, ~root.good, _TRACED)
    if not bool(root.good):
        raise SolveError(_failure(model, np.asarray(y), root))
    return y


def _failure(model: Model, y: np.ndarray, root: Root) -> str:
    count = f"after {int(root.count)} iteration" + ("" if int(root.count) == 1 else "s")
    left = np.asarray(model.vector_field(0.0, jnp.asarray(y)))
    bad = ~np.isfinite(left)
    if np.any(bad):
        name = _piece(model, bad)
        return (
            f"the equation of {name} is infinite or not a number {count}\n  cure: give a guess "
            f"where it is not, initial={{{name}: ...}}"
        )
    if bool(root.singular):
        name = _piece(model, np.abs(np.asarray(root.loose)))
        return (
            f"the equations do not determine {name}: their Jacobian is singular {count}\n"
            "  perhaps: all conditions are of slopes or periodic, so that a constant can be added "
            "to the solution; or it is a fold, beyond which there is no solution\n"
            f"  cure: give the value of {name} at an end in the place of a slope, or add its "
            f"integral, sm.integral({name}, ...), to its equation: its mean is then fixed"
        )
    name = _piece(model, np.abs(np.nan_to_num(np.asarray(root.step), nan=np.inf)))
    return (
        f"no solution was found {count} of Newton's method: {name} still changes\n  perhaps: there "
        "is none for these parameters, or it is far from the guess\n  cure: give a better guess, "
        f"initial={{{name}: ...}}, or come from parameters for which it is known"
    )


def _piece(model: Model, sizes: Any) -> str:
    """The unknown with the largest of these numbers."""
    worst = int(np.argmax(sizes))
    name = next(s.name for s in model.states if s.slice.start <= worst < s.slice.stop)
    return model.whole(name)
