"""Things that depend on each other in a circle."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from typing import Any


def circles(graph: Mapping[Any, Iterable[Any]]) -> list[list[Any]]:
    """Circles in `graph`, which gives for each thing what it depends on; no thing is in two.

    Each begins and ends with the thing that the graph names first: ``[a, b, a]`` where a depends
    on b, and b on a.
    """
    left = dict(graph)
    rank = {thing: i for i, thing in enumerate(graph)}
    found = []
    while True:
        try:
            graphlib.TopologicalSorter(left).prepare()
        except graphlib.CycleError as error:
            ring = error.args[1][:0:-1]  # graphlib names what is depended on first
            start = min(range(len(ring)), key=lambda i: rank[ring[i]])
            found.append([*ring[start:], *ring[:start], ring[start]])
            for thing in ring:
                del left[thing]
        else:
            return found
