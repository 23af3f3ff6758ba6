"""Which solver is used when none is given, in one table."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import optimistix as optx

from sciml.dsl import DeclarationError, Model
from sciml.dsl.codegen.depends import PatternError
from sciml.dsl.codegen.mass import MassMatrix

from ._gauss_adjoint import GaussAdjoint
from ._initial import refuse_explicit
from ._results import is_traced
from ._reversible_adjoint import ReversibleAdjoint
from .linear import AbstractStructure, Dense, StructuredSolver, choose_structure
from .stepping._bdf import BDF
from .stepping._chebyshev import RKC
from .stepping._exponential import ETDRK4
from .stepping._first_step import is_ours
from .stepping._rosenbrock import Rodas5P, Rosenbrock23
from .stepping._switching import Switching
from .stepping._waves import semilinear

# | asked for      | tolerance     | solver       | why                                            |
# |----------------|---------------|--------------|------------------------------------------------|
# | nothing        | rtol > 1e-8   | Tsit5        | order 5, few stages: best at usual tolerances  |
# | nothing        | rtol <= 1e-8  | Dopri8       | order 8: fewer evaluations where digits are    |
# |                |               |              | many; local tolerances 300 times tighter, so   |
# |                |               |              | that the error at the end is about what was    |
# |                |               |              | asked for                                      |
# | "stiff", or    | rtol > 3e-3   | Rosenbrock23 | order 2, three stages                          |
# | nothing, where |               |              |                                                |
# | there are      | rtol <= 3e-3, | Rodas5P      | order 5, L-stable, no iteration: fastest for   |
# | algebraic      | 100 unknowns  |              | small systems                                  |
# | equations      | rtol <= 3e-3, | BDF          | few factorisations: for large systems          |
# |                | more          |              |                                                |
# | "auto"         | any           | Switching    | Tsit5 where it is not stiff, Rodas5P where it  |
# |                |               |              | is; also taken when the explicit solver that   |
# |                |               |              | was chosen has used up max_steps               |
# | a solver       | any           | itself       | ours learn the structure of the Jacobian;      |
# |                |               |              | diffrax's broken default root finder is        |
# |                |               |              | replaced; constant steps dt0 if it does not    |
# |                |               |              | estimate errors                                |
_TIGHT = 1e-8
_LOOSE, _SMALL = 3e-3, 100
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
# | "gauss"        | reverse | dense output of     | adjoint equations: to the tolerance, stiff   |
# |                |         | max_steps steps     | ones too                                     |
_ADJOINTS = {
    "checkpointed": dfx.RecursiveCheckpointAdjoint,
    "direct": dfx.DirectAdjoint,
    "backsolve": dfx.BacksolveAdjoint,
    "forward": dfx.ForwardMode,
    "reversible": ReversibleAdjoint,
    "gauss": GaussAdjoint,
}

# | floating type | rtol | atol |
_CONTROLLER = "diffrax.PIDController(rtol=1e-6, atol=1e-8)"
_TOLERANCES = {"float64": (1e-6, 1e-8), "float32": (1e-4, 1e-6)}


def choose_solver(solver: Any, rtol: float, model: Model | None = None) -> dfx.AbstractSolver:
    """The solver by the table above.

    Raises `DeclarationError` for what is neither None, "stiff", "auto" nor a Diffrax solver, and
    for one that cannot take the algebraic equations of the model.
    """
    algebraic = model is not None and any(model.program.algebraic)
    if solver is None and not algebraic:
        return dfx.Dopri8() if rtol <= _TIGHT else dfx.Tsit5()
    if solver is None or isinstance(solver, str):
        if solver not in (None, "stiff", "auto"):
            raise DeclarationError(
                f'solver is None, "stiff", "auto" or a Diffrax solver, not {solver!r}'
            )
        few = model is None or model.program.size <= _SMALL
        if solver == "auto" and not algebraic:
            solver = Switching()
        else:
            solver = Rosenbrock23() if rtol > _LOOSE else Rodas5P() if few else BDF()
    _expect(solver, dfx.AbstractSolver, "solver", "a Diffrax solver", "diffrax.Tsit5()")
    if not (solver.term_structure in (dfx.AbstractTerm, dfx.ODETerm) or is_split(solver)):
        raise DeclarationError(
            f"{type(solver).__name__} wants its equations in several parts, such as drift and "
            "noise, and this system has one: take diffrax.Tsit5() or sciml.Rodas5P()"
        )
    if model is not None:
        refuse_explicit(model, solver)
        return with_structure(solver, model)
    return with_working_root_finder(solver)


def refuse_backsolve(adjoint: Any, solver: Any) -> None:
    """Raises `DeclarationError` for adjoint equations with an implicit stepper.

    Their state is larger than the system's, and its Jacobian has another structure.
    """
    if isinstance(adjoint, dfx.BacksolveAdjoint) and wants_waves(solver):
        raise DeclarationError(
            'adjoint="backsolve" solves equations of its own, of which the model gives no rates in '
            "Fourier's coefficients: leave adjoint out"
        )
    if isinstance(adjoint, dfx.BacksolveAdjoint) and is_ours(solver):
        raise DeclarationError(
            f'adjoint="backsolve" solves equations of its own backwards, of which '
            f"{type(solver).__name__} does not know the structure, and which are unstable where "
            'the system is stiff: take adjoint="gauss", which keeps the solution and knows the '
            'structure, or leave adjoint out; "forward" for few parameters'
        )


def refuse_costs_of_waves(regularise: Any, solver: Any) -> None:
    """Raises `DeclarationError` for a cost of a solve in Fourier's coefficients."""
    if regularise is not None and wants_waves(solver):
        raise DeclarationError(
            "regularise: ETDRK4 steps in Fourier's coefficients, where errors are not those of the "
            "state that costs are made of: take diffrax.Tsit5(), or leave regularise out"
        )


