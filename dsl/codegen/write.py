"""From nodes of the expression graph to lines of JAX code, as the user would write them."""

from __future__ import annotations

import dataclasses
import keyword
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from .graph import ELEMENTWISE, Graph
from .text import (
    ATOM,
    UNARY,
    Text,
    aligned,
    array_operation,
    elementwise,
    key_text,
    number_text,
)

_NESTED = 16  # levels of nesting after which a value gets a name of its own

RESERVED = frozenset(
    (*keyword.kwlist, "t", "state", "constants", "networks", "tables", "p", "dtype", "jnp",
     "special", "linalg", "bessel_j", "call", "call_each", "derivative", "tangent", "cotangent",
     "lax", "flat")
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Output:
    """One result: a node, and the shape in which it is returned."""

    node: int
    shape: tuple[int, ...]


class Names:
    """Distinct valid names for symbols."""

    def __init__(self) -> None:
        self._taken = set(RESERVED)
        self._counter = 0

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted` with underscores added until it is new."""
        if not wanted.isidentifier():
            wanted = "".join(c if c.isalnum() else "_" for c in wanted)
        name = unicodedata.normalize("NFKC", wanted)  # as Python reads it
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def temporary(self) -> str:
        """A name for what has none."""
        self._counter += 1
        return self.fresh(f"v{self._counter}")


class Writer:
    """Writes nodes in straight lines, one after the other.

    `labels` gives the names of nodes that the user named; `dtype` is the text of the floating
    type; `is_outside` tells what is computed elsewhere, and `outside` gives its text.
    """

    def __init__(
        self,
        graph: Graph,
        names: Names,
        labels: dict[int, str],
        *,
        dtype: str,
        is_outside: Callable[[int], bool] = lambda number: False,
        outside: Callable[[int], str] = str,
    ) -> None:
        self.graph, self.names, self.labels = graph, names, labels
        self.dtype, self.is_outside, self.outside = dtype, is_outside, outside
        self.lines: list[str] = []
        self.text: dict[int, Text] = {}
        self._depth: dict[int, int] = {}
        self._uses: Counter[int] = Counter()

    def write(self, order: Iterable[int], roots: Iterable[int] | Mapping[int, str]) -> None:
        """Writes all nodes in `order` (operands first); `roots` may give names to some."""
        given = roots if isinstance(roots, Mapping) else {}
        inside = [number for number in order if not self.is_outside(number)]
        for number in inside:
            self._uses.update(self.graph.nodes[number].args)
        self._uses.update(list(roots))
        for number in inside:
            self.emit(number, given.get(number, ""))

    def emit(self, number: int, name: str = "") -> None:
        """Writes one node: inline if it is used once, else under a name."""
        text, level = self.expression(number)
        node = self.graph.nodes[number]
        label = self.labels.get(number)
        depth = 1 + max((self._depth.get(a, 0) for a in node.args), default=0)
        leaf = node.op in ("time", "number", "parameter", "table", "truth")
        named = node.op == "state" or (label and not leaf) or depth > _NESTED
        shared = self._uses[number] > 1 and node.op not in ("time", "number", "truth")
        if name or named or shared:
            name = name or (self.names.fresh(label) if label else self.names.temporary())
            self.lines.append(f"{name} = {text}")
            text, level, depth = name, ATOM, 0
        self.text[number] = text, level
        self._depth[number] = depth

    def reference(self, number: int) -> Text:
        """Text and precedence of an operand."""
        if number in self.text:
            return self.text[number]
        value = self.graph.value(number)
        if value is not None:
            text = number_text(value)
            return text, UNARY if text.startswith("-") else ATOM
        return (self.outside(number), ATOM) if self.is_outside(number) else self.expression(number)

    def array(self, number: int, shape: tuple[int, ...] = ()) -> Text:
        """Text of an operand that must be an array: a number gets the floating type."""
        text, level = self.reference(number)
        if self.graph.value(number) is None:
            return text, level
        return f"jnp.full({shape}, {text}, {self.dtype})", ATOM

    def expression(self, number: int) -> Text:
        """Text and precedence of a node over its operands."""
        graph = self.graph
        node, shape = graph.nodes[number], graph.shapes[number]
        if not node.args:
            return self.leaf(number)
        shapes = [graph.shapes[a] for a in node.args]
        if node.op in ELEMENTWISE:
            operands = [self.reference(a) for a in node.args]
            operands = [aligned(o, s, shape) for o, s in zip(operands, shapes, strict=True)]
            return elementwise(node.op, node.static, operands)
        wanted = shape[1:] if node.op in ("stack", "solve") else ()
        operands = [self.array(a, wanted) for a in node.args]
        shapes = [
            s if graph.value(a) is None else wanted for a, s in zip(node.args, shapes, strict=True)
        ]
        if node.op == "scatter":
            zeros, key = f"jnp.zeros({shape}, {self.dtype})", key_text(node.static[0])  # type: ignore[index]
            return f"{zeros}.at[{key}].set({operands[0][0]})", ATOM
        return array_operation(node.op, node.static, operands, shapes, shape), ATOM

    def leaf(self, number: int) -> Text:
        """Text of a node without operands."""
        node = self.graph.nodes[number]
        if node.op == "number":
            text = number_text(node.static)  # type: ignore[arg-type]
            return text, UNARY if text.startswith("-") else ATOM
        if node.op == "truth":
            return f"jnp.asarray({node.static})", ATOM
        if node.op == "table":
            return f"jnp.asarray(tables[{node.static}], {self.dtype})", ATOM
        if node.op == "parameter":
            return f"p[{node.static!r}]", ATOM
        if node.op == "time":
            return "t", ATOM
        offset, shape, total = node.static  # type: ignore[misc]
        if not shape:
            return f"state[{offset}]", ATOM
        size = int(np.prod(shape))
        text = "state" if size == total else f"state[{offset}:{offset + size}]"
        return (text if len(shape) == 1 else f"jnp.reshape({text}, {shape})"), ATOM

    def output(self, output: Output) -> str:
        """Text of a result as an array of its declared shape."""
        text, shape = self.reference(output.node)[0], self.graph.shapes[output.node]
        value = self.graph.value(output.node)
        if value is not None:
            return f"jnp.full({output.shape}, {number_text(value)}, {self.dtype})"
        if shape != output.shape:
            return f"jnp.broadcast_to({text}, {output.shape})"
        return text
