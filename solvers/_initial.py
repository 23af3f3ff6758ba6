"""Initial values that obey the algebraic equations of a system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array, Bool, Float

from sciml.dsl import DeclarationError, Equation, Model, SolveError
from sciml.dsl.codegen.mass import MassMatrix
from sciml.dsl.codegen.pattern import Pattern

from ._newton import find_root, root_structure
from ._results import is_traced
from .linear import AbstractStructure

_STEPS = 100  # of Newton's method
_SHORTEST = 2.0**-20  # of a Newton step that is tried
_MOST = 6  # so many unknowns are named
_LARGE = 256  # algebraic unknowns, from which on the linear algebra is sparse
_SINGULAR = 1e-7  # smallest singular value by largest, sizes made equal


def needs(model: Model) -> bool:
    """Whether a system has algebraic equations, which initial values must obey."""
    return any(model.program.algebraic)


def start(model: Model, t0: Any, *, throw: bool = True) -> Float[Array, " state"]:
    """The initial state of a model, made to obey its algebraic equations: as `consistent` does."""
    return consistent(model, t0, model.state(), throw=throw)


def consistent(
    model: Model, t0: Any, y0: Float[Array, " state"], *, throw: bool = True
) -> Float[Array, " state"]:
    """The state that keeps the differential unknowns of `y0` and obeys the algebraic equations.

    Where these unknowns stand in the equations with the rates of others, as in ``D(x) - D(z)``, the
    combination is kept, ``x - z``, and both may move.

    These are solved for the algebraic unknowns by Newton's method, damped, from what `y0` holds of
    them: that is a guess, and has no gradient. Derivatives by the rest of `y0`, by parameters and
    by time are those of the implicit function.

    Arguments: `model`; the time `t0` and the state `y0` there; `throw`, whether a failure raises.
    Returns the state; inside jit, or without `throw`, not a number where no solution was found.
    Raises `SolveError` where none was found: it names the unknowns, and the equation that is left
    unsolved.

    >>> import sciml as sm
    >>> from sciml.solvers._initial import consistent
    >>> x, z = sm.unknowns("x z")
    >>> system = sm.System(sm.Eq(sm.D(x), -z), sm.Eq(z**3 + z, x), initial={x: 10, z: 1})
    >>> model = sm.compile(system)
    >>> [round(float(v), 6) for v in consistent(model, 0.0, model.state())]
    [10.0, 2.0]

    Source of the damping: Deuflhard, Newton Methods for Nonlinear Problems (2004), section 3.3: a
    step is taken where the next one, by the same Jacobian, is shorter.
    """
    if not needs(model):
        return y0
    y, good = _solved(model, jnp.asarray(t0, y0.dtype), y0)
    if throw and not is_traced(y, good) and not bool(good):
        raise SolveError(_failure(model, t0, np.asarray(y0), np.asarray(y)))
    return jnp.where(good, y, y.at[_places(model)].set(jnp.nan))


def refuse_explicit(model: Model, solver: Any) -> None:
    """Raises `DeclarationError` for algebraic equations and a solver without a mass matrix.

    A solver that has one has a field ``mass``; None, and the name of a solver, are not looked at.
    """
    if not needs(model) or not isinstance(solver, dfx.AbstractSolver):
        return
    if "mass" in {field.name for field in dataclasses.fields(solver)}:
        return
    name, names = type(solver).__name__, _listed(list(model.program.residuals))
    why = "an explicit solver cannot take them"
    if isinstance(solver, dfx.AbstractImplicitSolver):
        why = f"{name} has no mass matrix, and cannot take them"
    raise DeclarationError(
        f"solver={name}: the system{_title(model)} has algebraic equations (for {names}): {why}; "
        "leave solver out, or take sm.Rodas5P()"
    )


def _title(model: Model) -> str:
    return f" {model.system.name}" if model.system.name else ""


def _places(model: Model) -> np.ndarray:
    return np.flatnonzero(model.program.algebraic)


@eqx.filter_jit
def _solved(model: Model, t0: Array, y0: Array) -> tuple[Float[Array, " state"], Bool[Array, ""]]:
    """The state with its algebraic part solved for, and whether that went well."""
    places, program = _places(model), model.program

    def residual(z: Array, given: Any) -> Array:
        time, fixed, mass, (constants, networks) = given
        return program.rhs(time, moved(mass, fixed, places, z), constants, networks)[places]

    given = (t0, y0, model.mass, model.constants())
    if len(places) > _LARGE and not isinstance(given[2], MassMatrix):
        z, root = find_root(
            lambda z: residual(z, given),
            jax.lax.stop_gradient(y0[places]),
            _algebraic_structure(model, places),
            tuple(_pieces(model)),
            tolerance=float(jnp.finfo(y0.dtype).eps) ** 0.6,
            max_steps=_STEPS,
        )
        return moved(given[2], y0, places, z), root.good
    held = jax.lax.stop_gradient((*given[:3], eqx.filter(given[3], eqx.is_array)))
    held = (*held[:3], eqx.combine(held[3], given[3]))
    z, good = newton(lambda z: residual(z, held), held[1][places])
    # two steps more, to the last digits; and the derivatives of the implicit function
    eps = float(jnp.finfo(y0.dtype).eps)
    last = optx.root_find(
        residual, optx.Newton(rtol=eps, atol=eps * eps), z, given, max_steps=2, throw=False
    ).value
    good &= jnp.all(jnp.isfinite(last))
    return moved(given[2], y0, places, jnp.where(good, last, z)), good


def _algebraic_structure(model: Model, places: np.ndarray) -> AbstractStructure:
    """The structure of the derivatives of the algebraic equations by their unknowns."""
    matrix = model.jacobian_pattern.to_scipy()[places][:, places]
    return root_structure(Pattern.of(matrix))


def _pieces(model: Model) -> Iterator[slice]:
    """Where each algebraic unknown lies among the others."""
    offset = 0
    for s in model.states:
        if s.name in model.program.residuals:
            yield slice(offset, offset + s.size)
            offset += s.size


def moved(mass: Any, y: Array, places: np.ndarray, z: Array) -> Array:
    """The state with `z` at the places of algebraic equations: ``M y`` stays as it is."""
    changed = y.at[places].set(z)
    if not isinstance(mass, MassMatrix):
        return changed
    return changed - mass.beside(changed - y)


def newton(
    residual: Callable[[Array], Array], z: Float[Array, " unknown"]
) -> tuple[Float[Array, " unknown"], Bool[Array, ""]]:
    """A root of `residual` near `z`, and whether one was found. Sizes of unknowns do not matter."""
    eps = float(jnp.finfo(z.dtype).eps)

    def norm(step: Array, size: Array) -> Array:
        return jnp.max(jnp.where(size == 0, 0.0, jnp.abs(step) / jnp.where(size == 0, 1.0, size)))

    def go_on(carry: tuple) -> Array:
        return (carry[2] < _STEPS) & ~carry[3] & ~carry[4]

    def step(carry: tuple) -> tuple:
        z, size, count, _, _ = carry
        factors = lu_factor(jax.jacfwd(residual)(z))
        full = -lu_solve(factors, residual(z))
        size = jnp.maximum(size, jnp.maximum(jnp.abs(z), jnp.abs(full)))
        length = norm(full, size)

        def shorter(share: Array) -> Array:
            after = norm(lu_solve(factors, residual(z + share * full)), size)
            return after <= (1 - share / 4) * length

        share = jax.lax.while_loop(
            lambda s: ~shorter(s) & (s > _SHORTEST), lambda s: s / 2, jnp.ones_like(length)
        )
        stuck = (share <= _SHORTEST) & (length > 0)
        # where rounding alone is left, no step makes the residual smaller
        rounding = jnp.all(jnp.abs(full) <= 16 * eps * jnp.maximum(1.0, jnp.abs(z)))
        done = (length <= 16 * eps) | (stuck & ((length <= eps**0.5) | rounding))
        sound = jnp.all(jnp.isfinite(full))
        after = jnp.where(sound, z + jnp.where(stuck, 0.0, share) * full, z)
        return after, size, count + 1, done & sound, (stuck & ~done) | ~sound

    start = (z, jnp.zeros_like(z), 0, jnp.zeros((), bool), jnp.zeros((), bool))
    z, _, _, done, _ = jax.lax.while_loop(go_on, step, start)
    return z, done


# -- what went wrong ------------------------------------------------------------------------------


def _failure(model: Model, t0: Any, guess: np.ndarray, y: np.ndarray) -> str:
    """Which unknowns were not found, which equation stands against it, and what to do."""
    places = _places(model)
    pieces = [s for s in model.states if s.name in model.program.residuals]
    names = [s.name for s in pieces for _ in range(s.size)]

    def residual(z: Array) -> Array:
        state = moved(model.mass, jnp.asarray(y), places, z)
        return model.vector_field(t0, state)[places]

    z = jnp.asarray(y[places])
    left, matrix = np.asarray(residual(z)), np.asarray(jax.jacfwd(residual)(z))
    there = ", ".join(_shown(s.name, y[s.slice]) for s in pieces[:_MOST])
    if np.array_equal(guess[places], y[places]):
        there = f"the guess, {there}"
    row, columns, said = _unsolved(left, matrix, np.abs(y[places]))
    wrong = list(dict.fromkeys(names[column] for column in columns))
    equation = _as_written(model, names[row])
    return (
        f"no value of {_listed(wrong)} was found that obeys the algebraic equations at t = "
        f"{float(t0):g}: {said.format(there)}.\n    {_cut(str(equation))}\n"
        f"    written at {equation.origin}\n"
        "  perhaps: the equations have no solution for these parameters and values of the other "
        "unknowns; or it is far from the guess; or the system is of higher index\n"
        f"  cure: give a better guess, initial={{{wrong[0]}: ...}}"
    )


_NEAR = 1e-4  # smallest singular value by largest: where a solve that stopped meets a fold


def fold(model: Model, t: Any, y: np.ndarray, sizes: np.ndarray) -> str | None:
    """What is wrong with the algebraic equations where a solve has stopped; None if nothing is.

    `sizes` are those that the unknowns have had.
    """
    if not needs(model) or not np.all(np.isfinite(y)):
        return None
    places = _places(model)
    names = [s.name for s in model.states for _ in range(s.size)]
    state, mass = jnp.asarray(y), model.mass

    def residual(y: Array) -> Array:
        return model.vector_field(t, moved(mass, state, places, y[places]) + free * (y - state))

    free = jnp.asarray(1.0 - np.array(model.program.algebraic), state.dtype)
    matrix = np.asarray(jax.jacfwd(lambda y: residual(y)[places])(state)) * sizes
    scale = np.max(np.abs(matrix), axis=1, keepdims=True)
    if not np.all(np.isfinite(matrix)) or np.any(scale == 0):
        return None
    left, values, right = np.linalg.svd((matrix / scale)[:, places])
    if values[-1] > _NEAR:
        return None
    loose = np.abs(right[-1])
    wrong = [names[places[i]] for i in np.flatnonzero(loose > 0.1 * np.max(loose))]
    equation = _as_written(model, names[places[int(np.argmax(np.abs(left[:, -1])))]])
    return (
        f"{_listed(list(dict.fromkeys(wrong)))} can hardly be found from the algebraic equations "
        f"there: their derivatives by it vanish, or nearly so.\n    {_cut(str(equation))}\n"
        f"    written at {equation.origin}"
    )


def _unsolved(left: np.ndarray, matrix: np.ndarray, size: np.ndarray) -> tuple[int, list[int], str]:
    """The row to show, the columns to name, and what is said of them."""
    every = list(range(len(left)))
    bad = ~(np.isfinite(left) & np.all(np.isfinite(matrix), axis=1))
    if np.any(bad):
        row = int(np.argmax(bad))
        return row, every, "this one, or its derivative, is infinite or not a number at {}"
    scaled = matrix * np.where(size > 0, size, 1.0)
    scale = np.max(np.abs(scaled), axis=1)
    scale = np.where(scale > 0, scale, np.maximum(np.abs(left), 1e-300))  # a row of zeros
    worst = int(np.argmax(np.abs(left) / scale))
    _, values, right = np.linalg.svd(scaled / scale[:, None])
    if values[-1] > _SINGULAR * values[0]:
        return worst, every, f"at {{}} this one is off by {abs(left[worst]):.3g}"
    loose = np.abs(right[-1])
    columns = [i for i in every if loose[i] > 0.1 * np.max(loose)]
    return worst, columns, "the derivatives of the equations by them are singular at {}"


def _as_written(model: Model, name: str) -> Equation:
    """The algebraic equation behind a residual, as the user wrote it."""
    residual = model.program.residuals[name]
    same = (e for e in model.system.equations if e.rhs - e.lhs == residual.rhs)
    return next(same, residual)


def _shown(name: str, values: np.ndarray) -> str:
    return f"{name} = {values[0]:g}" if values.size == 1 else f"{name} = [{values[0]:g}, ...]"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _cut(equation: str) -> str:
    return equation if len(equation) < 200 else f"{equation[:200]} ..."