def with_loops_for(solver: Any, adjoint: Any) -> Any:
    """A solver with a loop over its stages, with one through which the adjoint can go."""
    if not isinstance(solver, RKC) or solver.scan_kind is not None:
        return solver
    kinds = {dfx.ForwardMode: "lax", dfx.DirectAdjoint: "bounded"}
    return dataclasses.replace(solver, scan_kind=kinds.get(type(adjoint), "checkpointed"))


def method_of(given: Any, solver: Any, model: Model) -> str:
    """Which solver was taken, and why, in words."""
    name = type(solver).__name__
    structure = getattr(solver, "structure", None)
    linear = "" if structure is None else f", {structure.describe()}"
    if given is None and any(model.program.algebraic):
        return f"{name}, for the algebraic equations{linear}"
    if given is None:
        return f"{name}, as no solver was asked for"
    asked = f'for "{given}"' if isinstance(given, str) else "as asked for"
    return f"{name}, {asked}{linear}"


def wants_waves(solver: Any) -> bool:
    """Whether a solver steps in Fourier's coefficients, of which the model gives the rates."""
    return isinstance(solver, ETDRK4) and solver.linear is None


def is_split(solver: Any) -> bool:
    """Whether a solver takes an explicit and an implicit part: all of a system is the second."""
    return isinstance(solver, dfx.AbstractImplicitSolver) and (
        solver.term_structure == dfx.MultiTerm[tuple[dfx.AbstractTerm, dfx.AbstractTerm]]
    )


def with_structure(solver: Any, model: Model) -> Any:
    """An implicit solver with the structure of a model's Jacobian, and its mass matrix.

    One of ours, or one of Diffrax's whose root finder is its default; what a solver was given
    stays.
    """
    fields = {field.name for field in dataclasses.fields(solver)}
    if "structure" in fields and solver.structure is None:
        solver = dataclasses.replace(solver, structure=structure_of(model))
    if "mass" in fields and solver.mass is None:
        solver = dataclasses.replace(solver, mass=model.mass)
    if wants_waves(solver):
        semilinear(model)  # refused here, if it is not
    if not isinstance(solver, dfx.AbstractImplicitSolver):
        return solver
    return with_working_root_finder(solver, StructuredSolver(structure_of(model)))


def with_mass_of(solver: Any, model: Model) -> Any:
    """A solver whose mass matrix depends on parameters, with that of a model's parameters now."""
    if isinstance(getattr(solver, "mass", None), MassMatrix):
        return dataclasses.replace(solver, mass=model.mass)
    return solver


def structure_of(model: Model) -> AbstractStructure:
    """The structure of a model's Jacobian and mass matrix together."""
    try:
        pattern = model.jacobian_pattern
    except PatternError:  # nearly full, and large
        return Dense(model.program.size)
    whole = pattern.with_diagonal().with_places_of(model.mass_pattern)
    return choose_structure(whole, algebraic=any(model.program.algebraic))


def with_tolerances_of(solver: Any, controller: Any) -> Any:
    """A stepper that iterates to tolerances of its own, with those of the controller."""
    fields = {field.name for field in dataclasses.fields(solver)}
    for name in ("rtol", "atol"):
        given = getattr(controller, name, None)
        if name in fields and getattr(solver, name) is None and isinstance(given, float):
            solver = dataclasses.replace(solver, **{name: given})
    return solver


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


def bounded(
    adjoint: dfx.AbstractAdjoint, max_steps: int | None, controller: Any, times: Any, dtype: Any
) -> tuple[dfx.AbstractAdjoint, int | None]:
    """The adjoint and the most steps, where steps are constant and so their number is known.

    Reverse mode then keeps no states of steps that are not taken, and where it keeps all, it
    neither sorts nor repeats any. The number is a power of 2: few lengths compile anew.
    `times` are the start, the end and the step, as they were given.
    """
    plain = type(adjoint) is dfx.RecursiveCheckpointAdjoint
    constant = isinstance(controller, dfx.ConstantStepSize) and not is_traced(times)
    if max_steps is None or not (plain and constant):
        return adjoint, max_steps
    start, end, step = map(float, times)
    count = (end - start) / step
    count += 2 + count**2 * float(jnp.finfo(dtype).eps)  # that rounding adds
    most = 2 ** math.ceil(math.log2(count))
    if most >= max_steps:
        return adjoint, max_steps
    kept: Any = adjoint.checkpoints or math.floor(math.sqrt(2 * max_steps + 0.25) - 0.5)
    return dfx.RecursiveCheckpointAdjoint(min(kept, most)), most


def _expect(given: Any, kind: type, option: str, what: str, example: str) -> None:
    if isinstance(given, kind):
        return
    received = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise DeclarationError(f"{option} is {what}, such as {example}, not {received}")


def with_working_root_finder(
    solver: dfx.AbstractSolver, linear_solver: lx.AbstractLinearSolver | None = None
) -> dfx.AbstractSolver:
    """An implicit solver whose root finder is diffrax's default, with one that converges.

    The default takes "not yet converged" for divergence with optimistix 0.1: Robertson's problem
    then takes 451 steps in place of 34.
    """
    if isinstance(solver, dfx.AbstractImplicitSolver) and isinstance(
        solver.root_finder, dfx.VeryChord
    ):
        given = {} if linear_solver is None else {"linear_solver": linear_solver}
        finder = dfx.with_stepsize_controller_tols(optx.Chord)(**given)
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
