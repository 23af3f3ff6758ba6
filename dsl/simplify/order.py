"""Each equation is solved for a highest derivative, alone or in a linear block."""

from __future__ import annotations

import graphlib
from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching
from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import Fault, ModelError
from .._nodes import shape_of
from .._show import text
from .._system import System
from .blocks import DependentError, NotLinearError, solve_block
from .coupled import couple, settled
from .linear import linear_parts

_Held = tuple[Equation, list[Any]]  # an equation, and the highest derivatives in it


def solve_for_highest(system: System) -> System:
    """Rewrites the equations as ``D(x, n) = ...``, one for each unknown, in the unknowns' order.

    A right-hand side may still name highest derivatives of other equations, never in a circle.
    Equations without a highest derivative follow, as they are. Where the equations hold fewer
    combinations of derivatives than derivatives, some of these have no equation, and stand in
    others with constant coefficients; the algebraic equations that are left follow as well.
    """
    system = _substitute_definitions(system)
    survey = system.survey
    highest = {survey.highest[x]: x for x in survey.unknowns if x in survey.highest}
    solved: dict[sympy.Expr, Equation] = {}
    rest: list[tuple[Equation, list[Any]]] = []
    algebraic: list[Equation] = []
    walked = zip(system.equations, survey.rates, survey.right_rates, strict=True)
    for equation, rates, on_right in walked:
        tops = [r for r in rates if r in highest]
        if not tops:
            algebraic.append(equation)
            continue
        if len(tops) == 1 and tops[0] not in solved:
            (top,) = tops
            if equation.lhs == top and top not in on_right:
                solved[top] = equation
                continue
            if equation.rhs == top and not equation.lhs.has(top):
                solved[top] = equation.replace(lhs=top, rhs=equation.lhs)
                continue
        rest.append((equation, tops))
    open_tops = [h for h in highest if h not in solved]
    still_open: list[Any] = []
    if rest or open_tops:
        found, residuals = _solve_blocks(system, rest, open_tops, algebraic)
        solved.update(found)
        algebraic.extend(residuals)
        still_open = [top for top in highest if top not in solved]
    if still_open:
        coupled = {top: e for top, e in solved.items() if e.rhs.has(*still_open)}
        system = settled(system, coupled, still_open)
    equations = [*(solved[h] for h in highest if h in solved), *algebraic]
    if all(new is old for new, old in zip(equations, system.equations, strict=True)):
        return system
    return system.replace(equations=equations)


def _substitute_definitions(system: System) -> System:
    """Definitions that hold highest derivatives are written out in the equations."""
    highest = frozenset(system.survey.highest.values())
    graph = {k: v.atoms(AppliedUndef) & system.observed.keys() for k, v in system.observed.items()}
    written: dict[Any, Any] = {}
    for symbol in graphlib.TopologicalSorter(graph).static_order():
        definition = system.observed[symbol].xreplace(written)
        if not highest.isdisjoint(definition.atoms(sympy.Derivative)):
            written[symbol] = definition
    if not written:
        return system
    equations = [
        e.replace(lhs=e.lhs.xreplace(written), rhs=e.rhs.xreplace(written))
        if not highest.isdisjoint(rates)
        else e
        for e, rates in zip(system.equations, system.survey.rates, strict=True)
    ]
    return system.replace(equations=equations)


def _solve_blocks(
    system: System, rest: list[_Held], tops: list[Any], algebraic: list[Equation]
) -> tuple[dict[Any, Equation], list[Equation]]:
    """Matching of equations to derivatives, then one linear solve for each strong component.

    Components whose equations are dependent, and what holds derivatives that no equation is
    matched to, are coupled; so is what holds derivatives of theirs. Returns what was solved, and
    the algebraic equations that coupling leaves.
    """
    match, label = _components(system, rest, tops)
    solved: dict[Any, Equation] = {}
    singular: list[int] = []
    faults = []
    blocks: dict[int, list[int]] = {}
    for i, block in enumerate(label):
        blocks.setdefault(block, []).append(i)
    for members in blocks.values():
        equations = [rest[i][0] for i in members]
        unknowns = [match[i] for i in members]
        try:
            solutions = solve_block(equations, unknowns)
        except NotLinearError as error:
            faults.append(_nonlinear(equations[error.args[0]], error.args[1]))
            continue
        except DependentError:
            singular.extend(members)
            continue
        for equation, unknown, solution in zip(equations, unknowns, solutions, strict=True):
            solved[unknown] = equation.replace(lhs=unknown, rhs=solution)
    if faults:
        raise ModelError(faults, system.name)
    residuals: list[Equation] = []
    for members in _coupled_groups(rest, match, singular, {*tops} - {*match}):
        held = [top for top in tops if any(top in rest[i][1] for i in members)]
        held = [top for top in held if top not in match or match.index(top) in members]
        group = [rest[i][0] for i in members]
        _refuse(system, group, held)
        given, left = couple(system, group, held, algebraic)
        solved = {top: e for top, e in solved.items() if top not in held} | given
        residuals.extend(left)
    return solved, residuals


