"""Cutting: which scalar expressions are computed on their own, and what shape they then have.

Two expressions have equal shape if they differ in their leaves only. Shapes that are rare are cut
into their operations, and sums and products of many operands into those of two, until few rare
ones are left.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .graph import ELEMENTWISE, Graph

_RARE = 8  # a shape with fewer members is cut, if the rare ones are many together
_MANY = 8
_SHAPES = 64  # about as many shapes as are worth an operation each
_CHEAP = 2  # operations; a shared expression this small is computed again rather than stored

_KINDS = {"constant": 0, "number": 1, "condition": 2, "time": 3}


class Cut:
    """The scalar algebra of a function, cut into roots.

    `algebra` holds its nodes, each with its operands (`children`; commuting ones in a fixed order)
    and `static`; `roots` are those computed on their own. `key` numbers the shape of a root. A root
    in `flat` is one operation over other roots; others include what is between.
    """

    def __init__(
        self,
        graph: Graph,
        order: Sequence[int],
        outputs: Sequence[int],
        is_constant: Callable[[int], bool],
    ) -> None:
        self.graph, self.is_constant = graph, is_constant
        self.children: dict[int, list[int]] = {}
        self.static: dict[int, Any] = {}
        self.flat: set[int] = set()
        self._whole: dict[int, int] = {}  # the numbers of shapes, with all that is inside
        self._cut: dict[int, int] = {}  # and as one operation
        self._interned: dict[Any, int] = {}
        self._height: dict[int, int] = {}
        self.algebra = dict.fromkeys(
            n for n in order if graph.nodes[n].op in ELEMENTWISE and graph.shapes[n] == ()
        )
        self._first = self._first_roots(order, outputs)
        for number in order:
            if number in self.algebra:
                node = graph.nodes[number]
                self._look_at(number, node.args, node.static)
            else:
                height = (self._height.get(a, 0) for a in graph.nodes[number].args)
                self._height[number] = 1 + max(height, default=-1)
        self.roots = dict.fromkeys(n for n in self.algebra if n in self._first)
        self._cut_rare()

    def kind(self, number: int) -> str:
        """What a leaf is: a constant, a number, a condition, or time."""
        if self.is_constant(number):
            return "constant"
        if self.graph.nodes[number].op == "time":
            return "time"
        return "condition" if self.graph.is_condition(number) else "number"

    def key(self, root: int) -> int:
        """The number of a root's shape."""
        if root not in self.flat:
            return self._whole[root]
        if root not in self._cut:
            kinds = tuple(_KINDS[self.kind(a)] for a in self.children[root])
            self._cut[root] = self._intern((self.graph.nodes[root].op, self.static[root], kinds))
        return self._cut[root]

    def is_inner(self, number: int) -> bool:
        """Whether a node is written inside those that use it, unless these are cut."""
        return number in self.algebra and number not in self._first

    def leaves(self, root: int) -> list[int]:
        """The operands of a root from outside, in the order of its text."""
        found: list[int] = []
        pending = self.children[root][::-1]
        while pending:
            number = pending.pop()
            if root not in self.flat and self.is_inner(number):
                pending.extend(self.children[number][::-1])
            else:
                found.append(number)
        return found

    def skeleton(self, root: int) -> Any:
        """The nested operations of a root, with None for the leaves."""

        def within(number: int, cut: bool) -> Any:
            children = [
                None if cut or not self.is_inner(a) else within(a, False)
                for a in self.children[number]
            ]
            return self.graph.nodes[number].op, self.static[number], children

        return within(root, root in self.flat)

    # -- the beginning --------------------------------------------------------------------------

    def _first_roots(self, order: Sequence[int], outputs: Sequence[int]) -> set[int]:
        """What is returned, wanted by something that is no scalar algebra, or shared."""
        uses: Counter[int] = Counter()
        cost: dict[int, int] = {}
        needed = set(outputs)
        for number in order:
            args = self.graph.nodes[number].args
            uses.update(set(args))
            cost[number] = 1 + sum(cost[a] for a in args if a in self.algebra)
            if number not in self.algebra:
                needed.update(args)
        shared = {n for n in self.algebra if uses[n] > 1 and cost[n] > _CHEAP}
        return shared | {n for n in needed if n in self.algebra}

    def _look_at(self, number: int, operands: Sequence[int], static: Any) -> None:
        """Notes operands and shape of a node."""
        op = self.graph.nodes[number].op
        parts = []
        height = 0
        for place, a in enumerate(operands):
            key = self._whole[a] if self.is_inner(a) else _KINDS[self.kind(a)]
            parts.append((-static[place] if op == "add" else 0, key, a))
            height = max(height, self._height.get(a, 0))
        if op in ("add", "mul"):
            parts.sort(key=_without_operand)
        self.children[number] = [part[2] for part in parts]
        self.static[number] = tuple(-part[0] for part in parts) if op == "add" else static
        self._whole[number] = self._intern(
            (op, self.static[number], tuple(part[1] for part in parts))
        )
        self._cut.pop(number, None)
        self._height[number] = 1 + height

    def _intern(self, shape: Any) -> int:
        return self._interned.setdefault(shape, len(_KINDS) + len(self._interned))

    # -- cutting --------------------------------------------------------------------------------

    def _cut_rare(self) -> None:
        while True:
            count = Counter(map(self.key, self.roots))
            few = max(_RARE, len(self.roots) // _SHAPES)
            rare = [r for r in self.roots if count[self.key(r)] < few and self._can_cut(r)]
            if len(rare) <= _MANY:
                return
            for root in rare:
                if self._has_inner(root):
                    inner = [a for a in self.children[root] if self.is_inner(a)]
                    self.roots.update(dict.fromkeys(inner))
                else:
                    self._pair(root)
                self.flat.add(root)

    def _can_cut(self, root: int) -> bool:
        many = self.graph.nodes[root].op in ("add", "mul") and len(self.children[root]) > 2
        return many or self._has_inner(root)

    def _has_inner(self, root: int) -> bool:
        return root not in self.flat and any(map(self.is_inner, self.children[root]))

    def _pair(self, root: int) -> None:
        """Makes a sum or product of many operands one of two; what is ready first is paired."""
        op = self.graph.nodes[root].op
        children = self.children[root]
        signs = self.static[root] if op == "add" else (1,) * len(children)
        heap = [
            (self._height.get(a, 0), place, sign, a)
            for place, (sign, a) in enumerate(zip(signs, children, strict=True))
        ]
        heapq.heapify(heap)
        while len(heap) > 2:
            (_, place, *one), (_, _, *two) = heapq.heappop(heap), heapq.heappop(heap)
            (sign, a), (other, b) = sorted((one, two), key=lambda part: -part[0])
            number = self._operation(op, (a, b), (1, sign * other))
            heapq.heappush(heap, (self._height[number], place, sign, number))
        (_, _, sign, a), (_, _, other, b) = sorted(heap, key=lambda part: -part[2])
        self._look_at(root, (a, b), (sign, other) if op == "add" else None)

    def _operation(self, op: str, operands: tuple[int, int], signs: tuple[int, int]) -> int:
        """One operation on two roots or leaves, as a root."""
        static = signs if op == "add" else None
        number = self.graph.add(op, *operands, static=static)
        if number not in self.algebra:
            self.algebra[number] = None
            self._first.add(number)
            self._look_at(number, operands, static)
        self.roots[number] = None
        self.flat.add(number)
        return number


def _without_operand(part: tuple[int, int, int]) -> tuple[int, int]:
    return part[:2]
