"""Right-hand sides and Jacobians of the stiff problems, compiled with numba for the peers.

Runs in the peers' environment. The small problems are declared with sympy, whose derivatives and
common subexpressions make straight-line code; the Brusselators are loops over their nodes, with u
and v of a node side by side, which keeps the Jacobian's band narrow. Equations and sources are
those of `problems.py` and `stiff_problems.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import sympy

compiled = numba.njit(error_model="numpy")  # as C divides: without a test for zero


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A problem ``y' = rates(t, y)`` on (0, end).

    `rates(t, y, out)` and `jacobian(t, y, out, place)` are compiled. The k-th non-zero of the
    Jacobian, column by column as in `indptr` and `indices`, is written to ``out[place[k]]``: so one
    function fills a dense, a banded or a sparse matrix.
    """

    name: str
    start: np.ndarray
    end: float
    rates: Callable
    jacobian: Callable
    indptr: np.ndarray
    indices: np.ndarray
    floors: tuple[float, ...]  # absolute tolerances tried, as multiples of the relative one
    band: int = 0  # half bandwidth, where that is narrow

    @property
    def size(self) -> int:
        """The number of unknowns."""
        return len(self.start)

    @property
    def columns(self) -> np.ndarray:
        """The column of each non-zero."""
        return np.repeat(np.arange(self.size), np.diff(self.indptr))

    def place(self, format: str, stored: int = 0) -> np.ndarray:
        """Where each non-zero goes: in a dense matrix by columns or by rows, in a CSC one, in
        SUNDIALS's banded one (with room for what pivoting fills in) or in LSODA's."""
        rows, columns = self.indices, self.columns
        found = {
            "dense": lambda: columns * self.size + rows,
            "rows": lambda: rows * self.size + columns,
            "sparse": lambda: np.arange(len(rows)),
            "sundials band": lambda: columns * (stored + self.band + 1) + rows - columns + stored,
            "lsoda band": lambda: (rows - columns + self.band) * self.size + columns,
        }[format]()
        return found.astype(np.int32)


def symbolic(name: str, rates: Callable, start: Any, end: float, floors: tuple[float, ...]) -> Task:
    """A small task, from a function of its symbols."""
    y = sympy.symbols(f"y0:{len(start)}")
    field = sympy.Matrix([sympy.sympify(rate) for rate in rates(*y)])
    entries = field.jacobian(y)
    # The diagonal belongs to the pattern even where it is zero, as I - gamma J has it.
    pattern = [
        (row, column)
        for column in range(len(y))
        for row in range(len(y))
        if entries[row, column] != 0 or row == column
    ]
    counts = np.bincount([column for _, column in pattern], minlength=len(y))
    places = [f"out[place[{number}]]" for number in range(len(pattern))]
    return Task(
        name, np.array(start, float), end,
        _straight("t, y, out", y, field, [f"out[{row}]" for row in range(len(y))]),
        _straight("t, y, out, place", y, [entries[where] for where in pattern], places),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        np.array([row for row, _ in pattern], np.int32), floors,
    )  # fmt: skip


def _straight(arguments: str, y: tuple, expressions: Any, targets: list[str]) -> Callable:
    shared, reduced = sympy.cse(list(expressions))
    lines = [f"    {symbol} = y[{number}]" for number, symbol in enumerate(y)]
    named = [*shared, *zip(targets, reduced, strict=True)]
    lines += [f"    {target} = {sympy.pycode(expression)}" for target, expression in named]
    scope: dict[str, Any] = {}
    exec("\n".join([f"def function({arguments}):", *lines]), scope)
    return compiled(scope["function"])


def robertson() -> Task:
    """Three reactions, nine orders of magnitude apart."""

    def rates(y1: Any, y2: Any, y3: Any) -> tuple:
        one, two = -0.04 * y1 + 1e4 * y2 * y3, 3e7 * y2**2
        return one, -one - two, two

    return symbolic("robertson", rates, (1, 0, 0), 1e5, (1e-6, 1e-9))


def lotka_volterra() -> Task:
    """Prey and predators: not stiff, for `stiff_batches.py`."""
    return symbolic(
        "lotka_volterra", lambda x, y: (1.5 * x - x * y, x * y - 3 * y), (10, 5), 10.0, (1.0,)
    )


def oregonator() -> Task:
    """The Belousov-Zhabotinsky reaction."""

    def rates(y1: Any, y2: Any, y3: Any) -> tuple:
        return (
            77.27 * (y2 + y1 * (1 - 8.375e-6 * y1 - y2)),
            (y3 - (1 + y1) * y2) / 77.27,
            0.161 * (y1 - y3),
        )

    return symbolic("oregonator", rates, (1, 2, 3), 30.0, (1.0, 1e-3))


