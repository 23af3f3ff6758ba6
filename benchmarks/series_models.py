"""Contestants of the benchmarks on series: declared systems, and a GRU of equal size."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import sciml as sm
from sciml import D, t

SDES = ("langevin", "linear noise", "geometric", "naive")


class Recurrent(eqx.Module):
    """A GRU that is told what is missing, and how long ago the last row was."""

    cell: eqx.nn.GRUCell
    readout: eqx.nn.Linear

    def __init__(self, channels: int, outputs: int, hidden: int, *, key: Array) -> None:
        first, second = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(2 * channels + 1, hidden, key=first)
        self.readout = eqx.nn.Linear(hidden, outputs, key=second)

    def __call__(self, times: Array, values: Array, *, key: Any = None) -> Array:
        known = jnp.isfinite(values)
        gaps = jnp.diff(times, prepend=times[:1])
        rows = [jnp.where(known, values, 0.0), known.astype(values.dtype), gaps[:, None]]

        def read(hidden: Array, row: tuple) -> tuple[Array, None]:
            given, seen = row
            return jnp.where(seen, self.cell(given, hidden), hidden), None

        start = jnp.zeros((self.cell.hidden_size,), values.dtype)
        last, _ = jax.lax.scan(read, start, (jnp.concatenate(rows, axis=1), known.any(axis=1)))
        return self.readout(last)


def size_of(module: Any) -> int:
    """How many weights a module has."""
    leaves = jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))
    return sum(leaf.size for leaf in leaves if bool(jnp.all(jnp.isfinite(leaf))))


def recurrent_of_size(weights: int, channels: int, outputs: int, *, key: Array) -> Recurrent:
    """The smallest GRU with at least so many weights."""
    hidden = 1
    while True:
        wide = 2 * channels + 1
        count = 3 * hidden * (hidden + wide) + 4 * hidden + outputs * (hidden + 1)
        if count >= weights:
            return Recurrent(channels, outputs, hidden, key=key)
        hidden += 1


def controlled(channels: int, *, hidden: int, width: int, key: Array) -> sm.System:
    """A neural CDE along time and values."""
    z, control = sm.unknown("z", shape=hidden), sm.control("X", channels=channels + 1)
    return sm.nn.neural_cde(z, control, width=width, key=key)


def stochastic(kind: str, channels: int, *, hidden: int, width: int, key: Array) -> sm.System:
    """A stable neural SDE of a kind, or the naive one, which both see time and values."""
    z, control = sm.unknown("z", shape=hidden), sm.control("X", channels=channels + 1)
    if kind != "naive":
        return sm.nn.stable_sde(z, kind, control=control, width=width, depth=1, key=key)
    first, second = jax.random.split(key)
    size = hidden + 1 + channels + 1
    drift = eqx.nn.MLP(size, hidden, width, 1, jax.nn.silu, jnp.tanh, key=first)
    spread = eqx.nn.MLP(hidden + 1, hidden, width, 1, jax.nn.silu, jax.nn.sigmoid, key=second)
    f, g = sm.neural("drift", drift), sm.neural("spread", spread)
    noise = sm.brownian("W", shape=hidden)
    return sm.System(sm.Eq(D(z), f(t, z, control) + g(t, z) * D(noise)), name="naive SDE")


def sines(key: Array, count: int = 200, length: int = 50) -> sm.data.Series:
    """Two classes: Ornstein-Uhlenbeck processes, half of them around a slow sine; one channel."""
    random = sm.data._sampling.generator(key)
    times = [i / length for i in range(length)]
    values, labels = [], []
    for number in range(count):
        kind, level = number % 2, random.normal(0, 0.25)
        phase, path = random.uniform(0, 2 * math.pi), []
        for moment in times:
            level += -2.0 * level / length + random.normal(0, 0.5 * math.sqrt(1 / length))
            sine = math.sin(2 * math.pi * 2 * moment + phase)
            path.append(level + kind * 0.5 * sine)
        values.append(path)
        labels.append(kind)
    return sm.data.Series(times, values, "x", labels=labels)
