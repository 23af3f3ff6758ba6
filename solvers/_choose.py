"""Which solver is used when none is given, in one table."""

from __future__ import annotations

import warnings
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import optimistix as optx

from sciml.dsl import DeclarationError

from ._reversible_adjoint import ReversibleAdjoint

# | asked for      | tolerance     | solver   | why                                                |
# |----------------|---------------|----------|----------------------------------------------------|
# | nothing        | rtol > 1e-8   | Tsit5    | order 5, few stages: best at usual tolerances      |
# | nothing        | rtol <= 1e-8  | Dopri8   | order 8: fewer evaluations where digits are many;  |
# |                |               |          | local tolerances 300 times tighter, so that the    |
# |                |               |          | error at the end is about what was asked for       |
# | "stiff"        | any           | Kvaerno5 | L-stable, stiffly accurate; a working root finder  |
# | a solver       | any           | itself   | diffrax's broken default root finder is replaced;  |
# |                |               |          | constant steps dt0 if it does not estimate errors  |
_TIGHT = 1e-8
_LOCAL = 0.003  # of the asked tolerance, per step, for many digits

# | adjoint        | mode    | memory in n steps   | its gradient is that of                      |
# |----------------|---------|---------------------|----------------------------------------------|
# | "checkpointed" | reverse | sqrt(2 n) states    | the steps taken; if nothing is given         |
# | "direct"       | both    | 16 log n steps      | the steps taken                              |
# | "backsolve"    | reverse | a few states        | adjoint equations: to the tolerance alone    |
# | "reversible"   | reverse | a few states        | the steps taken, found again from the end;   |
# |                |         |                     | each costs two of an explicit method         |
# | "forward"      | forward | a few states for    | the steps taken                              |
# |                |         | each parameter      |                                              |
_ADJOINTS = {
    "checkpointed": dfx.RecursiveCheckpointAdjoint,
    "direct": dfx.DirectAdjoint,
    "backsolve": dfx.BacksolveAdjoint,
    "forward": dfx.ForwardMode,
    "reversible": ReversibleAdjoint,
}

# | floating type | rtol | atol |
_CONTROLLER = "diffrax.PIDController(rtol=1e-6, atol=1e-8)"
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
    _expect(solver, dfx.AbstractSolver, "solver", "a Diffrax solver", "diffrax.Tsit5()")
    if solver.term_structure not in (dfx.AbstractTerm, dfx.ODETerm):
        raise DeclarationError(
            f"{type(solver).__name__} wants its equations in several parts (explicit and implicit, "
            "or drift and noise), and a system has one: take diffrax.Tsit5() or diffrax.Kvaerno5()"
        )
    return with_working_root_finder(solver)


def choose_controller(
    controller: Any, solver: Any, rtol: float, atol: float
) -> dfx.AbstractStepSizeController:
    """The step size controller by the table above; `solver` is what the user gave.

    Raises `DeclarationError` for what is no controller, and for an adaptive one with a solver that
    does not estimate its error.
    """
    constant = isinstance(solver, dfx.AbstractSolver) and not isinstance(
        solver, dfx.AbstractAdaptiveSolver
    )
    if controller is not None:
        kind = dfx.AbstractStepSizeController
        _expect(controller, kind, "stepsize_controller", "one of Diffrax's", _CONTROLLER)
        if constant and isinstance(controller, dfx.PIDController):
            raise DeclarationError(
                f"{type(solver).__name__} does not estimate its error, so that its steps cannot be "
                "adapted: leave stepsize_controller away and give dt0=..., or take diffrax.Tsit5()"
            )
        return controller
    if constant:
        return dfx.ConstantStepSize()
    if solver is None and rtol <= _TIGHT:
        return dfx.PIDController(rtol=max(rtol * _LOCAL, 1e-14), atol=atol * _LOCAL)
    return dfx.PIDController(rtol=rtol, atol=atol)


def choose_adjoint(adjoint: Any) -> dfx.AbstractAdjoint:
    """How derivatives go through the solve: by the table above, or an adjoint of Diffrax.

    Raises `DeclarationError` for what is neither.
    """
    if adjoint is None:
        return dfx.RecursiveCheckpointAdjoint()
    chosen: Any = adjoint
    if isinstance(adjoint, str) and adjoint in _ADJOINTS:
        chosen = _ADJOINTS[adjoint]()
    names = ", ".join(f'"{name}"' for name in _ADJOINTS)
    what = f"one of Diffrax's or {names}"
    _expect(chosen, dfx.AbstractAdjoint, "adjoint", what, "diffrax.DirectAdjoint()")
    return chosen


def _expect(given: Any, kind: type, option: str, what: str, example: str) -> None:
    if isinstance(given, kind):
        return
    received = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise DeclarationError(f"{option} is {what}, such as {example}, not {received}")


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

    Warns where a tolerance is tighter than the type allows, and raises `DeclarationError` where it
    is negative, no number, or both are zero.
    """
    default = _TOLERANCES[jnp.dtype(dtype).name]
    given = {"rtol": rtol, "atol": atol}
    rtol, atol = (
        d if g is None else as_number(name, g)
        for (name, g), d in zip(given.items(), default, strict=True)
    )
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise DeclarationError(
            f"rtol={rtol:g}, atol={atol:g}: tolerances are positive numbers, such as rtol=1e-6"
        )
    smallest = float(jnp.finfo(dtype).eps)
    if 0 < rtol < smallest or max(rtol, atol) < smallest:
        name = jnp.dtype(dtype).name
        cure = "loosen them"
        if name == "float32":
            cure += " or enable float64 by jax.config.update('jax_enable_x64', True)"
        warnings.warn(
            f"rtol={rtol:g} and atol={atol:g} ask for more than the precision of {name} "
            f"({smallest:.1e}): {cure}",
            stacklevel=3,
        )
    return rtol, atol


def as_number(name: str, value: Any) -> float:
    """A number that the user gave for an option."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DeclarationError(f"{name} is a number, not {value!r}") from None
