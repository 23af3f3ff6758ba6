"""Noise of a system that is solved for its highest derivatives: its parts and its type."""

from __future__ import annotations

import dataclasses
import functools
import graphlib
from collections.abc import Mapping
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from ._drivers import Driver
from ._nodes import ArrayNode, shape_of
from ._split import split, zero_of
from ._symbols import t
from ._system import System

KINDS = ("additive", "scalar", "diagonal", "commutative", "general")
_LARGEST = 6  # unknowns up to which it is found out whether noise commutes


def white(driver: Any) -> sympy.Derivative:
    """The rate of a driver, ``D(W)``."""
    return sympy.Derivative(driver, t)


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """The noise of a system: ``D(x, n) = drift + noise``, by highest derivative.

    Fields
      brownians: the Brownian motions, in order of appearance.
      drift, noise: the two parts of each equation; `noise` is linear in the rates of `brownians`.
      kind: "additive" (the coefficients do not depend on the state), "scalar" (there is one
        Brownian motion), "diagonal" (each has its own unknown, and its coefficient depends on that
        unknown alone), "commutative" or "general".
      one_each: whether each component of a Brownian motion stands in one component of the state.
    """

    brownians: tuple[Any, ...]
    drift: Mapping[Any, Any]
    noise: Mapping[Any, Any]
    kind: str
    one_each: bool


@functools.lru_cache(maxsize=256)
def find_noise(system: System) -> Noise:
    """The noise of a simplified system.

    Noise enters an equation through the highest derivatives of others too.
    """
    brownians = tuple(system.survey.noises)
    rates = [white(w) for w in brownians]
    drift, noise = {}, {}
    for equation in in_order(system):
        tops = [top for top in noise if noise[top] != 0 and equation.rhs.has(top)]
        parts = split(equation.rhs, [*rates, *tops])
        assert parts is not None, equation  # `check` refuses it
        linear, rest = parts
        noise[equation.lhs] = linear.xreplace({top: noise[top] for top in tops})
        drift[equation.lhs] = rest
        if tops:
            nothing = {rate: zero_of(rate) for rate in rates}
            drift[equation.lhs] += linear.xreplace({**nothing, **{k: drift[k] for k in tops}})
    one_each = _one_each(noise, rates)
    return Noise(brownians, drift, noise, _kind(system, brownians, noise, one_each), one_each)


def in_order(system: System) -> list[Any]:
    """The equations, each after those whose highest derivatives it names."""
    by_top = {e.lhs: e for e in system.equations}
    graph = {top: e.rhs.atoms(sympy.Derivative) & by_top.keys() for top, e in by_top.items()}
    return [by_top[top] for top in graphlib.TopologicalSorter(graph).static_order()]


def _states_in(expression: Any) -> set[Any]:
    """Unknowns (and definitions) that an expression depends on."""
    return {u for u in expression.atoms(AppliedUndef) if not isinstance(u, Driver)}


def _one_each(noise: Mapping[Any, Any], rates: list[Any]) -> bool:
    """Whether each component of a Brownian motion moves one component of the state alone."""
    seen: set[Any] = set()
    for top, part in noise.items():
        inside = [rate for rate in rates if part.has(rate)]
        whole = any(node.has(*inside) for node in part.atoms(ArrayNode)) if inside else False
        if len(inside) > 1 or whole or not seen.isdisjoint(inside):
            return False
        if inside and shape_of(inside[0]) != shape_of(top):
            return False
        if inside and getattr(inside[0].expr, "correlation", None) is not None:
            return False
        seen.update(inside)
    return True


def _kind(system: System, brownians: tuple, noise: Mapping, one_each: bool) -> str:
    if not brownians:
        return "none"
    written = {top: _written_out(part, system.observed) for top, part in noise.items()}
    if not any(_states_in(part) for part in written.values()):
        return "additive"
    if len(brownians) == 1 and not brownians[0].shape:
        return "scalar"
    own = all(_states_in(part) <= {top.expr} for top, part in written.items())
    if one_each and own and not any(_mixes(part) for part in written.values()):
        return "diagonal"  # by elements of arrays too, which array operations would mix
    scalars = not any(shape_of(top) for top in written) and not any(w.shape for w in brownians)
    small = len(written) <= _LARGEST
    if scalars and small and not any(part.atoms(ArrayNode) for part in written.values()):
        return "commutative" if _commutes(written, brownians) else "general"
    return "general"


def _written_out(part: Any, definitions: Mapping) -> Any:
    """An expression without definitions."""
    for _ in range(len(definitions) + 1):
        found = {k: v for k, v in definitions.items() if not isinstance(k, str) and part.has(k)}
        if not found:
            break
        part = part.xreplace(found)
    return part


def _mixes(part: Any) -> bool:
    return any(_states_in(node) for node in part.atoms(ArrayNode))


def _commutes(noise: Mapping[Any, Any], brownians: tuple[Any, ...]) -> bool:
    """Whether the coefficients' Lie brackets vanish, so that no Levy area is needed.

    sum_i g_ia dg_jb/dx_i = sum_i g_ib dg_ja/dx_i for all j and a < b.
    """
    states = [_state(top) for top in noise]
    columns = {w: [part.coeff(white(w)) for part in map(sympy.expand, noise.values())]
               for w in brownians}  # fmt: skip
    for number, a in enumerate(brownians):
        for b in brownians[:number]:
            for j in range(len(states)):
                bracket: Any = sum(
                    columns[a][i] * columns[b][j].diff(states[i])
                    - columns[b][i] * columns[a][j].diff(states[i])
                    for i in range(len(states))
                )
                if sympy.simplify(bracket) != 0:
                    return False
    return True


def _state(top: Any) -> Any:
    """What a highest derivative is the rate of."""
    order = top.derivative_count - 1
    return sympy.Derivative(top.expr, (t, order)) if order else top.expr
