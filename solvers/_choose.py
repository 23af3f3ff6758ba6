"""Which solver is used when none is given, in one table."""

from __future__ import annotations

import warnings
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import optimistix as optx

from sciml.dsl import DeclarationError

# | asked for      | tolerance     | solver   | why                                                |
# |----------------|---------------|----------|----------------------------------------------------|
# | nothing        | rtol > 1e-8   | Tsit5    | order 5, few stages: best at usual tolerances      |
# | nothing        | rtol <= 1e-8  | Dopri8   | order 8: fewer evaluations where digits are many;  |
# |                |               |          | local tolerances 100 times tighter, so that the    |
# |                |               |          | error at the end is about what was asked for       |
# | "stiff"        | any           | Kvaerno5 | L-stable, stiffly accurate; a working root finder  |
# | a solver       | any           | itself   | diffrax's broken default root finder is replaced   |
_TIGHT = 1e-8
_LOCAL = 0.01  # of the asked tolerance, per step, for many digits

# | floating type | rtol | atol |
_TOLERANCES = {"float64": (1e-6, 1e-8), "float32": (1e-4, 1e-6)}


def choose_solver(solver: Any, rtol: float) -> dfx.AbstractSolver:
    """The solver by the table above.

    Raises `DeclarationError` for what is neither None, "stiff" nor a Diffrax solver.
    """
    if solver is None:
        return dfx.Dopri8() if rtol <= _TIGHT else dfx.Tsit5()
    if isinstance(solver, str):
        if solver != "stiff":
            raise DeclarationError(f'solver is None, "stiff" or a Diffrax solver, not {solver!r}')
        solver = dfx.Kvaerno5()
    if not isinstance(solver, dfx.AbstractSolver):
        raise DeclarationError(
            f"solver is a Diffrax solver such as diffrax.Tsit5(), not {type(solver).__name__}"
        )
    return with_working_root_finder(solver)


def choose_controller(
    controller: Any, solver: Any, rtol: float, atol: float
) -> dfx.AbstractStepSizeController:
    """The step size controller by the table above; `solver` is what the user gave."""
    if controller is not None:
        return controller
    if solver is None and rtol <= _TIGHT:
        return dfx.PIDController(rtol=max(rtol * _LOCAL, 1e-14), atol=atol * _LOCAL)
    return dfx.PIDController(rtol=rtol, atol=atol)


def with_working_root_finder(solver: dfx.AbstractSolver) -> dfx.AbstractSolver:
    """An implicit solver whose root finder is diffrax's default, with one that converges.

    The default takes "not yet converged" for divergence with optimistix 0.1: Robertson's problem
    then takes 451 steps in place of 34.
    """
    if isinstance(solver, dfx.AbstractImplicitSolver) and isinstance(
        solver.root_finder, dfx.VeryChord
    ):
        finder = dfx.with_stepsize_controller_tols(optx.Chord)()
        return eqx.tree_at(lambda s: s.root_finder, solver, finder)
    return solver


def choose_tolerances(rtol: float | None, atol: float | None, dtype: Any) -> tuple[float, float]:
    """Relative and absolute tolerance; those not given follow from the floating type.

    Warns where a tolerance is tighter than the type allows.
    """
    default = _TOLERANCES[jnp.dtype(dtype).name]
    rtol, atol = (d if g is None else float(g) for g, d in zip((rtol, atol), default, strict=True))
    smallest = float(jnp.finfo(dtype).eps)
    if rtol < smallest and atol < smallest:
        warnings.warn(
            f"rtol={rtol:g} and atol={atol:g} are below the precision of {jnp.dtype(dtype).name} "
            f"({smallest:.1e}): enable float64 by jax.config.update('jax_enable_x64', True)",
            stacklevel=3,
        )
    return rtol, atol
