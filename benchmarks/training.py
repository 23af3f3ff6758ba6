"""Cost of training: one step of a neural ODE as a module, against the same by hand.

By hand: an Equinox MLP as the vector field of a Diffrax solve, with the same solver, tolerances and
optimiser; the loss is the mean square error of the cubic spiral at 30 times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import sciml as sm
from sciml import D

from .timing import Row, pairs, ratio

_TIMES = jnp.linspace(0.0, 1.5, 30)
_MATRIX = np.array([[-0.1, 2.0], [-2.0, -0.1]])
_BATCH = 32
_OPTIMISER = optax.adam(1e-3)
_TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}


class ByHand(eqx.Module):
    """A neural ODE as a good user of Diffrax and Equinox would write it."""

    net: eqx.nn.MLP

    def __call__(self, times: jax.Array, initial: jax.Array) -> jax.Array:
        solution = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, net: net(y)),
            dfx.Tsit5(),
            times[0],
            times[-1],
            None,
            initial,
            self.net,
            saveat=dfx.SaveAt(ts=times),
            stepsize_controller=dfx.PIDController(**_TOLERANCES),
        )
        return solution.ys  # type: ignore[return-value]


def data() -> tuple[jax.Array, jax.Array]:
    """Starts and series of ``u' = A u^3``: the first from (2, 0), the others around it."""
    u = sm.unknown("u", shape=2)
    spiral = sm.compile(sm.System(sm.Eq(D(u), sm.constant(_MATRIX) @ u**3), initial={u: [2, 0]}))
    noise = 0.1 * jax.random.normal(jax.random.key(1), (_BATCH, 2))
    starts = jnp.array([[2.0, 0.0]]) + noise.at[0].set(0.0)

    def series(start: jax.Array) -> jax.Array:
        return sm.solve(spiral, t=(0, 1.5), initial={u: start}, saveat=_TIMES).ys

    return starts, jax.vmap(series)(starts)


def steps(width: int, *, batch: bool, modules: bool = False) -> tuple[Callable, Callable]:
    """Both training steps, jitted, from the same weights: `sm.nn.NeuralODE`, and by hand.

    `jit` is given a list of arrays, or, with `modules`, the modules themselves,
    which Equinox takes apart in Python at every call.
    """
    starts, series = data()
    if not batch:
        starts, series = starts[0], series[0]
    u = sm.unknown("u", shape=2)
    module = sm.nn.NeuralODE(u, width=width, key=jax.random.key(0))
    by_hand = ByHand(module.model.networks["f"])

    def step_of(model: Any) -> Callable:
        def loss(model: Any) -> jax.Array:
            run = lambda start: model(_TIMES, start)
            return jnp.mean(((jax.vmap(run) if batch else run)(starts) - series) ** 2)

        def step(model: Any, state: Any) -> tuple:
            value, slopes = eqx.filter_value_and_grad(loss)(model)
            updates, state = _OPTIMISER.update(slopes, state)
            return value, eqx.apply_updates(model, updates), state

        given = model, _OPTIMISER.init(eqx.filter(model, eqx.is_inexact_array))
        if modules:
            whole = eqx.filter_jit(step)
            return lambda: whole(*given)
        arrays, static = eqx.partition(given, eqx.is_array)
        leaves, tree = jax.tree.flatten(arrays)

        @jax.jit
        def flat(leaves: list) -> list:
            result = step(*eqx.combine(jax.tree.unflatten(tree, leaves), static))
            return jax.tree.leaves(eqx.filter(result, eqx.is_array))

        return lambda: flat(leaves)

    return step_of(module), step_of(by_hand)


def run() -> list[Row]:
    """The rows of this figure."""
    rows = []
    for width, batch, modules in (
        (64, False, False),
        (64, True, False),
        (256, True, False),
        (64, False, True),
        (64, True, True),
    ):
        ours, theirs = steps(width, batch=batch, modules=modules)
        losses = [jax.tree.leaves(step())[0] for step in (ours, theirs)]
        np.testing.assert_allclose(*losses, rtol=1e-6)
        times = pairs(ours, theirs, count=41, span=0.1)
        milli = np.median(times, axis=0) * 1e3
        size = f"width {width}, {_BATCH if batch else 1} series"
        size += ", called by eqx.filter_jit" if modules else ""
        measured = f"{ratio(times)}; {milli[0]:.2f} against {milli[1]:.2f} ms"
        what = f"training step of a neural ODE over Diffrax by hand, {size}"
        rows.append(Row(what, "" if modules else "<= 1.05", measured))
    return rows
