"""Writes groups of equal scalar expressions as array operations, level by level.

At each level one gather brings the operands of all groups together; so the number of operations
depends on the number of groups, not on the number of expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .group import Grouping, Slot, Unit
from .text import ATOM, Text, elementwise
from .write import Output, Writer

_WIDE = 4  # operands of one node beyond which they are gathered
_SPARSE, _LARGE = 4, 4096  # a vector this much larger than what is wanted is not taken whole


class BatchWriter:
    """Writes the units of a grouping with a writer's names and lines.

    `constants` gives the text of a vector of constant scalars.
    """

    def __init__(
        self,
        writer: Writer,
        grouping: Grouping,
        is_constant: Callable[[int], bool],
        constants: Callable[[tuple[int, ...]], str],
    ) -> None:
        self.writer, self.grouping, self.graph = writer, grouping, writer.graph
        self.is_constant, self.constants = is_constant, constants

    def write(self) -> None:
        """Writes every level."""
        for level in self.grouping.levels:
            fetch = Fetch(self)
            for unit in level:
                for items in self._wants(unit):
                    fetch.want(items)
            fetch.write()
            for unit in level:
                self._unit(unit, fetch)

    def vector(self, outputs: Sequence[Output]) -> str:
        """All results one after the other, as one vector: runs of scalars are gathered."""
        fetch = Fetch(self)
        runs: list[Any] = []
        for output in outputs:
            if output.shape:
                runs.append(output)
            elif runs and isinstance(runs[-1], list):
                runs[-1].append(output.node)
            else:
                runs.append([output.node])
        for run in runs:
            if isinstance(run, list):
                fetch.want(tuple(run))
        fetch.write()
        parts = [
            fetch.text(tuple(run)) if isinstance(run, list) else f"jnp.ravel({self.output(run)})"
            for run in runs
        ]
        return parts[0] if len(parts) == 1 else f"jnp.concatenate([{', '.join(parts)}])"

    def output(self, output: Output) -> str:
        """Text of one result."""
        self._bind(output.node)
        return self.writer.output(output)

    # -- units ---------------------------------------------------------------------------------

    def _wants(self, unit: Unit) -> list[tuple[int, ...]]:
        """What a unit needs from the gather of its level."""
        if unit.kind != "solo":
            return [_wanted(s) for s in unit.slots if s.kind in ("number", "condition")]
        node = self.graph.nodes[unit.members[0]]
        return [node.args] if self._is_wide(node) else []

    def _is_wide(self, node: Any) -> bool:
        """Whether the operands of a lone node are many scalars, side by side."""
        scalars = not any(self.graph.shapes[a] for a in node.args)
        return node.op in ("stack", "solve") and scalars and len(node.args) > _WIDE

    def _unit(self, unit: Unit, fetch: Fetch) -> None:
        if unit.kind == "solo":
            text = self._solo(unit, fetch)
        else:
            text = self._members(unit, fetch)
        unit.name = self.writer.names.temporary()
        self.writer.lines.append(f"{unit.name} = {text}")

    def _members(self, unit: Unit, fetch: Fetch) -> str:
        """The expression of algebra or of calls over all members."""
        operands = [self._slot(slot, fetch) for slot in unit.slots]
        if unit.kind == "call":
            name, convention, *_ = unit.skeleton
            given = ", ".join(text for text, _ in operands)
            return f"call_each(networks[{name!r}], {convention!r}, {given})"
        text = _over(unit.skeleton, iter(operands))[0]
        if any(slot.varies for slot in unit.slots):
            return text
        return f"jnp.broadcast_to({text}, ({len(unit.members)},))"

    def _slot(self, slot: Slot, fetch: Fetch) -> Text:
        """Text of the values that one operand takes over the members of a unit."""
        if slot.kind == "time":
            return "t", ATOM
        if slot.kind != "constant":
            return fetch.text(_wanted(slot)), ATOM
        if slot.varies:
            return self.constants(tuple(slot.items)), ATOM
        return self.writer.reference(slot.items[0])

    def _solo(self, unit: Unit, fetch: Fetch) -> str:
        (number,) = unit.members
        node = self.graph.nodes[number]
        if self._is_wide(node):
            whole, k = fetch.text(node.args), self.graph.shapes[number][0]
            if node.op == "stack":
                return whole
            matrix = f"jnp.reshape({whole}[:{k * k}], ({k}, {k}))"
            return f"jnp.linalg.solve({matrix}, {whole}[{k * k}:])"
        for argument in node.args:
            self._bind(argument)
        return self.writer.expression(number)[0]

    def _bind(self, number: int) -> None:
        """Lets the writer refer to a node by the place where it lies."""
        if number in self.writer.text or self.is_constant(number):
            return
        unit, offset = self.grouping.source(number)
        shape = self.graph.shapes[number]
        if unit.kind == "given" and number in self.grouping.place:
            self.writer.emit(number)
            return
        if unit.kind == "solo" and number in unit.members:
            text = unit.name
        elif not shape:
            text = f"{unit.vector}[{offset}]"
        else:
            size = int(np.prod(shape))
            text = f"jnp.reshape({unit.name}[{offset}:{offset + size}], {shape})"
        self.writer.text[number] = text, ATOM


class Fetch:
    """Brings scalars together: one gather for all numbers that are wanted, one for conditions."""

    def __init__(self, batch: BatchWriter) -> None:
        self.batch = batch
        self._texts: dict[tuple[int, ...], str] = {}
        self._pending: dict[bool, dict[tuple[int, ...], None]] = {False: {}, True: {}}

    def want(self, items: tuple[int, ...]) -> None:
        """Asks for the vector of some nodes, before `write`."""
        if items in self._texts:
            return
        run = self._run(items)
        if run:
            self._texts[items] = run
        else:
            self._pending[self.batch.graph.is_condition(items[0])].setdefault(items)

    def text(self, items: tuple[int, ...]) -> str:
        """Text of the vector of some nodes, after `write`."""
        return self._texts[items]

    def write(self) -> None:
        """Writes the gathers."""
        for pending in self._pending.values():
            if pending:
                self._gather(list(pending))

    def _run(self, items: tuple[int, ...]) -> str:
        """Text of items that lie one after the other already."""
        batch = self.batch
        if any(batch.is_constant(item) for item in items):
            all_constant = all(batch.is_constant(item) for item in items)
            return batch.constants(items) if all_constant else ""
        unit, start = batch.grouping.source(items[0])
        for position, item in enumerate(items, start):
            if batch.grouping.source(item) != (unit, position):
                return ""
        if len(items) == unit.size:
            return unit.vector
        if len(items) == 1:  # cheaper as part of a gather
            return ""
        return f"{unit.vector}[{start}:{start + len(items)}]"

    def _gather(self, pending: list[tuple[int, ...]]) -> None:
        batch, lines = self.batch, self.batch.writer.lines
        items = [item for wanted in pending for item in wanted]
        constant = dict.fromkeys(item for item in items if batch.is_constant(item))
        fixed = Unit("given", list(constant), size=len(constant))
        rank = {item: position for position, item in enumerate(constant)}
        places = [(fixed, rank[i]) if i in constant else batch.grouping.source(i) for i in items]
        if constant:
            fixed.name = batch.constants(tuple(constant))
        pool, positions = self._pool(places)
        name = batch.writer.names.temporary()
        lines.append(f"{name} = {self._take(pool, positions)}")
        if len(pending) == 1:
            self._texts[pending[0]] = name
            return
        names = [batch.writer.names.temporary() for _ in pending]
        ends = tuple(int(end) for end in np.cumsum([len(wanted) for wanted in pending])[:-1])
        lines.append(f"{', '.join(names)} = jnp.split({name}, {ends})")
        self._texts.update(zip(pending, names, strict=True))

    def _pool(self, places: list[tuple[Unit, int]]) -> tuple[str, np.ndarray]:
        """A vector that holds all the places, and the position of each in it."""
        wanted: dict[int, tuple[Unit, set[int]]] = {}
        for unit, position in places:
            wanted.setdefault(id(unit), (unit, set()))[1].add(position)
        parts: list[str] = []
        start: dict[int, tuple[int, dict[int, int] | None]] = {}
        total = 0
        for key, (unit, positions) in wanted.items():
            if unit.size > _LARGE + _SPARSE * len(positions) and len(wanted) > 1:
                chosen = sorted(positions)
                start[key] = total, {position: k for k, position in enumerate(chosen)}
                parts.append(self._take(unit.vector, np.array(chosen)))
                total += len(chosen)
            else:
                start[key] = total, None
                parts.append(unit.vector)
                total += unit.size
        found = []
        for unit, position in places:
            base, chosen_rank = start[id(unit)]
            found.append(base + (position if chosen_rank is None else chosen_rank[position]))
        if len(parts) == 1:
            return parts[0], np.array(found)
        name = self.batch.writer.names.temporary()
        self.batch.writer.lines.append(f"{name} = jnp.concatenate([{', '.join(parts)}])")
        return name, np.array(found)

    def _take(self, pool: str, positions: np.ndarray) -> str:
        table = self.batch.graph.table(positions.astype(np.uint32))
        return f'{pool}.at[tables[{table}]].get(mode="promise_in_bounds")'


def _wanted(slot: Slot) -> tuple[int, ...]:
    return tuple(slot.items) if slot.varies else (slot.items[0],)


def _over(skeleton: Any, operands: Iterator[Text]) -> Text:
    """The nested operations of a skeleton over the texts of its leaves."""
    if skeleton is None:
        return next(operands)
    op, static, children = skeleton
    return elementwise(op, static, [_over(child, operands) for child in children])