def hires() -> Task:
    """High irradiance response of a plant's growth."""

    def rates(*y: Any) -> tuple:
        y1, y2, y3, y4, y5, y6, y7, y8 = y
        last = 280 * y6 * y8 - 1.81 * y7
        return (
            -1.71 * y1 + 0.43 * y2 + 8.32 * y3 + 0.0007,
            1.71 * y1 - 8.75 * y2,
            -10.03 * y3 + 0.43 * y4 + 0.035 * y5,
            8.32 * y2 + 1.71 * y3 - 1.12 * y4,
            -1.745 * y5 + 0.43 * y6 + 0.43 * y7,
            -280 * y6 * y8 + 0.69 * y4 + 1.71 * y5 - 0.43 * y6 + 0.69 * y7,
            last,
            -last,
        )

    return symbolic("hires", rates, (1, 0, 0, 0, 0, 0, 0, 0.0057), 321.8122, (1e-2, 1e-4))


def van_der_pol(name: str, mu: float) -> Task:
    """A relaxation oscillator."""
    rates = lambda y, x: (mu * ((1 - x**2) * y - x), y)
    return symbolic(name, rates, (1, 1), 6.3, (1.0, 1e-3))


_POLLU_K = (
    0.35, 26.6, 1.23e4, 8.6e-4, 8.2e-4, 1.5e4, 1.3e-4, 2.4e4, 1.65e4, 9e3, 0.022, 1.2e4, 1.88,
    1.63e4, 4.8e6, 3.5e-4, 0.0175, 1e8, 4.44e11, 1240, 2.1, 5.78, 0.0474, 1780, 3.12,
)  # fmt: skip
_POLLU_FACTORS = (
    (1,), (2, 4), (5, 2), (7,), (7,), (7, 6), (9,), (9, 6), (11, 2), (11, 1), (13,), (10, 2), (14,),
    (1, 6), (3,), (4,), (4,), (16,), (16,), (17, 6), (19,), (19,), (1, 4), (19, 1), (20,),
)  # fmt: skip
_POLLU_RATES = (
    (-1, -10, -14, -23, -24, 2, 3, 9, 11, 12, 22, 25), (-2, -3, -9, -12, 1, 21),
    (-15, 1, 17, 19, 22), (-2, -16, -17, -23, 15), (-3, 4, 4, 6, 7, 13, 20),
    (-6, -8, -14, -20, 3, 18, 18), (-4, -5, -6, 13), (4, 5, 6, 7), (-7, -8), (-12, 7, 9),
    (-9, -10, 8, 11), (9,), (-11, 10), (-13, 12), (14,), (-18, -19, 16), (-20,), (20,),
    (-21, -22, -24, 23, 25), (-25, 24),
)  # fmt: skip


def pollu() -> Task:
    """Air pollution: 20 species in 25 reactions."""

    def rates(*y: Any) -> list:
        reactions = [
            k * sympy.prod([y[number - 1] for number in factors])
            for k, factors in zip(_POLLU_K, _POLLU_FACTORS, strict=True)
        ]
        signed = lambda n: (1 if n > 0 else -1) * reactions[abs(n) - 1]
        return [sum(signed(n) for n in terms) for terms in _POLLU_RATES]

    start = np.zeros(20)
    start[[1, 3, 6, 7, 8, 16]] = 0.2, 0.04, 0.1, 0.3, 0.01, 0.007
    return symbolic("pollu", rates, start, 60.0, (1e-4, 1e-7))


def brusselator_1d(size: int) -> Task:
    """Hairer and Wanner, II, section IV.1, BRUSS: A = 1, B = 3, alpha = 1/50, by central
    differences on ``size / 2`` inner points, with u = 1 and v = 3 at both ends."""
    nodes = size // 2
    stiffness = (nodes + 1) ** 2 / 50

    @compiled
    def rates(t, y, out):
        for k in range(nodes):
            u, v = y[2 * k], y[2 * k + 1]
            left_u, left_v = (y[2 * k - 2], y[2 * k - 1]) if k > 0 else (1.0, 3.0)
            right_u, right_v = (y[2 * k + 2], y[2 * k + 3]) if k < nodes - 1 else (1.0, 3.0)
            square = u * u * v
            out[2 * k] = 1.0 + square - 4.0 * u + stiffness * (left_u - 2.0 * u + right_u)
            out[2 * k + 1] = 3.0 * u - square + stiffness * (left_v - 2.0 * v + right_v)

    @compiled
    def jacobian(t, y, out, place):
        at = 0
        for k in range(nodes):
            u, v = y[2 * k], y[2 * k + 1]
            if k > 0:
                out[place[at]] = stiffness
                at += 1
            out[place[at]] = 2.0 * u * v - 4.0 - 2.0 * stiffness
            out[place[at + 1]] = 3.0 - 2.0 * u * v
            at += 2
            if k < nodes - 1:
                out[place[at]] = stiffness
                at += 1
            if k > 0:
                out[place[at]] = stiffness
                at += 1
            out[place[at]] = u * u
            out[place[at + 1]] = -u * u - 2.0 * stiffness
            at += 2
            if k < nodes - 1:
                out[place[at]] = stiffness
                at += 1

    start = np.full(size, 3.0)
    start[::2] = 1 + np.sin(2 * np.pi * np.arange(1, nodes + 1) / (nodes + 1))
    rows = [
        [row for row in (2 * k + s - 2, 2 * k, 2 * k + 1, 2 * k + s + 2) if 0 <= row < size]
        for k in range(nodes)
        for s in (0, 1)
    ]
    return Task("brusselator_1d", start, 10.0, rates, jacobian, *_csc(rows), (1.0,), band=2)


