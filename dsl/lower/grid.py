"""Grids: the nodes of each coordinate, and stretches of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._coordinates import Coordinate
from .._errors import DeclarationError
from .._system import System
from .weights import weights

_UNIFORM = 1e-12  # by which steps may differ, relative to the length


@dataclasses.dataclass(frozen=True)
class Span:
    """A stretch of nodes, first to last but one; with `half`, of the middles behind them."""

    first: int
    last: int
    half: bool = False

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first

    @property
    def shift(self) -> float:
        """How far behind the nodes they lie."""
        return self.half / 2

    def widened(self, before: int, behind: int) -> Span:
        """So many more on both sides."""
        return Span(self.first - before, self.last + behind, self.half)

    def nodes(self, before: int, behind: int) -> Span:
        """The nodes, or middles, that stencils reach from here, of the other kind."""
        return Span(self.first - before, self.last + behind, not self.half)


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """The nodes of one coordinate: with both ends, or periodic, where the second is the first.

    `spectral` where one polynomial goes through all of them; `cut`, whether either end is none, but
    where a stretch of a longer axis stops, which has `of` nodes.
    """

    coordinate: Coordinate
    nodes: np.ndarray
    periodic: bool
    length: float
    spectral: bool = False
    cut: tuple[bool, bool] = (False, False)
    of: int = 0

    @property
    def size(self) -> int:
        """The number of nodes."""
        return len(self.nodes)

    @functools.cached_property
    def step(self) -> float | None:
        """The distance of neighbours, if all are equally far apart."""
        ends = [*self.nodes, self.nodes[0] + self.length] if self.periodic else self.nodes
        steps = np.diff(ends)
        equal = np.ptp(steps) < _UNIFORM * self.length
        return float(self.length / len(steps)) if equal else None

    def stretch(self, span: Span) -> Axis:
        """Some of the nodes alone; of a periodic one also across its ends."""
        nodes = self.place(np.arange(span.first, span.last))
        within = self.periodic or span.first > 0, self.periodic or span.last < self.size
        cut = tuple(a or b for a, b in zip(within, self.cut, strict=True))
        found = dataclasses.replace(
            self,
            nodes=nodes,
            periodic=False,
            length=float(nodes[-1] - nodes[0]),
            cut=cut,
            of=self.of or self.size,
        )
        found.__dict__["step"] = self.step  # to the last digit
        return found

    def count(self, half: bool) -> int:
        """The number of nodes, or of the middles between them."""
        return self.size - (half and not self.periodic)

    def place(self, index: np.ndarray) -> np.ndarray:
        """Where nodes are, and the middles behind them, at halves; beyond the ends reflected.

        Or they go on periodically.
        """
        below, above = (np.asarray(side(index), int) for side in (np.floor, np.ceil))
        return np.asarray((self._node(below) + self._node(above)) / 2)

    def _node(self, index: np.ndarray) -> np.ndarray:
        n = self.size
        if self.periodic:
            return self.nodes[index % n] + self.length * (index // n)
        low, high = self.nodes[0], self.nodes[-1]
        inside = self.nodes[np.clip(index, 0, n - 1)]
        before = 2 * low - self.nodes[np.clip(-index, 0, n - 1)]
        behind = 2 * high - self.nodes[np.clip(2 * (n - 1) - index, 0, n - 1)]
        return np.where(index < 0, before, np.where(index >= n, behind, inside))

    def matrix(self, places: np.ndarray, order: int) -> np.ndarray:
        """Of values at all nodes, their polynomial's derivative of some order at places."""
        found = weights(places, np.broadcast_to(self.nodes, (len(places), self.size)), order)
        if order:  # a constant has none, to rounding
            near = np.argmin(np.abs(places[:, None] - self.nodes), axis=1)
            found[np.arange(len(places)), near] -= found.sum(axis=1)
        return found

    def weights(self, index: float, near: Sequence[float], order: int) -> np.ndarray:
        """The weights of nodes, or middles, in a derivative at another, maybe beyond an end."""
        if self.step is not None:
            return weights(float(index), np.array(near, float), order) / self.step**order
        return weights(self.place(np.array(index)), self.place(np.array(near)), order)

    def near(self, place: Any, count: int, e: Any) -> tuple[Span, np.ndarray]:
        """The node at a place; or those near it, and their weights in the value there."""
        low, high = float(self.nodes[0]), float(self.nodes[0]) + self.length
        if not place.is_number or not low - 1e-9 <= float(place) <= high + 1e-9:
            raise DeclarationError(
                f"{e}: a place is a number in the domain of {self.coordinate}, from {low:g} to "
                f"{high:g}, not {place}"
            )
        x = float(place)
        nearest = int(np.argmin(np.abs(self.nodes - x)))
        if self.periodic and abs(x - high) < 1e-9 * self.length:
            nearest, x = 0, low
        if abs(self.nodes[nearest] - x) < 1e-9 * self.length:
            return Span(nearest, nearest + 1), np.ones(1)
        index, found = self._nearest(np.array([x]), count)
        return Span(int(index[0, 0]), int(index[0, -1]) + 1), found[0]

    def quadrature(self, low: float, high: float, order: int) -> np.ndarray:
        """The weights of all nodes in the integral between two places.

        Cell by cell, of the polynomial through the nearest nodes; exact to its degree.
        """
        edges = self.place(np.arange(self.size + 1 if self.periodic else self.size))
        cells = np.unique(np.clip(edges, low, high))
        degree = self.size if self.spectral else order
        points, shares = np.polynomial.legendre.leggauss(degree // 2 + 1)
        half = np.diff(cells)[:, None] / 2
        places = (cells[:-1, None] + half + half * points).ravel()
        near, found = self.interpolated(places, order + 2)
        total = np.zeros(self.size)
        np.add.at(total, near, (half * shares).ravel()[:, None] * found)
        return total

    def interpolated(self, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """For each place the nodes nearest to it, and their weights in the value there."""
        index, found = self._nearest(places, count)
        return index % self.size, found

    def _nearest(self, places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The same, with nodes of a periodic coordinate that go on beyond its ends."""
        count = self.size if self.spectral else min(count, self.size)
        first = np.searchsorted(self.nodes, places, side="right") - (count + 1) // 2
        if not self.periodic:
            first = np.clip(first, 0, self.size - count)
        index = first[:, None] + np.arange(count)
        return index, weights(places, self.place(index), 0)

    def along(self, span: Span) -> np.ndarray:
        """The places of a stretch."""
        return self.place(np.arange(span.first, span.last) + span.shift)


@dataclasses.dataclass(frozen=True)
class Chebyshev:
    """A grid of so many nodes of Chebyshev and Lobatto, with one polynomial through all of them.

    ``x_k = (a + b - (b - a) cos(k pi / (count - 1))) / 2``, dense near both ends a and b. All
    derivatives along the coordinate are those of the polynomial: where a field is smooth, 20 to 60
    nodes give ten digits. They couple all nodes, and explicit steps fall as the fourth power of
    their number: take solver="stiff".

    >>> import sciml as sm
    >>> s = sm.coordinate("s")
    >>> u = sm.unknown("u", sm.t, s)
    >>> ends = [sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 1)]
    >>> rod = sm.System(sm.Eq(sm.D(u, sm.t), sm.D(u, s, s)), domain={s: (0, 1)}, boundary=ends)
    >>> sm.compile(rod, grid={s: sm.Chebyshev(17)}).schemes
    {Derivative(u, (s, 2)): 'Chebyshev, 17 nodes'}

    Source: Trefethen, Spectral Methods in MATLAB (2000), chapter 6.
    """

    count: int

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 3:
            raise DeclarationError(f"Chebyshev({self.count!r}): 3 nodes or more")

    def nodes(self, low: float, high: float) -> np.ndarray:
        """The nodes between two ends, which are nodes themselves."""
        angles = np.pi * np.arange(self.count) / (self.count - 1)
        found = (low + high) / 2 - (high - low) / 2 * np.cos(angles)
        found[0], found[-1] = low, high
        return found


GridSpec = int | Chebyshev | Any  # a number of nodes, or the nodes


def make_axes(
    system: System, grid: Mapping[Any, Any], periodic: Mapping[Coordinate, bool]
) -> dict[Coordinate, Axis]:
    """The axis of each coordinate of a system.

    Raises `DeclarationError` for a coordinate without a grid, a grid of something else, and nodes
    that do not go from end to end.
    """
    by_name = {s.name: s for s in system.coordinates}
    given = {}
    for key, value in grid.items():
        name = key if isinstance(key, str) else getattr(key, "name", str(key))
        if name not in by_name:
            known = ", ".join(by_name) or "none"
            raise DeclarationError(f"grid: {name} is no coordinate of this system; it has {known}")
        given[by_name[name]] = value
    missing = [s for s in system.coordinates if s not in given]
    if missing:
        names = ", ".join(s.name for s in missing)
        raise DeclarationError(
            f"grid: {names} has no grid; give the number of nodes, grid={{{missing[0]}: 100}}"
        )
    return {
        s: _axis(s, given[s], system.domain[s], periodic[s]) for s in system.coordinates
    }  # fmt: skip


def _axis(symbol: Coordinate, given: GridSpec, ends: tuple[Any, Any], periodic: bool) -> Axis:
    low, high = (float(end) for end in ends)
    if isinstance(given, Chebyshev):
        if periodic:
            raise DeclarationError(
                f"grid of {symbol}: it is periodic, where Chebyshev's nodes are of no use: give a "
                'number of nodes, and scheme="fourier"'
            )
        return Axis(symbol, given.nodes(low, high), False, high - low, spectral=True)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        if given < 2:
            raise DeclarationError(f"grid of {symbol}: at least 2 nodes, not {given}")
        count = given + 1 if periodic else given
        nodes = np.linspace(low, high, count)
    else:
        nodes = _nodes(symbol, given, low, high)
    return Axis(symbol, nodes[:-1] if periodic else nodes, periodic, high - low)


def _nodes(symbol: Coordinate, given: Any, low: float, high: float) -> np.ndarray:
    try:
        nodes = np.asarray(given, float)
    except (TypeError, ValueError):
        nodes = np.zeros(())
    if nodes.ndim != 1 or len(nodes) < 2:
        raise DeclarationError(
            f"grid of {symbol}: a number of nodes, or the nodes from end to end, not {given!r}"
        )
    slack = 1e-9 * (high - low)
    if abs(nodes[0] - low) > slack or abs(nodes[-1] - high) > slack:
        raise DeclarationError(
            f"grid of {symbol}: the nodes go from {nodes[0]:g} to {nodes[-1]:g}, but the domain "
            f"from {low:g} to {high:g}; both ends are nodes"
        )
    if not np.all(np.diff(nodes) > 0):
        raise DeclarationError(f"grid of {symbol}: the nodes must increase")
    return nodes


def stretched(
    count: int, ends: tuple[float, float], *, by: float = 10.0, towards: str = "both"
) -> np.ndarray:
    """Nodes that come closer to one end of an interval, or to both, for boundary layers.

    A hyperbolic tangent of evenly spaced numbers, whose largest step is about `by` times the
    smallest; smooth, so that schemes keep their order.

    Arguments: `count` of nodes; `ends` of the interval; `by`; `towards` "both", "start" or "end".

    >>> import sciml as sm
    >>> [round(float(x), 3) for x in sm.stretched(5, (0, 1), by=4)]
    [0.0, 0.167, 0.5, 0.833, 1.0]

    Source: Vinokur, On one-dimensional stretching functions for finite-difference calculations, J.
    Comput. Phys. 50 (1983).
    """
    if towards not in ("both", "start", "end"):
        raise DeclarationError(f'towards is "both", "start" or "end", not {towards!r}')
    if count < 2 or not by >= 1:
        raise DeclarationError(f"stretched: count is 2 or more and by 1 or more, not {count}, {by}")
    low, high = float(ends[0]), float(ends[1])
    x = np.linspace(-1, 1, count) if towards == "both" else np.linspace(0, 1, count)
    strength = np.arccosh(np.sqrt(by))  # the slope of tanh falls as 1 / cosh^2
    shape = np.tanh(strength * x) / np.tanh(strength) if strength > 0 else x
    unit = (shape + 1) / 2 if towards == "both" else shape
    if towards == "start":
        unit = 1 - unit[::-1]
    nodes = low + (high - low) * unit
    nodes[0], nodes[-1] = low, high
    return nodes