def _components(system: System, rest: list[_Held], tops: list[Any]) -> tuple[list[Any], list[int]]:
    """For each equation the derivative that it is matched to, and its strong component."""
    column = {top: j for j, top in enumerate(tops)}
    pairs = sorted((i, column[h]) for i, (_, held) in enumerate(rest) for h in held if h in column)
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    incidence = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(rest), len(tops)))
    match = maximum_bipartite_matching(incidence, perm_type="column")
    if np.any(match < 0):
        raise ModelError([_unsolvable(rest[i][0]) for i in np.flatnonzero(match < 0)], system.name)
    owner = {int(j): i for i, j in enumerate(match)}
    owners = [owner.get(int(j), int(i)) for i, j in pairs]  # one that has none links to nothing
    links = csr_array((np.ones(len(pairs)), (rows, owners)), shape=(len(rest), len(rest)))
    _, label = connected_components(links, connection="strong")
    return [tops[j] for j in match], label.tolist()


def _coupled_groups(
    rest: list[_Held], match: list[Any], singular: list[int], unmatched: set[Any]
) -> list[list[int]]:
    """Singular components, and all that hold derivatives of theirs, in groups that share none."""
    members = set(singular)
    tainted = unmatched | {match[i] for i in singular}
    while more := {i for i, (_, held) in enumerate(rest) if i not in members and tainted & {*held}}:
        members |= more
        tainted |= {match[i] for i in more}
    groups: list[tuple[list[int], set[Any]]] = []
    for i in sorted(members):
        joined, own = [i], tainted & {*rest[i][1]}
        for other in [group for group in groups if group[1] & own]:
            groups.remove(other)
            joined, own = [*other[0], *joined], other[1] | own
        groups.append((joined, own))
    return [sorted(group) for group, _ in groups]


def _refuse(system: System, equations: list[Equation], tops: list[Any]) -> None:
    """Raises `ModelError` for what cannot be coupled: nonlinear, of several shapes, with noise."""
    mixed = len({shape_of(top) for top in tops}) > 1
    faults = [
        _nonlinear(e, tops[0])
        for e in equations
        if mixed or linear_parts(e.lhs - e.rhs, tops) is None
    ]
    if not faults and system.survey.noises:
        faults = [_beside_noise(e) for e in equations[:1]]
    if faults:
        raise ModelError(faults, system.name)


def _nonlinear(equation: Equation, top: sympy.Expr) -> Fault:
    return Fault(
        f"This equation cannot be solved for its highest derivative {text(top)}.",
        equation=str(equation),
        where=str(equation.origin),
        culprit=text(top),
        expected=f"an equation that is linear in {text(top)}",
        received="a nonlinear one, or one in which it cancels out",
        causes=[
            "the derivative stands inside a power, a function or a network",
            "its coefficient is zero",
        ],
        cure=f"solve it by hand, and write Eq({text(top)}, ...); or give it a name, an unknown z: "
        f"Eq({text(top)}, z), and z in its place here, with a guess in initial",
    )


def _beside_noise(equation: Equation) -> Fault:
    return Fault(
        "This equation, with others, leaves derivatives open, beside equations with noise.",
        equation=str(equation),
        where=str(equation.origin),
        expected="as many independent equations as there are derivatives in them, where there are "
        "Brownian motions",
        received="equations in which the same combination of derivatives stands",
        cure="solve by hand for fewer unknowns, with a rate each",
    )


def _unsolvable(equation: Equation) -> Fault:
    return Fault(
        "This equation determines no highest derivative that another equation leaves open.",
        equation=str(equation),
        where=str(equation.origin),
        expected="one highest derivative for each equation",
        causes=["it is an algebraic constraint between unknowns"],
        cure="write an algebraic equation as a definition, Eq(z, ...) with z never differentiated",
    )
