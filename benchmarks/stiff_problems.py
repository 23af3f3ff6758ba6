"""The stiff problems that `problems.py` lacks, declared, for `stiff.py`: whole arrays.

Source: Hairer and Wanner, Solving Ordinary Differential Equations II (1996): BRUSS in section IV.1
and BRUSS-2D in section IV.10, by the method of lines. `stiff_rates.py` has them for the peers.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy

import sciml as sm
from sciml import D, t

from .problems import Problem, hires, oregonator, pollu, robertson, van_der_pol


@functools.cache
def van_der_pol_1e3() -> Problem:
    """The relaxation oscillator with stiffness 1e3."""
    y, x = sm.unknowns("y x")
    mu = sm.parameter("mu", 1e3)
    system = sm.System(
        sm.Eq(D(y), mu * ((1 - x**2) * y - x)),
        sm.Eq(D(x), y),
        initial={y: 1, x: 1},
        name="Van der Pol 1e3",
    )
    return Problem(system.name, system, 6.3, {}, stiff=True)


@functools.cache
def brusselator_1d(size: int) -> Problem:
    """A reaction along a rod, ``size / 2`` inner points, u = 1 and v = 3 at its ends."""
    nodes = size // 2
    x = np.arange(1, nodes + 1) / (nodes + 1)
    u, v = sm.unknown("u", shape=nodes), sm.unknown("v", shape=nodes)
    alpha = sm.parameter("alpha", 1 / 50)

    def second(w: Any, end: float) -> Any:
        wall = sm.constant(np.array([end]))
        left, right = sm.concatenate([wall, w[:-1]]), sm.concatenate([w[1:], wall])
        return (nodes + 1) ** 2 * (left - 2 * w + right)

    system = sm.System(
        sm.Eq(D(u), 1 + u**2 * v - 4 * u + alpha * second(u, 1.0)),
        sm.Eq(D(v), 3 * u - u**2 * v + alpha * second(v, 3.0)),
        initial={u: 1 + np.sin(2 * np.pi * x), v: 3},
        name=f"Brusselator 1D {size}",
    )
    return Problem(system.name, system, 10.0, {}, stiff=True)


@functools.cache
def brusselator_2d(side: int) -> Problem:
    """A reaction on a torus, ``side`` points each way, with a source in a disc from t = 1.1 on."""
    grid = np.arange(side) / side
    x, y = grid[:, None], grid[None, :]
    disc = 5.0 * ((x - 0.3) ** 2 + (y - 0.6) ** 2 <= 0.1**2)
    u, v = sm.unknown("u", shape=(side, side)), sm.unknown("v", shape=(side, side))
    alpha = sm.parameter("alpha", 0.1)

    def laplacian(w: Any) -> Any:
        around = sum(sm.roll(w, shift, axis=axis) for axis in (0, 1) for shift in (1, -1))
        return side**2 * (around - 4 * w)

    lit = sympy.Piecewise((1, t >= 1.1), (0, True))
    source = sm.constant(disc, "disc") * lit
    flat = np.ones((side, side))
    system = sm.System(
        sm.Eq(D(u), 1 + u**2 * v - 4.4 * u + alpha * laplacian(u) + source),
        sm.Eq(D(v), 3.4 * u - u**2 * v + alpha * laplacian(v)),
        initial={u: 22 * y * (1 - y) ** 1.5 * flat, v: 27 * x * (1 - x) ** 1.5 * flat},
        name=f"Brusselator 2D {side}",
    )
    return Problem(system.name, system, 11.5, {}, stiff=True)


SMALL = {
    "robertson": robertson,
    "hires": hires,
    "oregonator": oregonator,
    "pollu": pollu,
    "van_der_pol_1e3": van_der_pol_1e3,
    "van_der_pol_1e6": van_der_pol,
}
SIZED = {"brusselator_1d": brusselator_1d, "brusselator_2d": brusselator_2d}


def problem(name: str, size: int | None = None) -> Problem:
    """The problem by the name and size that the peers know it by."""
    return SMALL[name]() if size is None else SIZED[name](size)


def to_peer_order(name: str, state: Any) -> np.ndarray:
    """The peers' order of a state: as here, but for a Brusselator, which they order u, v, u, v.

    `state` is the solution of each unknown in the order of `unknowns`: for a Brusselator arrays of
    u and v, or both one after the other.
    """
    flat = np.concatenate([np.ravel(part) for part in state])
    return flat.reshape(2, -1).T.ravel() if name in SIZED else flat


def unknowns(given: Problem) -> tuple:
    """The unknowns of a problem that are integrated, in the order of `to_peer_order`."""
    return tuple(given.system.initial)
