"""What a gradient through a stiff solve costs, over the solve.

Run by name, ``python -m benchmarks stiff_gradients``. The rod of `stiff_problems.brusselator_1d`
with 500 points, fed at each point by parameters: 1000 of them, one for each point and species, or
10, the weights of as many waves. The gradient of a weighted sum of the end by all of them, to a
relative tolerance of 1e-6: by checkpoints, and by adjoint equations (gauss), which keep the dense
output of `STEPS` steps. Ratios are medians of pairs in one run (`timing.pairs`).
"""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sciml as sm
from sciml import D

from .timing import Row, pairs, ratio

NODES, END, STEPS = 500, 10.0, 512


def rod(waves: int | None) -> sm.System:
    """The rod, fed by parameters: of each point, or of waves."""
    x = np.arange(1, NODES + 1) / (NODES + 1)
    u, v = sm.unknown("u", shape=NODES), sm.unknown("v", shape=NODES)
    count = NODES if waves is None else waves // 2
    a, b = sm.parameter("a", shape=count), sm.parameter("b", shape=count)
    values: dict[Any, Any] = {a: np.ones(count), b: np.zeros(count)}
    feed_u, feed_v = a, b
    if waves is not None:
        basis = sm.constant(np.cos(np.pi * np.outer(x, np.arange(count))), "waves")
        feed_u, feed_v = sm.matmul(basis, a), sm.matmul(basis, b)
        values[a] = np.eye(count)[0]

    def second(w: Any, end: float) -> Any:
        wall = sm.constant(np.array([end]))
        left, right = sm.concatenate([wall, w[:-1]]), sm.concatenate([w[1:], wall])
        return (NODES + 1) ** 2 / 50 * (left - 2 * w + right)

    return sm.System(
        sm.Eq(D(u), feed_u + u**2 * v - 4 * u + second(u, 1.0)),
        sm.Eq(D(v), feed_v + 3 * u - u**2 * v + second(v, 3.0)),
        initial={u: 1 + np.sin(2 * np.pi * x), v: 3},
        values=values,
    )


def run() -> list[Row]:
    """A row for each stepper and number of parameters."""
    rows = []
    weights = jnp.asarray(np.random.default_rng(0).normal(size=2 * NODES))
    for name, solver in (("Rodas5P", sm.Rodas5P()), ("BDF", sm.BDF())):
        for waves in (10, None):
            model = sm.compile(rod(waves))
            arrays, rest = eqx.partition(model, eqx.is_array)

            def end(
                parameters: Any, adjoint: str, arrays: Any = arrays, rest: Any = rest,
                solver: Any = solver,
            ) -> Any:  # fmt: skip
                moved = eqx.tree_at(lambda m: m.parameters, eqx.combine(arrays, rest), parameters)
                sol = sm.solve(
                    moved, t=(0, END), saveat=dfx.SaveAt(t1=True), solver=solver, rtol=1e-6,
                    atol=1e-8, adjoint=adjoint, max_steps=STEPS, throw=False,
                )  # fmt: skip
                return weights @ sol.ys[-1]

            point = model.parameters
            primal = jax.jit(lambda p, end=end: end(p, "checkpointed"))
            reverse = jax.jit(jax.grad(lambda p, end=end: end(p, "checkpointed")))
            gauss = jax.jit(jax.grad(lambda p, end=end: end(p, "gauss")))
            direction = jax.tree.map(jnp.ones_like, point)
            forward = jax.jit(
                lambda p, end=end, d=direction: jax.jvp(lambda p: end(p, "forward"), (p,), (d,))[1]
            )
            slope = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(reverse(point)))
            apart = abs(float(slope / forward(point)) - 1)
            times = pairs(lambda r=reverse, p=point: r(p), lambda r=primal, p=point: r(p), count=9)
            other = pairs(lambda g=gauss, p=point: g(p), lambda r=primal, p=point: r(p), count=9)
            off = _apart(gauss(point), reverse(point))
            what = f"gradient by {waves or 2 * NODES} parameters, rod of {2 * NODES}, {name}"
            rows.append(Row(f"{what}: time over the solve", "<= 4", ratio(times)))
            rows.append(Row(f"{what}: reverse over forward mode - 1", "<= 1e-6", f"{apart:.1e}"))
            rows.append(Row(f"{what}, gauss: time over the solve", "", ratio(other)))
            rows.append(Row(f"{what}, gauss: from checkpoints, of the largest", "", f"{off:.1e}"))
            solve_ms = 1e3 * float(np.median(times[:, 1]))
            rows.append(Row(f"{what}: the solve", "", f"{solve_ms:.1f} ms"))
            print(rows[-5:], flush=True)
    return rows


def _apart(one: Any, other: Any) -> float:
    """The largest difference of two gradients, in units of the largest entry."""
    one, other = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (one, other)
    )
    return float(np.max(np.abs(one - other)) / np.max(np.abs(other)))
