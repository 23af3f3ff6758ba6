"""Grouping: scalar expressions of equal shape become one array operation over all of them.

Even a system of irregular equations becomes a few hundred array operations, however many
equations it has, since rare shapes are cut first (`cut`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .cut import Cut
from .graph import Graph, flat_position


@dataclasses.dataclass
class Slot:
    """One operand over all members: constants, numbers, conditions, or time."""

    kind: str
    items: list[int]

    @property
    def varies(self) -> bool:
        """Whether the members differ in this operand."""
        return len(set(self.items)) > 1


@dataclasses.dataclass
class Unit:
    """What is computed together: expressions of equal shape, calls of one network, or one node.

    `kind` is "given", "algebra", "call" or "solo"; `shape` is that of one member. Members lie one
    after the other in one vector.
    """

    kind: str
    members: list[int]
    shape: tuple[int, ...] = ()
    slots: list[Slot] = dataclasses.field(default_factory=list)
    skeleton: Any = None
    name: str = ""
    size: int = 0

    @property
    def vector(self) -> str:
        """Text of the unit as a vector."""
        if self.kind != "solo" or len(self.shape) == 1:
            return self.name
        return f"jnp.ravel({self.name})" if self.shape else f"jnp.reshape({self.name}, (1,))"


Place = tuple[Unit, int]  # a node lies in the vector of a unit, from a position on


class Grouping:
    """The units, level by level in an order in which they can be computed, and where nodes lie."""

    def __init__(self, graph: Graph, given: Mapping[int, Place]) -> None:
        self.graph = graph
        self.levels: list[list[Unit]] = []
        self.place: dict[int, Place] = dict(given)

    def add(self, unit: Unit) -> None:
        """Notes where the members of a unit lie."""
        for member in unit.members:
            self.place[member] = unit, unit.size
            unit.size += int(np.prod(self.graph.shapes[member]))

    def source(self, number: int) -> Place:
        """The unit that holds a node, and where in it."""
        if number in self.place:
            return self.place[number]
        element = _element(self.graph, number)
        assert element is not None
        unit, offset = self.source(element[0])
        return unit, offset + element[1]


def _element(graph: Graph, number: int) -> tuple[int, int] | None:
    """The array, and the position in it, if the node is one element of an array."""
    node = graph.nodes[number]
    if node.op != "index":
        return None
    (array,) = node.args
    position = flat_position(node.static[0], graph.shapes[array])  # type: ignore[index]
    return None if position is None else (array, position)


def group(
    graph: Graph,
    order: Sequence[int],
    outputs: Sequence[int],
    given: Mapping[int, Place],
    is_constant: Callable[[int], bool],
) -> Grouping:
    """Units for all nodes in `order` (operands first) that are neither given nor constant."""
    inside = [n for n in order if not is_constant(n) and n not in given]
    cut = Cut(graph, inside, outputs, is_constant)
    result = Grouping(graph, given)
    batches = _batches(graph, inside, cut, given)
    result.levels = [[] for _ in range(max((level for level, _ in batches), default=0))]
    for (level, key), members in batches.items():
        unit = _unit(graph, cut, key, members)
        result.levels[level - 1].append(unit)
        result.add(unit)
    return result


def _batches(
    graph: Graph, order: Sequence[int], cut: Cut, given: Mapping[int, Place]
) -> dict[tuple[int, Any], list[int]]:
    """What is computed together: nodes by their level, one above what they need, and key."""
    level: dict[int, int] = dict.fromkeys(given, 0)
    batches: dict[tuple[int, Any], list[int]] = {}
    for number in _sorted(graph, order, cut):
        leaves = cut.leaves(number) if number in cut.roots else graph.nodes[number].args
        level[number] = max((level[a] for a in leaves if not cut.is_constant(a)), default=0)
        if number in cut.roots:
            key: Any = cut.key(number)
        elif _element(graph, number) is not None:
            continue
        else:
            key = _call_key(graph, cut, number) or ("solo", number)
        level[number] += 1
        batches.setdefault((level[number], key), []).append(number)
    return batches


def _sorted(graph: Graph, order: Sequence[int], cut: Cut) -> list[int]:
    """Roots and all that is no scalar algebra, operands first."""
    wanted = [n for n in order if n in cut.roots or n not in cut.algebra]
    inside = {*wanted, *cut.roots}
    found: dict[int, None] = {}
    pending = [(n, False) for n in reversed(wanted)]
    while pending:
        number, done = pending.pop()
        if done:
            found[number] = None
        elif number in inside and number not in found:
            pending.append((number, True))
            leaves = cut.leaves(number) if number in cut.roots else graph.nodes[number].args
            pending.extend((a, False) for a in leaves)
    return list(found)


def _call_key(graph: Graph, cut: Cut, number: int) -> Any:
    """What calls have in common that are computed together: those of a network on scalars."""
    node = graph.nodes[number]
    if node.op != "call" or any(graph.shapes[a] for a in node.args):
        return None
    return "call", node.static, graph.shapes[number], tuple(cut.kind(a) for a in node.args)


def _unit(graph: Graph, cut: Cut, key: Any, members: list[int]) -> Unit:
    if isinstance(key, int):
        unit = Unit("algebra", members, skeleton=cut.skeleton(members[0]))
        leaves: list[Any] = [cut.leaves(member) for member in members]
    elif key[0] == "solo":
        return Unit("solo", members, graph.shapes[members[0]])
    else:
        unit = Unit("call", members, key[2], skeleton=key[1])
        leaves = [graph.nodes[member].args for member in members]
    columns = zip(*leaves, strict=True)
    unit.slots = [Slot(cut.kind(column[0]), list(column)) for column in columns]
    return unit
