"""Grouping: scalar expressions of equal shape become one array operation over all of them.

Two expressions have equal shape if they differ in their leaves only. Shapes that are rare are cut
into their operations, which are then grouped level by level; so even a system of irregular
equations becomes a few hundred array operations, however many equations it has.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from .graph import ELEMENTWISE, Graph, flat_position
from .text import ATOM, UNARY, elementwise

_RARE = 8  # a shape with fewer members is cut, if the rare ones are many together
_MANY = 64
_SHAPES = 64  # about as many shapes as are worth an operation each
_CHEAP = 2  # operations; a shared expression this small is computed again rather than stored


@dataclasses.dataclass
class Slot:
    """One operand over all members: constants, varying scalars, or time."""

    kind: str
    items: list[int]

    @property
    def varies(self) -> bool:
        """Whether the members differ in this operand."""
        first = self.items[0]
        return any(item != first for item in self.items)


@dataclasses.dataclass
class Unit:
    """Expressions that are computed together; `solo` is a single node that is no scalar algebra."""

    number: int
    members: list[int]
    solo: int | None = None
    slots: list[Slot] = dataclasses.field(default_factory=list)
    skeleton: Any = None
    name: str = ""

    def write(self, texts: list[str]) -> str:
        """The expression over the texts of its slots."""
        remaining = iter(texts)

        def build(skeleton: Any) -> tuple[str, int]:
            if isinstance(skeleton, str):
                text = next(remaining)
                return text, UNARY if text.startswith("-") else ATOM
            op, static, children = skeleton
            return elementwise(op, static, [build(child) for child in children])

        return build(self.skeleton)[0]


class Grouping:
    """The units in an order in which they can be computed, and where each root is found."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.units: list[Unit] = []
        self.place: dict[int, tuple[Unit, int]] = {}
        self.state = Unit(-1, [], name="state")
        self._extra: dict[int, Unit] = {}
        self.state_size = 0

    def source(self, number: int) -> tuple[Unit, int]:
        """The vector and position of a varying scalar."""
        if number in self.place:
            return self.place[number]
        position = state_position(self.graph, number)
        assert position is not None
        return self.state, position

    def unit(self, number: int) -> Unit:
        """The unit with that number; -1 is the state."""
        if number < 0:
            return self.state
        return self._extra[number] if number in self._extra else self.units[number]

    def name(self, number: int) -> str:
        """The name of the vector that holds a unit."""
        return self.unit(number).name

    def is_scalar(self, number: int) -> bool:
        """Whether a unit is a lone scalar and not a vector."""
        return self.unit(number).solo is not None

    def size(self, number: int) -> int:
        """Length of the vector that holds a unit."""
        return self.state_size if number < 0 else len(self.unit(number).members)

    def add_solid(self, name: str, members: list[int]) -> int:
        """A vector that is already written, as a further unit."""
        unit = Unit(len(self.units) + len(self._extra), members, name=name)
        self._extra[unit.number] = unit
        for position, member in enumerate(members):
            self.place[member] = (unit, position)
        return unit.number


def state_position(graph: Graph, number: int) -> int | None:
    """Position in the state of a scalar state, or of an element of an array state."""
    node = graph.nodes[number]
    if node.op == "state" and graph.shapes[number] == ():
        return node.static[0]  # type: ignore[index]
    if node.op == "index" and graph.nodes[node.args[0]].op == "state":
        inner = graph.nodes[node.args[0]]
        position = flat_position(node.static[0], graph.shapes[node.args[0]])  # type: ignore[index]
        return None if position is None else inner.static[0] + position  # type: ignore[index]
    return None


def group(graph: Graph, order: list[int], outputs: list[int]) -> Grouping:
    """Units for all varying nodes in `order` (operands first) that the outputs need."""
    return _Grouper(graph, order, outputs).run()