def brusselator_2d(side: int) -> Task:
    """Hairer and Wanner, II, section IV.10, BRUSS-2D: periodic, alpha = .1, and a source in a disc
    from t = 1.1 on; node (i, j) at x = i / side, y = j / side."""
    stiffness = 0.1 * side**2
    grid = np.arange(side) / side
    source = 5.0 * ((grid[:, None] - 0.3) ** 2 + (grid[None, :] - 0.6) ** 2 <= 0.1**2)

    @compiled
    def pair(u, v, around_u, around_v, lit):
        square = u * u * v
        return (
            stiffness * (around_u - 4.0 * u) + 1.0 + square - 4.4 * u + lit,
            stiffness * (around_v - 4.0 * v) + 3.4 * u - square,
        )

    @compiled
    def rates(t, y, out):
        rows, results = y.reshape(side, 2 * side), out.reshape(side, 2 * side)
        lit, last = 1.0 if t >= 1.1 else 0.0, 2 * side - 2
        for i in range(side):
            up, down = rows[i - 1 if i > 0 else side - 1], rows[i + 1 if i < side - 1 else 0]
            here, result, extra = rows[i], results[i], source[i]
            # The inner ones in a loop of their own, without branches: it is twice as fast.
            for j in range(1, side - 1):
                k = 2 * j
                result[k], result[k + 1] = pair(
                    here[k],
                    here[k + 1],
                    up[k] + down[k] + here[k - 2] + here[k + 2],
                    up[k + 1] + down[k + 1] + here[k - 1] + here[k + 3],
                    lit * extra[j],
                )
            for k, left, right in ((0, last, 2), (last, last - 2, 0)):
                result[k], result[k + 1] = pair(
                    here[k],
                    here[k + 1],
                    up[k] + down[k] + here[left] + here[right],
                    up[k + 1] + down[k + 1] + here[left + 1] + here[right + 1],
                    lit * extra[k // 2],
                )

    nodes = np.arange(side * side).reshape(side, side)
    around = np.stack(
        [nodes, *(np.roll(nodes, shift, axis) for axis in (0, 1) for shift in (1, -1))], axis=-1
    ).reshape(-1, 5)
    columns = [(*(2 * places + s), 2 * places[0] + 1 - s) for places in around for s in (0, 1)]
    indptr, indices = _csc([sorted(rows) for rows in columns])
    # Where the diagonal and the other species stand among the 6 of a column.
    own = np.array([sorted(rows).index(rows[0]) for rows in columns], np.int32)
    other = np.array([sorted(rows).index(rows[5]) for rows in columns], np.int32)

    @compiled
    def jacobian(t, y, out, place):
        for column in range(2 * side * side):
            for number in range(6 * column, 6 * column + 6):
                out[place[number]] = stiffness
            u, v = y[column // 2 * 2], y[column // 2 * 2 + 1]
            diagonal, coupling = 6 * column + own[column], 6 * column + other[column]
            if column % 2 == 0:
                out[place[diagonal]] = 2.0 * u * v - 4.4 - 4.0 * stiffness
                out[place[coupling]] = 3.4 - 2.0 * u * v
            else:
                out[place[diagonal]] = -u * u - 4.0 * stiffness
                out[place[coupling]] = u * u

    start = np.zeros((side, side, 2))
    start[:, :, 0] = (22 * grid * (1 - grid) ** 1.5)[None, :]
    start[:, :, 1] = (27 * grid * (1 - grid) ** 1.5)[:, None]
    return Task(
        "brusselator_2d", start.ravel(), 11.5, rates, jacobian, indptr, indices, (1.0,)
    )  # fmt: skip


def _csc(rows: list) -> tuple[np.ndarray, np.ndarray]:
    pointers = np.concatenate([[0], np.cumsum([len(column) for column in rows])])
    return pointers.astype(np.int32), np.concatenate(rows).astype(np.int32)


SMALL: dict[str, Callable[[], Task]] = {
    "lotka_volterra": lotka_volterra,
    "robertson": robertson,
    "hires": hires,
    "oregonator": oregonator,
    "pollu": pollu,
    "van_der_pol_1e3": functools.partial(van_der_pol, "van_der_pol_1e3", 1e3),
    "van_der_pol_1e6": functools.partial(van_der_pol, "van_der_pol_1e6", 1e6),
}
SIZED: dict[str, tuple[Callable[[int], Task], tuple[int, ...]]] = {
    "brusselator_1d": (brusselator_1d, (64, 256, 1024, 4096)),
    "brusselator_2d": (brusselator_2d, (32, 64, 128)),
}


def task(name: str, size: int | None = None) -> Task:
    """The task of a name; the Brusselators want a size, the number of unknowns or the side."""
    if name in SMALL:
        return SMALL[name]()
    if size is None:
        raise SystemExit(f"{name} wants a size, such as {SIZED[name][1]}")
    return SIZED[name][0](size)
