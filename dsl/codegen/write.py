"""From the expression graph to the source of one JAX function.

What depends on parameters alone is computed in a function of its own, once per solve. Scalar
expressions are written as the user would; above a few hundred of them they are written as
array operations over groups of equal shape (`group`).
"""

from __future__ import annotations

import dataclasses
import keyword
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .graph import ELEMENTWISE, Graph, flat_position
from .group import Grouping, Slot, Unit, group
from .text import ATOM, UNARY, aligned, elementwise, key_text, number_text, wrap

GROUP_ABOVE = 256  # scalar operations; below, straight-line code compiles as fast and reads better
_NESTED = 16  # levels of nesting after which a value gets a name of its own

RESERVED = frozenset(
    {*keyword.kwlist, "t", "state", "constants", "networks", "tables", "p", "jnp", "special", "call", "lax"}
)


@dataclasses.dataclass(frozen=True)
class Output:
    """One result: a node, its shape, and whether it was declared with that shape."""

    node: int
    shape: tuple[int, ...]


class Names:
    """Distinct valid names for symbols."""

    def __init__(self) -> None:
        self.taken = set(RESERVED)

    def fresh(self, wanted: str) -> str:
        """`wanted`, or `wanted` with underscores added until it is new."""
        name = wanted if wanted.isidentifier() else "".join(c if c.isalnum() else "_" for c in wanted)
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


