"""The expression graph: every subexpression once, shared by all that use it (hash-consing)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]

PARAMETER, VARYING = 1, 2  # what a node depends on, as bits

ELEMENTWISE = frozenset(
    ("add", "mul", "div", "neg", "ipow", "pow", "function", "where", "compare", "and", "or", "not")
)
_NETWORKS = ("call", "derivative", "tangent", "cotangent")
_OWN = {"parameter": PARAMETER, **dict.fromkeys(("state", "time", *_NETWORKS), VARYING)}


class Node(NamedTuple):
    """One operation: its name, its operands' numbers, and settings that are no operands."""

    op: str
    args: tuple[int, ...] = ()
    static: Hashable = None


class Graph:
    """Nodes, numbered; equal nodes have equal numbers. `tables` holds constant arrays."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: list[Shape] = []
        self.depends: list[int] = []
        self.tables: list[np.ndarray] = []
        self._numbers: dict[Node, int] = {}
        self._table_numbers: dict[Any, int] = {}

    def add(self, op: str, *args: int, static: Hashable = None, shape: Shape | None = None) -> int:
        """The number of a node, made if it is new. Elementwise shapes are broadcast."""
        node = Node(op, args, static)
        number = self._numbers.get(node)
        if number is not None:
            return number
        if shape is None:
            shapes = {self.shapes[a] for a in args}
            shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        number = len(self.nodes)
        self._numbers[node] = number
        self.nodes.append(node)
        self.shapes.append(shape)
        depends = _OWN.get(op, 0)
        for a in args:
            depends |= self.depends[a]
        self.depends.append(depends)
        return number

    def number(self, value: float) -> int:
        """A constant scalar."""
        return self.add("number", static=float(value), shape=())

    def table(self, array: np.ndarray) -> int:
        """The place of a constant array in `tables`."""
        array = np.ascontiguousarray(array)
        key = (array.shape, array.dtype.str, array.tobytes())
        if key not in self._table_numbers:
            self._table_numbers[key] = len(self.tables)
            self.tables.append(array)
        return self._table_numbers[key]

    def is_constant(self, number: int) -> bool:
        """Whether a node depends on parameters and numbers alone."""
        return not self.depends[number] & VARYING

    def is_condition(self, number: int) -> bool:
        """Whether a node is true or false."""
        node = self.nodes[number]
        return node.op in ("compare", "and", "or", "not", "truth", "any")

    def value(self, number: int) -> float | None:
        """The number that a node is, or None."""
        node = self.nodes[number]
        return node.static if node.op == "number" else None  # type: ignore[return-value]

    def reachable(self, roots: list[int]) -> list[int]:
        """The nodes below the roots, operands first."""
        order: list[int] = []
        seen: set[int] = set()
        pending = [(root, False) for root in reversed(roots)]
        while pending:
            number, done = pending.pop()
            if done:
                order.append(number)
            elif number not in seen:
                seen.add(number)
                pending.append((number, True))
                pending.extend((a, False) for a in reversed(self.nodes[number].args))
        return order


def flat_position(key: tuple, shape: tuple[int, ...]) -> int | None:
    """The position of ``array[key]`` in the flattened array, if the key picks one element."""
    if len(key) != len(shape) or not all(isinstance(k, int) for k in key):
        return None
    wrapped = [k % n for k, n in zip(key, shape, strict=True)]
    return int(np.ravel_multi_index(wrapped, shape))
