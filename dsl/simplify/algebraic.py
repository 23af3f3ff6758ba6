"""Algebraic equations become residuals, one for each unknown without rate and definition."""

from __future__ import annotations

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
from .._show import name_of
from .._system import System


def write_residuals(system: System) -> System:
    """Rewrites what is no ``D(x, n) = ...`` as ``0 = right - left``, and puts it at the end.

    In the order of ``survey.algebraic``: each residual stands where an unknown does that it can be
    solved for, of its shape. Every such unknown gets an initial value, a guess: what is given, or
    was declared as its guess, or 0.

    Raises `ModelError` for an equation that no such unknown is left for.
    """
    rest = [e for e in system.equations if not isinstance(e.lhs, sympy.Derivative)]
    unknowns = system.survey.algebraic
    if not rest and not unknowns:
        return system
    owner = _matched(system, rest, unknowns)
    used = set(owner.values())
    wrong = [e for i, e in enumerate(rest) if i not in used]
    if wrong or len(owner) < len(unknowns):
        raise ModelError([_surplus(e) for e in wrong or rest], system.name)
    given = {name_of(k): v for k, v in system.initial.items()}
    guesses = {u: given.get(name_of(u), _declared_guess(u)) for u in unknowns}
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
    pairs = [
        (i, column[u])
        for i, equation in enumerate(rest)
        for u in _reached(equation.rhs - equation.lhs, system, known)
        if u in column and shape_of(u) == shape_of(equation.rhs - equation.lhs)
    ]
    if not pairs:
        return {}
    places = np.array(sorted(pairs), int).T
    shape = (len(rest), len(unknowns))
    incidence = csr_array((np.ones(len(pairs)), tuple(places)), shape=shape)
    owner = maximum_bipartite_matching(incidence, perm_type="row")
    return {u: int(i) for u, i in zip(unknowns, owner, strict=True) if i >= 0}


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