class Writer:
    """Writes one function; `labels` gives the names of nodes that the user named."""

    def __init__(self, graph: Graph, labels: dict[int, str]) -> None:
        self.graph = graph
        self.labels = labels
        self.names = Names()
        self.lines: list[str] = []
        self.constant_lines: list[str] = []
        self.constants: dict[int, str] = {}
        self.extra_constants: list[str] = []
        self.text: dict[int, tuple[str, int]] = {}
        self.depth: dict[int, int] = {}
        self.uses: Counter[int] = Counter()
        self._pools: dict[tuple, str] = {}
        self._counter = 0

    # -- the two functions ---------------------------------------------------------------------

    def function(
        self,
        name: str,
        doc: str,
        outputs: Sequence[Output],
        pack: Callable[[list[str]], str],
        *,
        flat: bool,
    ) -> str:
        """Source of ``name_constants(p)`` and ``name(t, state, constants, networks)``."""
        roots = [output.node for output in outputs]
        order = self.graph.reachable(roots)
        for number in order:
            self.uses.update(self.graph.nodes[number].args)
        self.uses.update(roots)
        scalars = [n for n in order if self._is_grouped_kind(n)]
        if len(scalars) > GROUP_ABOVE:
            body = self._grouped(order, outputs, pack, flat)
        else:
            for number in order:
                if not self.graph.is_constant(number):
                    self._emit(number)
            body = pack([self._output(output) for output in outputs])
        passed = [*self.constants.values(), *self.extra_constants]
        unpack = f"    {', '.join(passed)}{',' * (len(passed) == 1)} = constants\n" if passed else ""
        lines = "".join(f"    {line}\n" for line in self.lines)
        constant_lines = "".join(f"    {line}\n" for line in self.constant_lines)
        returned = f"({', '.join(passed)}{',' * (len(passed) == 1)})"
        return (
            f"def {name}_constants(p, dtype):\n"
            f'    """What {name} needs of the parameters, computed once."""\n'
            f"{constant_lines}    return {returned}\n\n\n"
            f"def {name}(t, state, constants, networks):\n"
            f'    """{doc}"""\n'
            f"{unpack}{lines}    return {body}\n"
        )

    def _is_grouped_kind(self, number: int) -> bool:
        node = self.graph.nodes[number]
        return (
            node.op in ELEMENTWISE
            and self.graph.shapes[number] == ()
            and not self.graph.is_constant(number)
        )

    def _output(self, output: Output) -> str:
        """Text of a result as an array of its declared shape."""
        number = output.node
        shape = self.graph.shapes[number]
        text = self._ref(number)[0]
        value = self.graph.value(number)
        if value is not None:
            return f"jnp.full({output.shape}, {number_text(value)}, state.dtype)"
        if shape != output.shape:
            return f"jnp.broadcast_to({text}, {output.shape})"
        return text

    # -- single nodes --------------------------------------------------------------------------

    def _emit(self, number: int) -> None:
        """Writes one varying node: inline if it is used once, else under a name."""
        text, level = self._expression(number)
        node = self.graph.nodes[number]
        leaf = node.op in ("time", "number")
        label = self.labels.get(number)
        depth = 1 + max((self.depth.get(a, 0) for a in node.args), default=0)
        named = node.op == "state" or (label and node.args)
        if not leaf and (named or self.uses[number] > 1 or depth > _NESTED):
            name = self.names.fresh(label) if label else self._temporary()
            self.lines.append(f"{name} = {text}")
            text, level, depth = name, ATOM, 0
        self.text[number] = text, level
        self.depth[number] = depth

    def _temporary(self) -> str:
        self._counter += 1
        return self.names.fresh(f"v{self._counter}")

    def _ref(self, number: int) -> tuple[str, int]:
        """Text and precedence of an operand; constants are fetched from the other function."""
        if number in self.text:
            return self.text[number]
        value = self.graph.value(number)
        if value is not None:
            text = number_text(value)
            return text, UNARY if text.startswith("-") else ATOM
        if number not in self.constants:
            self.constants[number] = self._constant(number)
        return self.constants[number], ATOM

    def _constant(self, number: int) -> str:
        """A name for a constant, whose value is written to the constants' function."""
        node = self.graph.nodes[number]
        if node.op == "parameter":
            name = self.names.fresh(str(node.static))
        elif number in self.labels:
            name = self.names.fresh(self.labels[number])
        else:
            name = self.names.fresh(f"c{len(self.constants) + 1}")
        self.constant_lines.append(f"{name} = {self._constant_text(number)[0]}")
        return name

    def _constant_text(self, number: int) -> tuple[str, int]:
        """The expression of a constant inside the constants' function."""
        node = self.graph.nodes[number]
        if node.op == "parameter":
            return f'p["{node.static}"]', ATOM
        if number in self.constants:
            return self.constants[number], ATOM
        if node.op in ("number", "table"):
            return self._leaf(number)
        return self._expression(number, self._constant_text)

    def _leaf(self, number: int) -> tuple[str, int]:
        node = self.graph.nodes[number]
        if node.op == "number":
            text = number_text(node.static)  # type: ignore[arg-type]
            return text, UNARY if text.startswith("-") else ATOM
        if node.op == "table":
            return f"jnp.asarray(tables[{node.static}], dtype)", ATOM
        if node.op == "time":
            return "t", ATOM
        offset, shape, total = node.static  # type: ignore[misc]
        if not shape:
            return f"state[{offset}]", ATOM
        size = int(np.prod(shape))
        text = "state" if size == total else f"state[{offset}:{offset + size}]"
        return (text if len(shape) == 1 else f"jnp.reshape({text}, {shape})"), ATOM

    def _expression(self, number: int, ref: Callable | None = None) -> tuple[str, int]:
        """Text and precedence of a node over its operands."""
        graph = self.graph
        node, shape = graph.nodes[number], graph.shapes[number]
        if node.op in ("state", "time", "number", "table"):
            return self._leaf(number)
        ref = ref or self._ref
        operands = [ref(a) for a in node.args]
        if node.op in ELEMENTWISE:
            ranks = [graph.shapes[a] for a in node.args]
            operands = [
                aligned(operand, s, shape) for operand, s in zip(operands, ranks, strict=True)
            ]
            return elementwise(node.op, node.static, operands)
        texts = [text for text, _ in operands]
        return self._array_operation(node.op, node.static, texts, operands, node.args, shape), ATOM

    def _array_operation(
        self, op: str, static: Any, texts: list[str], operands: list, args: tuple, shape: tuple
    ) -> str:
        shapes = [self.graph.shapes[a] for a in args]
        if op == "index":
            return f"{wrap(operands[0], ATOM)}[{key_text(static[0])}]"
        if op == "matmul":
            return f"jnp.matmul({texts[0]}, {texts[1]})"
        if op == "sum":
            return f"jnp.sum({texts[0]}, axis={static[0]})"
        if op == "roll":
            return f"jnp.roll({texts[0]}, {static[0]}, axis={static[1]})"
        if op in ("stack", "concatenate"):
            if op == "stack":
                texts = [
                    text if s == shape[1:] else f"jnp.broadcast_to({text}, {shape[1:]})"
                    for text, s in zip(texts, shapes, strict=True)
                ]
            return f"jnp.{op}([{', '.join(self._arrays(texts, args))}])"
        if op == "solve":
            k = shape[0]
            texts = self._arrays(texts, args)
            matrix = f"jnp.reshape(jnp.stack([{', '.join(texts[: k * k])}]), ({k}, {k}))"
            return f"jnp.linalg.solve({matrix}, jnp.stack([{', '.join(texts[k * k :])}]))"
        if op == "solvematrix":
            right = texts[1] if shapes[1] else f"jnp.broadcast_to({texts[1]}, {shape})"
            return f"jnp.linalg.solve({texts[0]}, {right})"
        if op == "call":
            name, convention, pointwise, single = static
            given = ", ".join(self._arrays(texts, args))
            if convention == "apart" and not pointwise:
                text = f'networks["{name}"]({given})'
            elif convention == "vector" and not pointwise and not any(shapes):
                text = f'networks["{name}"](jnp.stack([{given}]))'
            else:
                text = f'call(networks["{name}"], "{convention}", {pointwise}, {given})'
            return f"jnp.reshape({text}, ())" if single else text
        raise AssertionError(op)

    def _arrays(self, texts: list[str], args: Sequence[int]) -> list[str]:
        """Operands as arrays: numbers get the state's type."""
        return [
            f"jnp.full((), {text}, state.dtype)" if self.graph.value(a) is not None else text
            for text, a in zip(texts, args, strict=True)
        ]

    # -- groups --------------------------------------------------------------------------------

    def _grouped(
        self, order: list[int], outputs: Sequence[Output], pack: Callable, flat: bool
    ) -> str:
        """Writes units of equal scalar expressions as array operations."""
        grouping = group(self.graph, order, [o.node for o in outputs])
        for unit in grouping.units:
            if unit.solo is not None:
                self._emit_solo(unit, grouping)
            else:
                self._emit_unit(unit, grouping)
        if flat and not any(output.shape for output in outputs):
            return self._gather_outputs(outputs, grouping)
        return pack([self._grouped_output(output, grouping) for output in outputs])

    def _emit_solo(self, unit: Unit, grouping: Grouping) -> None:
        number = unit.solo
        assert number is not None
        for argument in self.graph.nodes[number].args:
            if argument in grouping.place and argument not in self.text:
                where, position = grouping.place[argument]
                self.text[argument] = f"{where.name}[{position}]", ATOM
            elif self.graph.nodes[argument].op in ("state", "time") and argument not in self.text:
                self._emit(argument)
        text, _ = self._expression(number)
        unit.name = self._temporary()
        self.lines.append(f"{unit.name} = {text}")
        self.text[number] = unit.name, ATOM

    def _emit_unit(self, unit: Unit, grouping: Grouping) -> None:
        texts = [self._slot(slot, grouping) for slot in unit.slots]
        text = unit.write(texts)
        unit.name = self._temporary()
        if len(unit.members) > 1 and not any(slot.varies for slot in unit.slots):
            text = f"jnp.broadcast_to({text}, ({len(unit.members)},))"
        elif len(unit.members) == 1:
            text = f"jnp.reshape({text}, (1,))"
        self.lines.append(f"{unit.name} = {text}")

    def _slot(self, slot: Slot, grouping: Grouping) -> str:
        """Text of the values that one operand takes over the members of a unit."""
        first = slot.items[0]
        if slot.kind == "time":
            return "t"
        if slot.kind == "constant":
            return self._constant_slot(slot)
        if not slot.varies:
            return self._scalar(first, grouping)
        sources = [grouping.source(item) for item in slot.items]
        units = sorted({unit.number for unit, _ in sources})
        pool, offsets = self._pool(units, grouping)
        positions = np.array([offsets[unit.number] + position for unit, position in sources])
        size = sum(grouping.size(number) for number in units)
        return self._take(pool, positions, size)

    def _take(self, pool: str, positions: np.ndarray, size: int) -> str:
        if np.array_equal(positions, np.arange(size)):
            return pool
        steps = np.diff(positions)
        if len(positions) > 1 and np.all(steps == 1):
            return f"{pool}[{positions[0]}:{positions[-1] + 1}]"
        table = self.graph.table(positions.astype(np.uint32))
        return f'{pool}.at[tables[{table}]].get(mode="promise_in_bounds")'

    def _pool(self, units: list[int], grouping: Grouping) -> tuple[str, dict[int, int]]:
        """A vector that holds the named units one after the other, and where each begins."""
        offsets, total = {}, 0
        for number in units:
            offsets[number] = total
            total += grouping.size(number)
        if len(units) == 1:
            return grouping.name(units[0]), offsets
        key = tuple(units)
        if key not in self._pools:
            self._pools[key] = self._temporary()
            parts = ", ".join(
                f"jnp.reshape({grouping.name(n)}, (1,))" if grouping.is_scalar(n) else grouping.name(n)
                for n in units
            )
            self.lines.append(f"{self._pools[key]} = jnp.concatenate([{parts}])")
        return self._pools[key], offsets

    def _scalar(self, number: int, grouping: Grouping) -> str:
        unit, position = grouping.source(number)
        return unit.name if grouping.is_scalar(unit.number) else f"{unit.name}[{position}]"

    def _constant_slot(self, slot: Slot) -> str:
        values = [self.graph.value(n) for n in slot.items]
        if not slot.varies:
            return self._ref(slot.items[0])[0]
        name = self.names.fresh(f"c{len(self.extra_constants) + 1}_")
        if all(v is not None for v in values):
            table = self.graph.table(np.array(values, float))
            self.constant_lines.append(f"{name} = jnp.asarray(tables[{table}], dtype)")
        else:
            self.constant_lines.append(f"{name} = {self._stacked_constants(slot.items, values)}")
        self.extra_constants.append(name)
        return name

    def _stacked_constants(self, items: list[int], values: list) -> str:
        """Constants in one vector: a gather where all are elements of one parameter."""
        nodes = [self.graph.nodes[n] for n in items]
        if all(n.op == "index" for n in nodes) and len({n.args for n in nodes}) == 1:
            array = nodes[0].args[0]
            shape = self.graph.shapes[array]
            places = [flat_position(n.static[0], shape) for n in nodes]  # type: ignore[index]
            if all(p is not None for p in places):
                table = self.graph.table(np.array(places, np.uint32))
                return f"jnp.ravel({self._constant_text(array)[0]})[tables[{table}]]"
        texts = []
        for number, value in zip(items, values, strict=True):
            text = self._constant_text(number)[0]
            texts.append(f"jnp.full((), {text}, dtype)" if value is not None else text)
        return f"jnp.stack([{', '.join(texts)}])"

    def _grouped_output(self, output: Output, grouping: Grouping) -> str:
        number = output.node
        if number in grouping.place and number not in self.text:
            self.text[number] = self._scalar(number, grouping), ATOM
        elif self.graph.nodes[number].op in ("state", "time") and number not in self.text:
            self._emit(number)
        return self._output(output)

    def _gather_outputs(self, outputs: Sequence[Output], grouping: Grouping) -> str:
        """All results are scalars: one vector, in order."""
        constant = [o.node for o in outputs if self.graph.is_constant(o.node)]
        constant = list(dict.fromkeys(constant))
        varying = [o.node for o in outputs if not self.graph.is_constant(o.node)]
        units = sorted({grouping.source(n)[0].number for n in varying})
        if constant:
            texts = [self._ref(n)[0] for n in constant]
            parts = ", ".join(f"jnp.full((), {text}, state.dtype)" for text in texts)
            name = self._temporary()
            self.lines.append(f"{name} = jnp.stack([{parts}])")
            units.append(grouping.add_solid(name, constant))
        pool, offsets = self._pool(units, grouping)
        places = [grouping.source(o.node) for o in outputs]
        positions = np.array([offsets[unit.number] + position for unit, position in places])
        return self._take(pool, positions, sum(grouping.size(n) for n in units))
