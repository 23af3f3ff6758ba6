"""How long a constant step of an explicit method may be on a grid, before it is taken.

Each wave on the grid grows by R(dt * eigenvalue) in a step, where R is the stability function of
the method, and the eigenvalues are those of the schemes (von Neumann), with the coefficients that
the equations have at the start.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import diffrax as dfx
import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from sciml.dsl import Coordinate, DeclarationError, Model, ModelWarning, expression_text, t
from sciml.dsl._coordinates import At
from sciml.dsl._integral import Integral
from sciml.dsl._split import slope_by
from sciml.dsl.lower.dispersion import biased_reach
from sciml.dsl.lower.schemes import STAGGERED
from sciml.dsl.lower.upwind import BIASED
from sciml.dsl.lower.weights import weights

from ._results import is_traced

_GROWTH = 1e3  # over a solve, that is not taken for instability
_MOST = 0.5  # of growth in one step
_ANGLES = {1: 65, 2: 17, 3: 9}  # of waves along each coordinate
_SAMPLES = 32  # places at which coefficients are taken
_REACHED = 200.0  # of the stability region, as far as it is looked at
# Weights of u[k], of WENO of order 5 where u is smooth.
_WENO = {-3: -1 / 30, -2: 1 / 4, -1: -1.0, 0: 1 / 3, 1: 1 / 2, 2: -1 / 20}


@dataclasses.dataclass(frozen=True, eq=False)
class _Term:
    """One term of the equation of a field: its coefficient times the derivative of a field."""

    row: int
    column: int
    coefficient: Any
    derivative: Any
    counts: tuple[tuple[Coordinate, int], ...]
    flux: bool
    shown: Any


def check_step(model: Model, solver: Any, controller: Any, dt0: Any, ends: tuple[Any, Any]) -> None:
    """Looks whether constant steps are short enough for the schemes of a system of fields.

    Raises `DeclarationError` for a linear system with constant coefficients, where it is certain
    that short waves grow; warns by `ModelWarning` of any other. What is not an explicit
    Runge-Kutta method, or has no constant step, is not looked at. Waves may grow a thousandfold
    over the whole solve, since many methods let some of them grow a little.
    """
    constant = isinstance(controller, dfx.ConstantStepSize)
    if dt0 is None or model.program.fields is None or not constant or is_traced(model, dt0, ends):
        return
    explicit = isinstance(solver, dfx.AbstractERK | dfx.Euler)
    terms = _terms(model) if explicit else None
    if not terms or not any(term.counts for term in terms):
        return
    steps = max(float(ends[1] - ends[0]) / float(dt0), 1.0)
    slack = min(_GROWTH ** (1 / steps) - 1, _MOST)
    longest = _longest(model, solver, terms, ends[0], slack)
    if not float(dt0) > longest:
        return
    worst = min(
        (term for term in terms if term.counts),
        key=lambda term: _longest(model, solver, _own(terms, term), ends[0], slack),
    )
    spacings = ", ".join(f"{s.name} is {_spacing(model, s):.3g}" for s, _ in worst.counts)
    what = f"at most {longest:.3g}" if longest > 0 else "no constant step at all"
    message = (
        f"dt0 = {float(dt0):.3g} is too long for {type(solver).__name__}, which takes {what} here: "
        f"beyond it short waves grow without bound, by {expression_text(worst.shown)}, where the "
        f"spacing of {spacings}; "
        'shorten dt0, take a coarser grid, or an implicit method, solver="stiff"'
    )
    if _is_certain(model, terms):
        raise DeclarationError(message)
    warnings.warn(message, ModelWarning, stacklevel=3)


def damped_steps(model: Model, solver: Any, t0: Any, t1: Any, least: float) -> tuple[float, float]:
    """How many steps an explicit method takes at least, where damping sets their length.

    By the eigenvalue of the largest size; beside it, its imaginary over its real part. 0 steps
    where there are less than `least`, where waves or first derivatives set their length, or where
    the equations are of another form.
    """
    terms = _terms(model) or []
    higher = [term for term in terms if sum(n for _, n in term.counts) > 1]
    if not higher:
        return 0.0, 0.0
    beside = [term for term in terms if not term.counts and term.coefficient.is_number]
    largest = _largest(model, [*higher, *beside], t0)
    if not (np.isfinite(largest) and -largest.real > abs(largest.imag)):
        return 0.0, 0.0
    steps = float(t1 - t0) * abs(largest) / _reach(solver, float(np.angle(largest)), 0.0)
    first = [term for term in terms if term.counts and term not in higher]
    if steps < least or (first and abs(_largest(model, first, t0)) > abs(largest)):
        return 0.0, 0.0
    return steps, abs(largest.imag / largest.real)


def _largest(model: Model, terms: Sequence[_Term], t0: Any) -> complex:
    found = _eigenvalues(model, terms, t0)
    return complex(found[np.argmax(np.abs(found))])


# -- terms -----------------------------------------------------------------------------------------


def _terms(model: Model) -> list[_Term] | None:
    """The terms of all equations for the rates of fields; None where they are of another form."""
    system, found = model.program.fields.system, []
    states = _states(system)
    place = {state: i for i, state in enumerate(states)}
    for equation in system.equations:
        rest: Any = equation.rhs - equation.lhs
        tops = [e for e in rest.atoms(sympy.Derivative) if e.variables[-1:] == (t,)]
        tops = [e for e in tops if e not in place]
        if len(tops) != 1 or tops[0].expr not in place:
            return None
        order = int(tops[0].derivative_count)
        row = place[tops[0].expr if order == 1 else sympy.Derivative(tops[0].expr, (t, order - 1))]
        factor = -slope_by(rest, tops[0])
        for part in _parts(rest.xreplace({tops[0]: sympy.S.Zero})):
            term = _term(rest, part, row, place, factor)
            if term is not None:
                found.append(term)
    for state in states:  # D(u) of a second derivative by time
        if isinstance(state, sympy.Derivative):
            below = state.expr if state.derivative_count == 1 else None
            if below is None:
                return None
            found.append(_Term(place[below], place[state], sympy.S.One, state, (), False, state))
    return found


def _states(system: Any) -> list[Any]:
    orders = system.survey.orders
    return [
        u if level == 0 else sympy.Derivative(u, (t, level))
        for u in system.fields
        for level in range(max(orders.get(u, 1), 1))
    ]


def _parts(e: Any) -> list[Any]:
    """Derivatives by coordinates, and fields outside of them."""
    if isinstance(e, sympy.Derivative | AppliedUndef):
        return [e]
    if isinstance(e, At | Integral):
        return []
    found = itertools.chain.from_iterable(map(_parts, e.args))
    return list(dict.fromkeys(found))


def _term(rest: Any, part: Any, row: int, place: dict, factor: Any) -> _Term | None:
    """What a derivative does in an equation; None if it is of no field, or of many."""
    coefficient = slope_by(rest, part) / factor
    shown = coefficient * part
    counts: dict[Any, int] = {}
    inner, flux = part, False
    while isinstance(inner, sympy.Derivative) and inner not in place:
        variables: Any = inner.variable_count
        for s, n in variables:
            counts[s] = counts.get(s, 0) + int(n)
        inner = inner.expr
        if not isinstance(inner, sympy.Derivative | AppliedUndef):
            nested = sorted((d for d in _parts(inner) if d not in place), key=str)
            deeper = [d for d in nested if isinstance(d, sympy.Derivative)]
            known = [d for d in _parts(inner) if d in place]
            if len(deeper) > 1 or not (deeper or known):
                return None
            chosen = deeper[0] if deeper else known[0]
            coefficient, flux = coefficient * slope_by(inner, chosen), bool(deeper)
            inner = chosen
    if inner not in place or t in counts:
        return None
    pairs = tuple((s, n) for s, n in counts.items() if n)
    return _Term(row, place[inner], coefficient, part, pairs, flux, shown)


def _own(terms: Sequence[_Term], term: _Term) -> list[_Term]:
    """A term, and those without derivatives, through which fields act on each other."""
    return [other for other in terms if other is term or not other.counts or _pairs(other, term)]


def _pairs(one: _Term, other: _Term) -> bool:
    return (one.row, one.column) == (other.column, other.row) and one.row != one.column


def _is_certain(model: Model, terms: Sequence[_Term]) -> bool:
    """Whether all coefficients are constants: there is nothing then that could hold waves."""
    parameters: Any = model.program.declared.parameters
    return not any(
        term.coefficient.atoms(AppliedUndef, Coordinate) or term.coefficient.has(t)
        for term in terms
    ) and not any(p.shape for p in parameters)


# -- eigenvalues -----------------------------------------------------------------------------------


def _longest(model: Model, solver: Any, terms: Sequence[_Term], t0: Any, slack: float) -> float:
    """The longest step with which no wave grows; infinity if none ever does."""
    eigenvalues = _eigenvalues(model, terms, t0)
    size = np.abs(eigenvalues)
    wanted = eigenvalues[size > 1e-9 * np.max(size, initial=0.0)]
    if not wanted.size or not np.all(np.isfinite(wanted)):
        return np.inf
    directions, place = np.unique(np.round(np.angle(wanted), 3), return_inverse=True)
    reach = np.array([_reach(solver, angle, slack) for angle in directions])
    return float(np.min(reach[place.ravel()] / np.abs(wanted)))


def _eigenvalues(model: Model, terms: Sequence[_Term], t0: Any) -> np.ndarray:
    """Of all waves at some places; growth is that of the equations, and not of the steps."""
    axes = model.program.fields.axes
    along = {s: np.linspace(-np.pi, np.pi, _ANGLES.get(len(axes), 9)) for s in axes}
    mesh = dict(zip(along, np.meshgrid(*along.values(), indexing="ij"), strict=True))
    values = [np.asarray(model.evaluate(term.coefficient, t0, model.state())) for term in terms]
    size = 1 + max(max(term.row, term.column) for term in terms)
    samples = max(min(_SAMPLES, max(v.size for v in values)), 1)
    shape = next(iter(mesh.values())).shape
    matrix = np.zeros((samples, *shape, size, size), complex)
    for term, value in zip(terms, values, strict=True):
        worst = _sampled(value, samples).reshape(-1, *[1] * len(shape))
        symbol = _symbol(model, term, mesh, worst)
        matrix[..., term.row, term.column] += worst * symbol
    found = np.linalg.eigvals(matrix).ravel()
    return np.minimum(found.real, 0.0) + 1j * found.imag


def _sampled(values: np.ndarray, count: int) -> np.ndarray:
    """Some of the values: the extreme ones, and others between."""
    ordered = np.sort(values.ravel())
    return ordered[np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def _symbol(model: Model, term: _Term, mesh: dict, values: np.ndarray) -> Any:
    """What the scheme of a derivative multiplies each wave by."""
    fields, result = model.program.fields, np.ones(())
    words = fields.schemes.get(term.derivative, "")
    for s, n in term.counts:
        step, angle = _spacing(model, s), mesh[s]
        if words == "Fourier":
            result = result * (1j * angle / step) ** n
        elif words.startswith(("WENO", "upwind", "finite")):
            result = result * _upwinded(words, angle, values) / step
        elif words.startswith(STAGGERED) and n % 2:
            result = result * _central(n, fields.order, angle, half=True) / step**n
        elif words.startswith("biased"):
            result = result * _biased(n, fields.order, angle, values) / step**n
        elif term.flux and n == 2:
            result = result * _central(1, fields.order, angle, half=True) ** 2 / step**2
        else:
            result = result * _central(n, fields.order, angle, half=False) / step**n
    return result


def _multiplied(nodes: Iterable[float], found: Iterable[float], angle: np.ndarray) -> Any:
    """What a stencil multiplies a wave by, whose phase moves by an angle from node to node."""
    return sum(w * np.exp(1j * k * angle) for k, w in zip(nodes, found, strict=True))


def _upwinded(words: str, angle: np.ndarray, values: np.ndarray) -> np.ndarray:
    stencil = {"W": _WENO, "u": BIASED}.get(words[0], {-1: -1.0, 0: 1.0})
    symbol = _multiplied(stencil, stencil.values(), angle)
    return np.where(
        values < 0, symbol, -np.conj(symbol)
    )  # D(u, t) = c D(u, s): from below if c < 0


def _biased(n: int, order: int, angle: np.ndarray, values: np.ndarray) -> Any:
    """Of D(u, t) = c D(u, s, n), whose waves come from below if c (-1)^((n + 1) / 2) > 0."""
    before, behind = biased_reach(n, order, 1)
    nodes = np.arange(-before, behind + 1.0)
    symbol = _multiplied(nodes, weights(0.0, nodes, n), angle)
    return np.where(values * (-1) ** ((n + 1) // 2) > 0, symbol, -np.conj(symbol))


def _central(n: int, order: int, angle: np.ndarray, *, half: bool) -> Any:
    reach = (n + order) // 2 if half else (2 * ((n + 1) // 2) - 1 + order) // 2
    nodes = np.arange(-reach, reach) + 0.5 if half else np.arange(-reach, reach + 1.0)
    return _multiplied(nodes, weights(0.0, nodes, n), angle)


def _spacing(model: Model, s: Any) -> float:
    """The shortest distance of nodes along a coordinate."""
    axis = model.program.fields.axes[s]
    return axis.step if axis.step is not None else float(np.min(np.diff(axis.nodes)))


# -- the method ------------------------------------------------------------------------------------


def _reach(solver: Any, angle: float, slack: float) -> float:
    """How far the stability region goes from 0 in a direction."""
    sizes = np.linspace(0, _REACHED, 4 * int(_REACHED) + 1)[1:]
    low, high = 0.0, _REACHED
    for _ in range(3):  # the first exit, more and more closely
        growth = np.abs(stability(solver, sizes * np.exp(1j * angle)))
        bad = np.flatnonzero(growth > 1 + slack)
        if not bad.size:
            return high
        high = float(sizes[bad[0]])
        low = float(sizes[bad[0] - 1]) if bad[0] else low
        sizes = np.linspace(low, high, 101)[1:]
    return low


def stability(solver: Any, z: np.ndarray) -> np.ndarray:
    """The stability function R of an explicit Runge-Kutta method: ``y1 = R(dt * k) y0``.

    From its tableau, by the stages for ``y' = k y``.
    """
    if isinstance(solver, dfx.Euler):
        return 1 + z
    tableau: Any = solver.tableau
    stages = [z]
    for row in tableau.a_lower:
        before = sum(float(a) * k for a, k in zip(row, stages, strict=True))
        stages.append(z * (1 + before))
    return 1 + sum((float(b) * k for b, k in zip(tableau.b_sol, stages, strict=True)), 0 * z)
