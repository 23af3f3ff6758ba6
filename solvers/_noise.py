"""Stochastic systems on Diffrax: which solver is used, and the path of the noise."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, name_of

from ._increments import Increments

# | solver               | calculus      | noise       | strong order (additive)   |
# |----------------------|---------------|-------------|---------------------------|
# | Euler                | Ito           | any         | 0.5 (1.0)                 |
# | ItoMilstein          | Ito           | commutative | 1.0                       |
# | EulerHeun            | Stratonovich  | any         | 0.5 (1.0)                 |
# | Heun, Midpoint,      | Stratonovich  | any         | 0.5 (1.0)                 |
# |   Ralston            |               |             |                           |
# | ReversibleHeun       | Stratonovich  | any         | 0.5 (1.0)                 |
# | StratonovichMilstein | Stratonovich  | commutative | 1.0                       |
# | SPaRK, GeneralShARK  | Stratonovich  | any         | 0.5 (1.5), 1.0 if commut. |
# | SlowRK               | Stratonovich  | commutative | 1.5                       |
# | SRA1, ShARK          | either        | additive    | 1.5                       |
# | SEA                  | either        | additive    | 1.0                       |
#
# Additive noise means the same in both calculi. None given: ShARK for additive noise; otherwise
# ItoMilstein or StratonovichMilstein, or Euler or EulerHeun where the noise does not commute.
_ANY = (dfx.EulerHeun, dfx.Heun, dfx.Midpoint, dfx.Ralston, dfx.ReversibleHeun, dfx.SPaRK)
_STRATONOVICH = (*_ANY, dfx.GeneralShARK)
_COMMUTATIVE = {"ito": (dfx.ItoMilstein,), "stratonovich": (dfx.StratonovichMilstein, dfx.SlowRK)}
_ADDITIVE = (dfx.SRA1, dfx.ShARK, dfx.SEA)
NOISES = ("refinable", "stepwise")
_STEPS = 1000  # constant steps, where dt0 is not given
_FINER = 0.5  # resolution of the path of the noise, in steps

_WHY = {
    "additive": "its coefficients do not depend on the unknowns",
    "scalar": "there is one Brownian motion",
    "diagonal": "each Brownian motion drives one unknown, and depends on that alone",
    "commutative": "its coefficients commute",
    "general": "its coefficients do not commute, or hold terms that cannot be looked into",
}


def takes(solver: type, kind: str, calculus: str) -> bool:
    """Whether a solver converges to the solution of a system with noise of a kind."""
    return solver in offered(kind, calculus)


def offered(kind: str, calculus: str) -> tuple[type, ...]:
    """The solvers that take noise of a kind, by the table above."""
    both = ("ito", "stratonovich") if kind == "additive" else (calculus,)
    found: list[type] = []
    for one in both:
        found += [dfx.Euler] if one == "ito" else _STRATONOVICH
        found += _COMMUTATIVE[one] if kind != "general" else ()
    return (*found, *(_ADDITIVE if kind == "additive" else ()))


def choose_sde_solver(solver: Any, model: Model) -> dfx.AbstractSolver:
    """The solver by the table above.

    Raises `DeclarationError` for one that does not take this noise, with those that do.
    """
    noise: Any = model.program.noise
    calculus = model.system.calculus
    kind = noise.kind
    if solver is None:
        if kind == "additive":
            return dfx.ShARK()
        if kind == "general":
            return dfx.Euler() if calculus == "ito" else dfx.EulerHeun()
        return dfx.ItoMilstein() if calculus == "ito" else dfx.StratonovichMilstein()
    if isinstance(solver, dfx.AbstractSolver) and takes(type(solver), kind, calculus):
        return solver
    given = type(solver).__name__ if isinstance(solver, dfx.AbstractSolver) else repr(solver)
    known = ", ".join(c.__name__ for c in offered(kind, calculus))
    names = ", ".join(name_of(w) for w in noise.brownians)
    raise DeclarationError(
        f"{given} does not take the noise of {names}: the system is of {calculus}, and its noise "
        f"is {kind} ({_WHY[kind]}); {_reason(solver, calculus)}. Those that do: {known}"
    )


def _reason(solver: Any, calculus: str) -> str:
    if isinstance(solver, _ADDITIVE):
        return "this solver is for additive noise"
    if isinstance(solver, (*_COMMUTATIVE["ito"], *_COMMUTATIVE["stratonovich"])):
        own = "ito" if isinstance(solver, dfx.ItoMilstein) else "stratonovich"
        if own == calculus:
            return "this solver needs noise that commutes"
    if isinstance(solver, (dfx.Euler, dfx.ItoMilstein)):
        return "this solver converges to Ito's solution, convert the system by to_ito"
    if isinstance(solver, (*_STRATONOVICH, *_COMMUTATIVE["stratonovich"])):
        return (
            "this solver converges to Stratonovich's solution, convert the system by "
            "to_stratonovich"
        )
    return "this solver is for equations without noise"


def choose_sde_controller(controller: Any, solver: dfx.AbstractSolver) -> Any:
    """Constant steps, if nothing is given.

    Raises `DeclarationError` for an adaptive one with a solver that does not estimate its error.
    """
    if controller is None:
        return dfx.ConstantStepSize()
    adapts = isinstance(solver, dfx.AbstractAdaptiveSolver)
    if isinstance(controller, dfx.PIDController) and not adapts:
        raise DeclarationError(
            f"{type(solver).__name__} does not estimate its error, so that its steps cannot be "
            "adapted: leave stepsize_controller away and give dt0=..., or take diffrax.SPaRK()"
        )
    return controller


def draw_path(
    model: Model,
    key: Any,
    t0: Array,
    t1: Array,
    step: Array,
    solver: dfx.AbstractSolver,
    *,
    stepwise: bool = False,
) -> dfx.AbstractPath:
    """The Brownian path of a solve, with the Levy area that its solver needs.

    Raises `DeclarationError` where there is no key.
    """
    names = ", ".join(name_of(w) for w in model.system.survey.noises)
    is_key = isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    )
    if not is_key:
        raise DeclarationError(
            f"the path of {names} is drawn at random: give key=jax.random.key(0); for many paths, "
            "map over keys, jax.vmap(lambda key: sm.solve(..., key=key)[x])(jax.random.split(key))"
        )
    area = getattr(solver, "minimal_levy_area", dfx.BrownianIncrement)
    concrete = {
        dfx.AbstractSpaceTimeLevyArea: dfx.SpaceTimeLevyArea,
        dfx.AbstractSpaceTimeTimeLevyArea: dfx.SpaceTimeTimeLevyArea,
    }
    levy = concrete.get(area, dfx.BrownianIncrement)
    if stepwise:
        return Increments(t0=t0, t1=t1, step=step, key=key, size=_size(model), levy_area=levy)
    shape = jax.ShapeDtypeStruct((_size(model),), model.dtype)
    tol = jnp.minimum(_FINER * step, 0.999 * (t1 - t0))
    return dfx.VirtualBrownianTree(t0, t1, tol, shape, key, levy_area=levy)


def is_stepwise(noise: Any, controller: Any, adjoint: Any) -> bool:
    """Whether noise is drawn step by step.

    Raises `DeclarationError` for what is no kind of noise, and where steps may be taken twice.
    """
    if noise not in NOISES:
        known = ", ".join(map(repr, NOISES))
        raise DeclarationError(f"noise is one of {known}, not {noise!r}")
    if noise == "refinable":
        return False
    once = (dfx.RecursiveCheckpointAdjoint, dfx.DirectAdjoint, dfx.ForwardMode)
    if isinstance(controller, dfx.ConstantStepSize) and isinstance(adjoint, once):
        return True
    raise DeclarationError(
        'noise="stepwise" belongs to constant steps that are taken in one direction: leave '
        "stepsize_controller and adjoint out, or noise"
    )


def _size(model: Model) -> int:
    """Length of the vector of noise: that of the state where each component has its own."""
    program: Any = model.program
    return program.size if program.noise.one_each else program.noise_size


def first_sde_step(t0: Array, t1: Array) -> Array:
    """The constant step where none is given."""
    return (t1 - t0) / _STEPS


class Diffusion(eqx.Module):
    """The coefficient of the noise as a linear operator; diagonal where it is."""

    program: Any = eqx.field(static=True)

    def __call__(self, t: Any, y: Array, args: Any) -> lx.AbstractLinearOperator:
        constants, networks = args[1]
        program = self.program
        if program.noise.kind == "additive":  # where solvers look whether it depends on the state
            y = jnp.zeros(y.shape, y.dtype)
        time = jnp.asarray(t, y.dtype)

        def applied(rate: Array) -> Array:
            return program.diffusion(time, jnp.concatenate([y, rate]), constants, networks)

        ones = jnp.ones((program.noise_size,), y.dtype)
        if program.noise.one_each:  # each component has its own place in the state
            return lx.DiagonalLinearOperator(applied(ones))
        if program.noise_size == 1:
            return lx.MatrixLinearOperator(applied(ones)[:, None])
        columns = jax.vmap(applied, out_axes=1)(jnp.eye(program.noise_size, dtype=y.dtype))
        return lx.MatrixLinearOperator(columns)


class Drift(eqx.Module):
    """The drift for Diffrax, where `args` holds the constants of drift and diffusion."""

    program: Any = eqx.field(static=True)

    def __call__(self, t: Any, y: Array, args: Any) -> Array:
        constants, networks = args[0]
        return self.program.rhs(jnp.asarray(t, y.dtype), y, constants, networks)


def terms_and_args(model: Model, path: dfx.AbstractPath) -> tuple[Any, Any]:
    """Drift and noise as Diffrax's terms, and their `args`."""
    terms = dfx.MultiTerm(
        dfx.ODETerm(Drift(model.program)), dfx.ControlTerm(Diffusion(model.program), path)
    )
    return terms, (model.constants(), model.noise_constants())
