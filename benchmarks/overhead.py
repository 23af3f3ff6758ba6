"""What costs of the solve add to a training step: time, and evaluations of the rates.

A neural ODE of a batch of states as one system, by Tsit5 at tolerances of 1e-6; a step is the value
and the gradient of a mean square at the end, by checkpoints. Float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import sciml as sm
from sciml import D

from .adjoints import Batched
from .timing import Row, pairs, ratio

_BATCH, _SIZE, _WIDTH = 128, 64, 100
_ARMS = {
    "global error": (sm.solver_cost("error"), "<= 1.05"),
    "global stiffness": (sm.solver_cost("stiffness"), ""),
    "local error, uniform": (sm.solver_cost("error", where="local"), "<= 1 + one step"),
    "local error, steps": (
        sm.solver_cost("error", where="local", sampling="steps"), "<= 1 + one step"
    ),
    "TayNODE, K = 3": (sm.taylor_cost(3), ""),
}  # fmt: skip


def model() -> sm.Model:
    """The neural ODE, of a size at which its networks take most of the time."""
    network = eqx.nn.MLP(_SIZE, _SIZE, _WIDTH, 1, activation=jnp.tanh, key=jax.random.key(0))
    u, f = sm.unknown("u", shape=(_BATCH, _SIZE)), sm.neural("f", Batched(network))
    start = np.asarray(jax.random.normal(jax.random.key(1), (_BATCH, _SIZE)))
    return sm.compile(sm.System(sm.Eq(D(u), 3 * f(u)), initial={u: start}))


def step(cost: Any) -> tuple[Callable, int, int]:
    """A call of the training step; the steps that its solve takes, and its evaluations."""
    start = model()
    arrays, static = eqx.partition(start.networks, eqx.is_array)

    @jax.jit
    def value_and_slope(arrays: Any, key: Any) -> Any:
        def loss(arrays: Any) -> Any:
            trained = eqx.tree_at(lambda m: m.networks, start, eqx.combine(arrays, static))
            sol = sm.solve(
                trained, t=(0, 1), saveat=[1.0], rtol=1e-6, atol=1e-6, max_steps=64,
                regularise=cost, key=key,
            )  # fmt: skip
            added = 0.0 if cost is None else 0.1 * sol.stats["cost"]
            counts = sol.stats["num_steps"], sol.stats["num_evaluations"]
            return jnp.mean(sol.ys**2) + added, counts

        return jax.value_and_grad(loss, has_aux=True)(arrays)

    key = jax.random.key(2)
    (_, (steps, evaluations)), _ = value_and_slope(arrays, key)
    return lambda: value_and_slope(arrays, key), int(steps), int(evaluations)


def run() -> list[Row]:
    """Pairs of a step with and without each cost."""
    plain, steps, evaluations = step(None)
    rows = []
    for arm, (cost, asked) in _ARMS.items():
        costly, _, more = step(cost)
        measured = f"{ratio(pairs(costly, plain))}; {more} against {evaluations} evaluations"
        if "local" in arm:
            measured += f"; one of {steps} steps more: {1 + 1 / steps:.3f}"
        rows.append(Row(f"training step with {arm} over that without", asked, measured))
    return rows
