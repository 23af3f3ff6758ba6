"""Grouping: scalar expressions of equal shape become one array operation over all of them.

Two expressions have equal shape if they differ in their leaves only. Shapes that are rare are cut
into their operations, which are then grouped level by level; so even a system of irregular
equations becomes a few hundred array operations, however many equations it has.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .graph import ELEMENTWISE, Graph, flat_position

_RARE = 8  # a shape with fewer members is cut, if the rare ones are many together
_MANY = 64
_SHAPES = 64  # about as many shapes as are worth an operation each
_CHEAP = 2  # operations; a shared expression this small is computed again rather than stored


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

    `shape` is that of one member; members lie one after the other in one vector. `kind` is
    "given", "algebra", "call" or "solo".
    """

    kind: str
    members: list[int]
    shape: tuple[int, ...] = ()
    level: int = 0
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

    def element(self, number: int) -> tuple[int, int] | None:
        """The array, and the position in it, if the node is one element of an array."""
        node = self.graph.nodes[number]
        if node.op != "index":
            return None
        (array,) = node.args
        position = flat_position(node.static[0], self.graph.shapes[array])  # type: ignore[index]
        return None if position is None else (array, position)

    def source(self, number: int) -> Place:
        """The unit that holds a scalar, and where in it."""
        if number in self.place:
            return self.place[number]
        element = self.element(number)
        assert element is not None
        unit, offset = self.place[element[0]]
        return unit, offset + element[1]


def group(
    graph: Graph,
    order: list[int],
    outputs: list[int],
    given: Mapping[int, Place],
    is_constant: Callable[[int], bool],
) -> Grouping:
    """Units for all nodes in `order` (operands first) that are neither given nor constant."""
    return _Grouper(graph, order, outputs, Grouping(graph, given), is_constant).run()


