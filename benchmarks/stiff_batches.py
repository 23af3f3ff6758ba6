"""Many solves in one call, beside one after the other in compiled C.

Run by name, ``python -m benchmarks stiff_batches``: 10 000 solves of Lotka and Volterra's equations
to t = 10 by the solver that is taken if none is named, and 1000 of Robertson's problem to t = 1e5
by "stiff", their parameters within ten per cent of the usual ones, under `jax.vmap`; the first has
the usual ones, of which the end is known. Beside it numbalsoda's time for one solve with an error
as large, times their number, over two cores: nothing is lost there to handing out work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sciml as sm
from sciml import D

from .stiff import best, peers, references
from .timing import Row
from .work import error, time_at_error

CORES = 2


class Batch(NamedTuple):
    """Many solves of one system, with other parameters in each."""

    name: str  # that the peers know it by
    count: int
    system: sm.System
    end: float
    solver: Any
    tolerances: tuple[tuple[float, float], ...]


def robertson() -> Batch:
    """Three reactions."""
    y1, y2, y3 = sm.unknowns("y1 y2 y3")
    k1, k2, k3 = sm.parameters("k1 k2 k3")
    system = sm.System(
        sm.Eq(D(y1), -k1 * y1 + k2 * y2 * y3),
        sm.Eq(D(y2), k1 * y1 - k2 * y2 * y3 - k3 * y2**2),
        sm.Eq(D(y3), k3 * y2**2),
        initial={y1: 1, y2: 0, y3: 0},
        values={k1: 0.04, k2: 1e4, k3: 3e7},
    )
    tolerances = (1e-4, 1e-10), (1e-6, 1e-12)
    return Batch("robertson", 1000, system, 1e5, "stiff", tolerances)


def lotka_volterra() -> Batch:
    """Prey and predators."""
    x, y = sm.unknowns("x y")
    a, b, c, d = sm.parameters("a b c d")
    system = sm.System(
        sm.Eq(D(x), a * x - b * x * y),
        sm.Eq(D(y), d * x * y - c * y),
        initial={x: 10, y: 5},
        values={a: 1.5, b: 1.0, c: 3.0, d: 1.0},
    )
    tolerances = (1e-5, 1e-5), (1e-7, 1e-7)
    return Batch("lotka_volterra", 10_000, system, 10.0, None, tolerances)


def run() -> list[Row]:
    """A row for each system and tolerance."""
    return [row for batch in (lotka_volterra(), robertson()) for row in rows(batch)]


def rows(batch: Batch) -> list[Row]:
    """The rows of one."""
    model = sm.compile(batch.system)
    arrays, rest = eqx.partition(model, eqx.is_array)
    spread = np.random.default_rng(0).uniform(0.9, 1.1, (len(model.parameters), batch.count))
    spread[:, 0] = 1
    values = {
        name: value * jnp.asarray(factors)
        for (name, value), factors in zip(model.parameters.items(), spread, strict=True)
    }
    found, _ = peers(batch.name, None, 20.0)
    told = []
    for rtol, atol in batch.tolerances:

        def one(values: Any, rtol: float = rtol, atol: float = atol) -> Any:
            moved = eqx.tree_at(lambda m: m.parameters, eqx.combine(arrays, rest), values)
            sol = sm.solve(
                moved, t=(0, batch.end), saveat=[batch.end], solver=batch.solver, rtol=rtol,
                atol=atol, throw=False,
            )  # fmt: skip
            return sol.ys[-1]

        every = jax.jit(jax.vmap(one))
        ends = np.asarray(every(values))
        assert np.isfinite(ends).all()
        wrong = error(ends[0], references()[batch.name])
        ours = best(lambda every=every: jax.block_until_ready(every(values)))
        theirs = time_at_error(found["numbalsoda"], wrong) * batch.count / CORES
        said = f"{theirs / ours:.2f} ({ours:.0f} ms; one with an error of {wrong:.0e})"
        what = f"{batch.count} of {batch.name} in one call, over numbalsoda on 2 cores"
        told.append(Row(what, ">= 2", said))
    return told
