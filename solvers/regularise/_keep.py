"""What is saved of a solve for its costs, and taken out again of what the user asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._count import counted


def with_states(saveat: dfx.SaveAt) -> dfx.SaveAt:
    """The same, with the states of solver and controller at the end."""
    return dfx.SaveAt(
        subs=saveat.subs,
        dense=saveat.dense,
        solver_state=True,
        controller_state=True,
        made_jump=saveat.made_jump,
    )


def without_states(
    raw: dfx.Solution, saveat: dfx.SaveAt, controller: Any, *, watched: bool
) -> tuple[dfx.Solution, dict[str, Any], Any]:
    """The solution as it was asked for; what the probes have seen; and the state of counts."""
    state: Any = raw.solver_state
    control: Any = raw.controller_state
    state, seen = state if watched else (state, {})
    control, counts = (
        (control[0], control) if counted(controller) is not controller else (control, None)
    )
    raw = dataclasses.replace(
        raw,
        solver_state=state if saveat.solver_state else None,
        controller_state=control if saveat.controller_state else None,
    )
    return raw, seen, counts


def with_time(saveat: dfx.SaveAt, probes: dict[str, Any], direction: Array) -> dfx.SaveAt:
    """The same, with the time of a sample among those that are saved.

    For adjoints that return nothing but saved states.
    """
    if "uniform" not in probes:
        return saveat
    what: Any = saveat.subs
    ts = probes["uniform"].time[None]
    if what.ts is not None:
        known = jnp.asarray(what.ts, ts.dtype) * direction
        ts = jnp.sort(jnp.concatenate([known, ts]))
    none = lambda leaf: leaf is None  # noqa: E731
    return eqx.tree_at(lambda s: s.subs.ts, saveat, ts * direction, is_leaf=none)


def without_time(
    raw: dfx.Solution, saveat: dfx.SaveAt, probes: dict[str, Any], direction: Array
) -> tuple[dfx.Solution, dict[str, Any]]:
    """The solution without that time, and the sample."""
    if "uniform" not in probes:
        return raw, {}
    what: Any = saveat.subs
    time, row = probes["uniform"].time, jnp.asarray(int(what.t0))
    if what.ts is not None:
        row = row + jnp.sum(jnp.asarray(what.ts, time.dtype) * direction <= time)
    ts: Any = raw.ts
    rows = jnp.arange(ts.size - 1)
    rows = jnp.where(rows < row, rows, rows + 1)
    there = jax.tree.map(lambda leaf: leaf[row], raw.ys)
    raw = dataclasses.replace(raw, ts=ts[rows], ys=jax.tree.map(lambda leaf: leaf[rows], raw.ys))
    return raw, {"uniform": (None, time, there, None)}
