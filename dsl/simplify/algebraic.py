"""Algebraic equations become residuals, one for each unknown without rate and definition."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import Fault, ModelError
from .._nodes import shape_of
from .._open import open_parts, open_rates, state_below
from .._show import name_of, text
from .._system import System
from .coupled import depends_on


def write_residuals(system: System) -> System:
    """Rewrites what is no ``D(x, n) = ...`` as ``0 = right - left``, and puts it at the end.

    In the order of the states whose rates are open, then of ``survey.algebraic``: each residual
    stands where an unknown does that it can be solved for, of its shape. Each of the latter gets an
    initial value, a guess: what is given, or was declared as its guess, or 0.

    Raises `ModelError` for an equation that no such unknown is left for.
    """
    rest = [e for e in system.equations if not isinstance(e.lhs, sympy.Derivative)]
    still_open, explicit = open_rates(system), system.survey.algebraic
    unknowns = [*still_open, *explicit]
    if not rest and not unknowns:
        return system
    owner = _matched(system, rest, unknowns)
    used = set(owner.values())
    wrong = [e for i, e in enumerate(rest) if i not in used]
    if wrong or len(owner) < len(unknowns):
        fault = functools.partial(_unfixed, system, still_open) if still_open else _surplus
        raise ModelError([fault(e) for e in wrong or rest or system.equations], system.name)
    given = {name_of(k): v for k, v in system.initial.items()}
    guesses = {u: given.get(name_of(u), _declared_guess(u)) for u in explicit}
    residuals = [rest[owner[u]] for u in unknowns]
    residuals = [e.replace(lhs=sympy.S.Zero, rhs=e.rhs - e.lhs) for e in residuals]
    solved = [e for e in system.equations if isinstance(e.lhs, sympy.Derivative)]
    return system.replace(equations=[*solved, *residuals], initial=guesses)


def _declared_guess(unknown: Any) -> Any:
    guess = getattr(unknown, "guess", None)
    return 0.0 if guess is None else guess


def _matched(system: System, rest: Sequence[Equation], unknowns: Sequence[Any]) -> dict[Any, int]:
    """For each unknown, the place of its equation."""
    column = {unknown: j for j, unknown in enumerate(unknowns)}
    known: dict[Any, frozenset[Any]] = {}
    moves = _moves(system)
    pairs = []
    for i, equation in enumerate(rest):
        residual = equation.rhs - equation.lhs
        shape, reached = shape_of(residual), _reached(residual, system, known)
        fixed = {u for u in reached if u in column and u not in moves}
        fixed |= {u for u, m in moves.items() if _changes(residual, reached, u, m)}
        pairs += [(i, column[u]) for u in fixed if shape_of(u) == shape]
    if not pairs:
        return {}
    places = np.array(sorted(pairs), int).T
    shape = (len(rest), len(unknowns))
    incidence = csr_array((np.ones(len(pairs)), places), shape=shape)
    owner = maximum_bipartite_matching(incidence, perm_type="row")
    return {u: int(i) for u, i in zip(unknowns, owner, strict=True) if i >= 0}


def _moves(system: System) -> dict[Any, dict[Any, Any]]:
    """For each open state the states that change with it, and how much, at the same combination."""
    still_open = open_rates(system)
    states = {top: state for state, top in still_open.items()}
    moves: dict[Any, dict[Any, Any]] = {state: {} for state in still_open}
    for equation in system.equations if states else ():
        if isinstance(equation.lhs, sympy.Derivative):
            for top, coefficient in open_parts(equation.rhs, states)[0].items():
                moves[states[top]][state_below(equation.lhs)] = coefficient
    return moves


def _changes(residual: Any, reached: set[Any], state: Any, moved: dict[Any, Any]) -> bool:
    """Whether a residual changes with an open state, by itself or through definitions."""
    found = reached | residual.atoms(sympy.Derivative)
    if found.isdisjoint({state, *moved}):
        return False
    through = reached - residual.atoms(AppliedUndef)
    return bool(through) or depends_on(residual, state, moved)


def _reached(expression: Any, system: System, known: dict[Any, frozenset[Any]]) -> set[Any]:
    """The unknowns in an expression, and in the definitions of what stands in it."""
    found: set[Any] = set()
    pending: list[Any] = [*expression.atoms(AppliedUndef)]
    while pending:
        unknown = pending.pop()
        if unknown not in found:
            found.add(unknown)
            if unknown in system.observed:
                if unknown not in known:
                    inside = system.observed[unknown].atoms(AppliedUndef)
                    known[unknown] = frozenset(inside)
                pending.extend(known[unknown])
    return found


def _surplus(equation: Equation) -> Fault:
    return Fault(
        "This equation determines nothing that another equation leaves open.",
        equation=str(equation),
        where=str(equation.origin),
        expected="one highest derivative, or one unknown without a rate, for each equation",
        causes=["it is a constraint between unknowns that have rates"],
        cure="remove it if it follows from the others, or use coordinates that always obey it",
    )


def _unfixed(system: System, still_open: dict[Any, Any], equation: Equation) -> Fault:
    names, unknowns = (", ".join(map(text, found)) for found in (still_open.values(), still_open))
    others = [
        f"{e} ({e.origin})"
        for e in system.equations
        if e is not equation and e.rhs.has(*still_open.values())
    ]
    return Fault(
        f"The equations give {names} only in combinations with other derivatives, and this one, "
        f"where none is left, does not fix {unknowns} beside them.",
        equation=str(equation),
        where=str(equation.origin),
        culprit=unknowns,
        expected="an equation without derivatives that changes while these combinations, such as "
        "x - y of D(x) - D(y), stay as they are",
        received=f"one that holds such a combination, or a constant, alone, beside "
        f"{'; '.join(others)}",
        causes=["it is a constraint, and the system is of higher index", "an equation is missing"],
        cure="differentiate it by hand, or use coordinates that always obey it; the index is not "
        "reduced yet",
    )
