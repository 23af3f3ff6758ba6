"""The source of one function of a model, and of the function for its constants.

What depends on parameters alone is computed in a function of its own, once per solve. Scalar
expressions are written as the user would; above a few hundred of them they are written as
array operations over groups of equal shape (`group`, `batch`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from .batch import BatchWriter
from .graph import ELEMENTWISE, Graph
from .group import Place, Unit, group
from .write import Names, Output, Writer

GROUP_ABOVE = 256  # scalar operations; below, straight-line code compiles as fast and reads better


def function_source(
    graph: Graph, labels: dict[int, str], name: str, doc: str, outputs: Sequence[Output], flat: bool
) -> str:
    """Source of ``name_constants(p, dtype)`` and ``name(t, state, constants, networks)``.

    The function returns one vector if `flat`, else a tuple.
    """
    names = Names()
    constants = _Constants(graph, labels, names)
    writer = Writer(
        graph,
        names,
        labels,
        dtype="state.dtype",
        is_outside=graph.is_constant,
        outside=constants.single,
    )
    roots = [output.node for output in outputs]
    order = graph.reachable(roots)
    if sum(map(_is_scalar_algebra(graph), order)) > GROUP_ABOVE:
        given = _given_state(graph, order)
        grouping = group(graph, order, roots, given, graph.is_constant)
        batch = BatchWriter(writer, grouping, graph.is_constant, constants.vector)
        batch.write()
        texts = [batch.vector(outputs)] if flat else [batch.output(o) for o in outputs]
    else:
        writer.write(order, roots)
        texts = [writer.output(output) for output in outputs]
        if flat:
            updated = [graph.nodes[node].op == "update" for node in roots]
            texts = [_packed(texts, [output.shape for output in outputs], updated)]
    result = texts[0] if flat else _tuple(texts)
    passed = constants.write()
    unpack = [f"{', '.join(passed)}{',' * (len(passed) == 1)} = constants"] if passed else []
    return (
        f"def {name}_constants(p, dtype):\n"
        f'    """What {name} needs of the parameters, computed once."""\n'
        f"{_indented(constants.lines)}    return {_tuple(passed)}\n\n\n"
        f"def {name}(t, state, constants, networks):\n"
        f'    """{doc}"""\n'
        f"{_indented([*unpack, *constants.pieces, *writer.lines])}    return {result}\n"
    )


class _Constants:
    """What a function needs of the parameters: single values, and vectors of scalars.

    All vectors are pieces of one, `c`, which is computed by groups as the function itself is.
    """

    def __init__(self, graph: Graph, labels: dict[int, str], names: Names) -> None:
        self.graph, self.labels, self.names = graph, labels, names
        self.lines: list[str] = []
        self.pieces: list[str] = []
        self._singles: dict[int, str] = {}
        self._vectors: dict[tuple[int, ...], str] = {}

    def single(self, number: int) -> str:
        """A name for a constant in the function itself."""
        if number not in self._singles:
            node = self.graph.nodes[number]
            named = str(node.static) if node.op == "parameter" else self.labels.get(number)
            self._singles[number] = self.names.fresh(named or f"c{len(self._singles) + 1}")
        return self._singles[number]

    def vector(self, items: tuple[int, ...]) -> str:
        """A name for a vector of constant scalars."""
        if items not in self._vectors:
            self._vectors[items] = self.names.fresh(f"c{len(self._vectors) + 1}_")
        return self._vectors[items]

    def write(self) -> list[str]:
        """Writes the lines of the constants' function; the names that it returns."""
        writer = Writer(self.graph, self.names, self.labels, dtype="dtype")
        writer.write(self.graph.reachable(list(self._singles)), self._singles)
        self.lines = writer.lines
        passed = list(self._singles.values())
        for condition in (False, True):
            wanted = [v for v in self._vectors if self.graph.is_condition(v[0]) == condition]
            if wanted:
                passed.append(self._write_vectors(wanted))
        return passed

    def _write_vectors(self, wanted: list[tuple[int, ...]]) -> str:
        """Writes one vector that holds all those that are wanted, and how it is taken apart."""
        names = [self._vectors[items] for items in wanted]
        whole = names[0] if len(names) == 1 else self.names.fresh("c")
        self.lines.append(f"{whole} = {self._vector_text([i for items in wanted for i in items])}")
        if len(names) > 1:
            ends = tuple(int(end) for end in np.cumsum([len(items) for items in wanted])[:-1])
            self.pieces.append(f"{', '.join(names)} = jnp.split({whole}, {ends})")
        return whole

    def _vector_text(self, items: Sequence[int]) -> str:
        if all(self.graph.value(n) is not None for n in items):
            return self._literal(items)
        writer = Writer(self.graph, self.names, {}, dtype="dtype")
        writer.lines = self.lines
        order = self.graph.reachable(list(items))
        given = self._given_parameters(order)

        def is_number(number: int) -> bool:
            return not self.graph.depends[number]

        grouping = group(self.graph, order, list(items), given, is_number)
        batch = BatchWriter(writer, grouping, is_number, self._literal)
        batch.write()
        return batch.vector([Output(item, ()) for item in items])

    def _literal(self, items: Sequence[int]) -> str:
        """A vector of scalars that depend on no parameter."""
        values = [self.graph.value(n) for n in items]
        if all(value is not None for value in values):
            table = self.graph.table(np.array(values, float))
            return f"jnp.asarray(tables[{table}], dtype)"
        writer = Writer(self.graph, self.names, {}, dtype="dtype")
        return f"jnp.stack([{', '.join(writer.array(n)[0] for n in items)}])"

    def _given_parameters(self, order: Sequence[int]) -> dict[int, Place]:
        """The scalar parameters in one vector, and each array parameter as one."""
        graph = self.graph
        leaves = [n for n in order if graph.nodes[n].op == "parameter"]
        scalars = [n for n in leaves if not graph.shapes[n]]
        given = {}
        if scalars:
            unit = Unit("given", scalars, name=self.names.temporary(), size=len(scalars))
            values = ", ".join(f"p[{graph.nodes[n].static!r}]" for n in scalars)
            self.lines.append(f"{unit.name} = jnp.stack([{values}])")
            given.update({n: (unit, position) for position, n in enumerate(scalars)})
        for n in leaves:
            if shape := graph.shapes[n]:
                name = f"p[{graph.nodes[n].static!r}]"
                name = name if len(shape) == 1 else f"jnp.ravel({name})"
                given[n] = Unit("given", [n], name=name, size=int(np.prod(shape))), 0
        return given


