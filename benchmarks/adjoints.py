"""Adjoints by name: time, memory and exactness of the gradient of a neural ODE.

The memory of a gradient is what XLA sets aside for temporary values of the compiled program.
Resident memory is the most that a process of its own held in which nothing else was done.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import sciml as sm
from sciml import D

from .timing import Row, pairs, ratio, seconds

_NAMES = ("checkpointed", "direct", "backsolve", "reversible")
_COUNTS = (100, 1000, 10_000)
_BATCH, _SIZE, _WIDTH = 64, 4, 32
_PLAIN = dfx.Tsit5()
_WRAPPED = sm.Reversible(_PLAIN)  # as the reversible adjoint does


class Batched(eqx.Module):
    """A network of each row."""

    network: eqx.nn.MLP

    def __call__(self, rows: jax.Array) -> jax.Array:
        return jax.vmap(self.network)(rows)


def model() -> sm.Model:
    """A neural ODE of a batch of states."""
    network = eqx.nn.MLP(_SIZE, _SIZE, _WIDTH, 1, activation=jnp.tanh, key=jax.random.key(0))
    u, f = sm.unknown("u", shape=(_BATCH, _SIZE)), sm.neural("f", Batched(network))
    start = np.asarray(jax.random.normal(jax.random.key(1), (_BATCH, _SIZE)))
    return sm.compile(sm.System(sm.Eq(D(u), f(u)), initial={u: start}))


def gradient(adjoint: str, **options: Any) -> tuple[Callable, jax.Array]:
    """The value and gradient by all weights of the mean square at the end, and the weights."""
    start = model()
    arrays, static = eqx.partition(start.networks, eqx.is_array)
    flat, unravel = ravel_pytree(arrays)
    options = {"saveat": [1.0], "adjoint": adjoint, **options}

    def loss(weights: jax.Array) -> jax.Array:
        networks = eqx.combine(unravel(weights), static)
        trained = eqx.tree_at(lambda m: m.networks, start, networks)
        return jnp.mean(sm.solve(trained, t=(0, 1), **options).ys ** 2)

    def forwards(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        push = lambda direction: jax.jvp(loss, (weights,), (direction,))
        values, slopes = jax.vmap(push)(jnp.eye(weights.size))
        return values[0], slopes

    return jax.jit(forwards if adjoint == "forward" else jax.value_and_grad(loss)), flat


@functools.cache
def compiled(adjoint: str, steps: int, solver: Any = _PLAIN) -> tuple[Any, Callable]:
    """The compiled program for a number of constant steps, and a call of it."""
    function, weights = gradient(
        adjoint,
        solver=solver,
        stepsize_controller=dfx.ConstantStepSize(),
        dt0=1 / steps,
        max_steps=steps,
    )
    program = function.lower(weights).compile()
    return program, lambda: program(weights)


def memory(adjoint: str) -> list[int]:
    """Bytes of temporary values, by the number of steps."""
    analyses = [compiled(adjoint, n)[0].memory_analysis() for n in _COUNTS]
    return [analysis.temp_size_in_bytes for analysis in analyses]


def difference(one: jax.Array, other: jax.Array) -> float:
    """The largest difference of two gradients, in parts of the largest element."""
    return float(jnp.max(jnp.abs(one - other)) / jnp.max(jnp.abs(other)))


def resident(adjoint: str, steps: int) -> float:
    """Megabytes that a process held at most, for a gradient with 100 000 states."""
    environment = {**os.environ, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    code = [sys.executable, "-c", _ALONE, adjoint, str(steps)]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout) / 1024


_ALONE = """
import sys
import diffrax as dfx, jax, jax.numpy as jnp, sciml as sm
from sciml.solvers import choose_adjoint
adjoint, steps = choose_adjoint(sys.argv[1]), int(sys.argv[2])
term = dfx.ODETerm(lambda t, y, k: -k * y)
solver = sm.Reversible(dfx.Euler())
options = {"adjoint": adjoint, "max_steps": steps}

def loss(k, y0):
    return jnp.sum(dfx.diffeqsolve(term, solver, 0.0, 1.0, 1 / steps, y0, k, **options).ys)

jax.jit(jax.grad(loss))(0.5, jnp.linspace(0.0, 1.0, 100_000)).block_until_ready()
status = open("/proc/self/status").read()  # getrusage would count the parent's memory too
print(status.split("VmHWM:")[1].split()[0])
"""


def run() -> list[Row]:
    """The rows of this figure."""
    return [*memories(), *times(), *errors()]


def memories() -> list[Row]:
    """Memory by the number of steps."""
    rows = []
    for name in _NAMES:
        found = memory(name)
        kilobytes = ", ".join(f"{size / 1e3:.0f}" for size in found)
        what = f"neural ODE, gradient by adjoint {name}, memory at 100, 1000, 10 000 steps"
        rows.append(Row(what, "", f"{kilobytes} kB"))
        if name == "reversible":
            figure = f"{found[-1] / found[0]:.3f}"
            rows.append(
                Row("reversible adjoint, memory at 10 000 over 100 steps", "<= 1.2", figure)
            )
    forward = compiled("forward", 100)[0].memory_analysis().temp_size_in_bytes
    what = "neural ODE, gradient by adjoint forward, memory at any number of steps"
    rows.append(Row(what, "", f"{forward / 1e3:.0f} kB"))
    for name in ("checkpointed", "reversible"):
        few, many = (resident(name, steps) for steps in (100, 1000))
        what = f"resident memory, 100 000 states, adjoint {name}, 100 and 1000 steps"
        rows.append(Row(what, "", f"{few:.0f} and {many:.0f} MB"))
    return rows


def times() -> list[Row]:
    """Time of value and gradient over that by checkpoints, at the same steps."""
    rows, other = [], compiled("checkpointed", 100)[1]
    for name in ("direct", "backsolve", "reversible"):
        one = compiled(name, 100)[1]
        what = f"neural ODE, gradient by adjoint {name} over checkpointed, 100 steps, time"
        rows.append(Row(what, "", ratio(pairs(one, other, count=21, span=0.1))))
    one, count = compiled("forward", 100)[1], gradient("forward")[1].size
    long, short = (seconds(run) for run in (one, other))
    what = f"neural ODE, gradient by adjoint forward over checkpointed, {count} weights, time"
    return [*rows, Row(what, "", f"{long / short:.0f}")]


def errors() -> list[Row]:
    """Errors of the gradient at the default tolerances, and of the way back."""
    tight = {"rtol": 1e-12, "atol": 1e-12, "solver": dfx.Dopri8()}
    function, weights = gradient("checkpointed", **tight)
    exact, rows = function(weights)[1], []
    for name in ("checkpointed", "backsolve", "reversible"):
        found = gradient(name)[0](weights)[1]
        what = f"neural ODE, gradient by adjoint {name}, error at the default tolerances"
        rows.append(Row(what, "", f"{difference(found, exact):.1e}"))
    steps = _COUNTS[-1]
    found, expected = (compiled(*of)[1]()[1] for of in _SAME_STEPS)
    what = f"reversible adjoint, gradient against checkpointed through the same {steps} steps"
    return [*rows, Row(what, "<= 1e-8", f"{difference(found, expected):.1e}")]


_SAME_STEPS = (("reversible", _COUNTS[-1]), ("checkpointed", _COUNTS[-1], _WRAPPED))