class _Grouper:
    def __init__(
        self,
        graph: Graph,
        order: list[int],
        outputs: list[int],
        result: Grouping,
        is_constant: Callable[[int], bool],
    ) -> None:
        self.graph, self.result, self.is_constant = graph, result, is_constant
        self.given = frozenset(result.place)
        self.order = [n for n in order if not is_constant(n) and n not in self.given]
        self.algebra = {
            n for n in self.order if graph.nodes[n].op in ELEMENTWISE and graph.shapes[n] == ()
        }
        self.elements = {n for n in self.order if result.element(n) is not None}
        self.first = self._first_roots(outputs)
        self.children: dict[int, list[int]] = {}
        self.signs: dict[int, Any] = {}
        self.roots = dict.fromkeys(n for n in self.order if n in self.first)
        self.flat: set[int] = set()  # roots that are one operation over other roots

    # -- which expressions are computed on their own --------------------------------------------

    def _first_roots(self, outputs: list[int]) -> set[int]:
        nodes = self.graph.nodes
        uses: Counter[int] = Counter()
        cost: dict[int, int] = {}
        needed = set(outputs)
        for number in self.order:
            args = nodes[number].args
            uses.update(set(args))
            cost[number] = 1 + sum(cost[a] for a in args if a in self.algebra)
            if number not in self.algebra:
                needed.update(args)
        shared = {n for n in self.algebra if uses[n] > 1 and cost[n] > _CHEAP}
        return shared | (needed & self.algebra)

    def run(self) -> Grouping:
        keys = self._keys()
        while True:
            count = Counter(keys[root, root in self.flat] for root in self.roots)
            few = max(_RARE, len(self.roots) // _SHAPES)
            rare = [
                root
                for root in self.roots
                if root not in self.flat and count[keys[root, False]] < few and self._inner(root)
            ]
            if len(rare) <= _MANY:
                break
            self.flat.update(rare)
            self.roots.update(dict.fromkeys(a for root in rare for a in self._inner(root)))
        self._make_units(keys)
        return self.result

    def _inner(self, root: int) -> list[int]:
        return [a for a in self.children[root] if self._is_inner(a)]

    def _is_inner(self, number: int) -> bool:
        """Whether a node is written inside those that use it, unless these are cut."""
        return number in self.algebra and number not in self.first

    def _keys(self) -> dict[tuple[int, bool], int]:
        """A number for the shape of each node, whole and cut; commuting operands in fixed order."""
        interned: dict[Any, int] = {}
        kinds: dict[str, int] = {}
        keys: dict[tuple[int, bool], int] = {}
        for kind in ("constant", "number", "condition", "time"):
            kinds[kind] = interned.setdefault(kind, len(interned))
        for number in self.order:
            if number not in self.algebra:
                continue
            node = self.graph.nodes[number]
            signs = node.static if node.op == "add" else (1,) * len(node.args)
            parts = []
            for sign, a in zip(signs, node.args, strict=True):  # type: ignore[arg-type]
                kind = kinds[self._kind(a)]
                parts.append((-sign, kind, keys[a, False] if self._is_inner(a) else kind, a))
            if node.op in ("add", "mul"):
                parts.sort(key=lambda part: part[:3])
            self.children[number] = [part[3] for part in parts]
            static = node.static if node.op != "add" else tuple(-part[0] for part in parts)
            self.signs[number] = static
            for cut in (True, False):
                shape = (node.op, static, tuple(part[1 if cut else 2] for part in parts))
                keys[number, cut] = interned.setdefault(shape, len(interned))
        return keys

    def _kind(self, number: int) -> str:
        if self.is_constant(number):
            return "constant"
        if self.graph.nodes[number].op == "time":
            return "time"
        return "condition" if self.graph.is_condition(number) else "number"

    # -- units -----------------------------------------------------------------------------------

    def _make_units(self, keys: dict[tuple[int, bool], int]) -> None:
        level = self._levels()
        batches: dict[Any, list[int]] = {}
        for number in self.order:
            if number in self.roots:
                key: Any = keys[number, number in self.flat]
            elif number in self.algebra or number in self.elements:
                continue
            else:
                key = self._call_key(number) or (number, "solo")
            batches.setdefault((level[number], key), []).append(number)
        depth = max((at for at, _ in batches), default=0)
        self.result.levels = [[] for _ in range(depth)]
        for (at, key), members in batches.items():
            unit = self._unit(key, members)
            unit.level = at
            self.result.levels[at - 1].append(unit)
            self.result.add(unit)

    def _levels(self) -> dict[int, int]:
        """The level of each unit's members: one above what they need."""
        level: dict[int, int] = dict.fromkeys(self.given, 0)
        inside: dict[int, int] = {}  # what a node needs where it is written inside another
        for number in self.order:
            args = [a for a in self.graph.nodes[number].args if not self.is_constant(a)]
            whole = max((inside[a] if self._is_inner(a) else level[a] for a in args), default=0)
            if number in self.elements:
                level[number] = whole
                continue
            inside[number] = whole
            if number in self.flat:
                whole = max((level[a] for a in args), default=0)
            level[number] = whole + 1
        return level

    def _call_key(self, number: int) -> Any:
        """What calls have in common that are computed together: those of a network on scalars."""
        node = self.graph.nodes[number]
        if node.op != "call" or any(self.graph.shapes[a] for a in node.args):
            return None
        kinds = tuple(self._kind(a) for a in node.args)
        return node.static, self.graph.shapes[number], kinds

    def _unit(self, key: Any, members: list[int]) -> Unit:
        if isinstance(key, int):
            leaves = [self._leaves(member) for member in members]
            unit = Unit("algebra", members, skeleton=self._skeleton(members[0]))
        elif key[-1] == "solo":
            return Unit("solo", members, self.graph.shapes[members[0]])
        else:
            leaves = [list(self.graph.nodes[member].args) for member in members]
            unit = Unit("call", members, key[1], skeleton=key[0])
        columns = zip(*leaves, strict=True)
        unit.slots = [Slot(self._kind(column[0]), list(column)) for column in columns]
        return unit

    def _leaves(self, root: int) -> list[int]:
        if root in self.flat:
            return self.children[root]
        found: list[int] = []
        pending = self.children[root][::-1]
        while pending:
            number = pending.pop()
            if self._is_inner(number):
                pending.extend(self.children[number][::-1])
            else:
                found.append(number)
        return found

    def _skeleton(self, root: int) -> Any:
        """The nested operations of a root, with None for the leaves."""
        cut = root in self.flat
        children = [
            None if cut or not self._is_inner(a) else self._skeleton_inside(a)
            for a in self.children[root]
        ]
        return self.graph.nodes[root].op, self.signs[root], children

    def _skeleton_inside(self, number: int) -> Any:
        children = [
            self._skeleton_inside(a) if self._is_inner(a) else None for a in self.children[number]
        ]
        return self.graph.nodes[number].op, self.signs[number], children