def _given_state(graph: Graph, order: Sequence[int]) -> dict[int, Place]:
    """The unknowns, which lie in the state, and time."""
    given = {}
    state = Unit("given", [], name="state")
    for number in order:
        node = graph.nodes[number]
        if node.op == "state":
            offset, _, state.size = node.static  # type: ignore[misc]
            given[number] = state, offset
        elif node.op == "time":
            given[number] = Unit("given", [number], name="jnp.reshape(t, (1,))", size=1), 0
    return given


def _is_scalar_algebra(graph: Graph) -> Callable[[int], bool]:
    def holds(number: int) -> bool:
        elementwise = graph.nodes[number].op in ELEMENTWISE
        return elementwise and not graph.shapes[number] and not graph.is_constant(number)

    return holds


def _packed(
    texts: Sequence[str], shapes: Sequence[tuple[int, ...]], updated: Sequence[bool]
) -> str:
    """Packs results into one vector: neighbours of one shape stacked, arrays raveled.

    XLA makes of arrays that are stacked one loop over their own indices, and of arrays that are
    raveled and concatenated one over the vector: half as fast, if they are shifted.
    """
    parts: list[str] = []
    if len(texts) == 1 and updated[0] and len(shapes[0]) > 1:
        return f"flat({texts[0]})"
    for shape, run in itertools.groupby(zip(shapes, texts, strict=True), key=lambda pair: pair[0]):
        same = [text for _, text in run]
        stacked = not shape or len(same) > 1
        whole = f"jnp.stack([{', '.join(same)}])" if stacked else same[0]
        parts.append(f"jnp.ravel({whole})" if len(shape) + stacked > 1 else whole)
    return parts[0] if len(parts) == 1 else f"jnp.concatenate([{', '.join(parts)}])"


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' * (len(texts) == 1)})"


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)
