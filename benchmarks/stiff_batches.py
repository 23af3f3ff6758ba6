"""Many stiff solves in one call, beside one after the other in compiled C.

Run by name, ``python -m benchmarks stiff_batches``: 1000 solves of Robertson's problem to t = 1e5,
the three rate constants of each within ten per cent of the usual ones, by `sciml.Rodas5P` under
`jax.vmap`; and numbalsoda's time for one solve with an error as large, times 1000, over two cores.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sciml as sm
from sciml import D

from .stiff import best, peers, references
from .timing import Row
from .work import error, time_at_error

COUNT, CORES = 1000, 2


def robertson() -> sm.System:
    """The three reactions, with their rates as parameters."""
    y1, y2, y3 = sm.unknowns("y1 y2 y3")
    k1, k2, k3 = sm.parameters("k1 k2 k3")
    return sm.System(
        sm.Eq(D(y1), -k1 * y1 + k2 * y2 * y3),
        sm.Eq(D(y2), k1 * y1 - k2 * y2 * y3 - k3 * y2**2),
        sm.Eq(D(y3), k3 * y2**2),
        initial={y1: 1, y2: 0, y3: 0},
        values={k1: 0.04, k2: 1e4, k3: 3e7},
    )


def run() -> list[Row]:
    """A row for each tolerance."""
    model = sm.compile(robertson())
    arrays, rest = eqx.partition(model, eqx.is_array)
    spread = np.random.default_rng(0).uniform(0.9, 1.1, (3, COUNT))
    spread[:, 0] = 1
    rates = {
        name: jnp.asarray(value * factors)
        for (name, value), factors in zip(
            {"k1": 0.04, "k2": 1e4, "k3": 3e7}.items(), spread, strict=True
        )
    }
    found, _ = peers("robertson", None, 20.0)
    rows = []
    for rtol in (1e-4, 1e-6):

        def one(rates: Any, rtol: float = rtol) -> Any:
            moved = eqx.tree_at(lambda m: m.parameters, eqx.combine(arrays, rest), rates)
            sol = sm.solve(
                moved, t=(0, 1e5), saveat=[1e5], solver="stiff", rtol=rtol, atol=rtol * 1e-6,
                throw=False,
            )  # fmt: skip
            return sol.ys[-1]

        every = jax.jit(jax.vmap(one))
        ends = np.asarray(every(rates))
        wrong = error(ends[0], references()["robertson"])
        ours = best(lambda every=every: jax.block_until_ready(every(rates)))
        theirs = time_at_error(found["numbalsoda"], wrong) * COUNT / CORES
        said = f"{theirs / ours:.2f} ({ours:.0f} ms; one with an error of {wrong:.0e})"
        rows.append(Row(f"{COUNT} Robertson in one call, over numbalsoda on 2 cores", ">= 2", said))
    return rows