class _Grouper:
    def __init__(self, graph: Graph, order: list[int], outputs: list[int]) -> None:
        self.graph = graph
        self.result = Grouping(graph)
        self.order = [n for n in order if not graph.is_constant(n)]
        states = [graph.nodes[n].static for n in order if graph.nodes[n].op == "state"]
        self.result.state_size = states[0][-1] if states else 0  # type: ignore[index]
        self.position = {n: state_position(graph, n) for n in self.order}
        self.algebra = {
            n for n in self.order if graph.nodes[n].op in ELEMENTWISE and graph.shapes[n] == ()
        }
        self.solos = [n for n in self.order if n not in self.algebra and not self._is_leaf(n)]
        self.roots = self._first_roots(outputs)

    def _is_leaf(self, number: int) -> bool:
        return self.position[number] is not None or self.graph.nodes[number].op in ("time", "state")

    def _first_roots(self, outputs: list[int]) -> set[int]:
        uses: Counter[int] = Counter()
        cost: dict[int, int] = {}
        for number in self.order:
            args = self.graph.nodes[number].args
            uses.update(set(args))
            cost[number] = 1 + sum(cost.get(a, 0) for a in args if a in self.algebra)
        roots = {n for n in outputs if n in self.algebra}
        for solo in self.solos:
            roots.update(a for a in self.graph.nodes[solo].args if a in self.algebra)
        roots.update(n for n in self.algebra if uses[n] > 1 and cost[n] > _CHEAP)
        return roots

    def run(self) -> Grouping:
        while True:
            keys = self._keys()
            rare = self._rare_roots(keys)
            cut = {
                a
                for root in rare
                for a in self.graph.nodes[root].args
                if a in self.algebra and a not in self.roots
            }
            if not cut:
                break
            self.roots |= cut
        self._make_units(keys)
        return self.result

    def _rare_roots(self, keys: dict[int, int]) -> list[int]:
        count = Counter(keys[root] for root in self.roots)
        few = max(_RARE, len(self.roots) // _SHAPES)
        rare = [root for root in self.roots if count[keys[root]] < few]
        return rare if len(rare) > _MANY else []

    def _keys(self) -> dict[int, int]:
        """A number for the shape of each algebraic node; commuting operands in a fixed order."""
        interned: dict[Any, int] = {}
        self.children: dict[int, list[tuple[Any, int]]] = {}
        self.statics: dict[int, Any] = {}
        keys: dict[int, int] = {}

        def leaf_key(number: int) -> int:
            return interned.setdefault(self._kind(number), len(interned))

        for number in self.order:
            if number not in self.algebra:
                continue
            node = self.graph.nodes[number]
            parts = []
            for place, a in enumerate(node.args):
                inner = a in self.algebra and a not in self.roots
                key = keys[a] if inner else leaf_key(a)
                sign = node.static[place] if node.op == "add" else 1  # type: ignore[index]
                parts.append((-sign, key, a))
            if node.op == "add" or node.op == "mul":
                parts.sort(key=lambda part: part[:2])
            static: Any = node.static
            if node.op == "add":
                static = tuple(-part[0] for part in parts)
            self.children[number] = [(key, a) for _, key, a in parts]
            self.statics[number] = static
            shape = (node.op, static, tuple(key for _, key, _ in parts))
            keys[number] = interned.setdefault(shape, len(interned))
        return keys

    def _kind(self, number: int) -> str:
        if self.graph.is_constant(number):
            return "constant"
        return "time" if self.graph.nodes[number].op == "time" else "varying"

    def _make_units(self, keys: dict[int, int]) -> None:
        level: dict[int, int] = {}
        below: dict[int, int] = {}  # the level of what a node inside a root needs
        batches: dict[tuple[int, int, int], list[int]] = {}
        solos = set(self.solos)
        for number in self.order:
            node = self.graph.nodes[number]
            need = 0
            for a in node.args:
                need = max(need, level[a] if a in level else below.get(a, 0))
            if number in self.roots:
                level[number] = need + 1
                batches.setdefault((need + 1, 0, keys[number]), []).append(number)
            elif number in solos:
                level[number] = need + 1
                batches[need + 1, 1, number] = [number]
            else:
                below[number] = need
        for (_, solo, key), members in sorted(batches.items(), key=lambda item: item[0][0]):
            unit = Unit(len(self.result.units), members)
            if solo:
                unit.solo = key
            else:
                leaves = [self._leaves(member) for member in members]
                unit.skeleton = self._skeleton(members[0])
                unit.slots = [
                    Slot(self._kind(column[0]), list(column)) for column in zip(*leaves, strict=True)
                ]
            self.result.units.append(unit)
            for position, member in enumerate(members):
                self.result.place[member] = (unit, position)

    def _leaves(self, root: int) -> list[int]:
        found: list[int] = []
        pending = [a for _, a in reversed(self.children[root])]
        while pending:
            number = pending.pop()
            if number in self.algebra and number not in self.roots:
                pending.extend(a for _, a in reversed(self.children[number]))
            else:
                found.append(number)
        return found

    def _skeleton(self, root: int) -> Any:
        children = [
            self._skeleton(a) if a in self.algebra and a not in self.roots else self._kind(a)
            for _, a in self.children[root]
        ]
        return (self.graph.nodes[root].op, self.statics[root], children)
