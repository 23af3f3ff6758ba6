"""What is saved of a solve for its costs, and taken out again of what the user asked for."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._count import AbstractCounted, Counts, counted, num_evaluations
from ._watch import Watched, unwatched


def with_states(saveat: dfx.SaveAt) -> dfx.SaveAt:
    """The same, with the states of solver and controller at the end."""
    return dfx.SaveAt(
        subs=saveat.subs,
        dense=saveat.dense,
        solver_state=True,
        controller_state=True,
        made_jump=saveat.made_jump,
    )


class Ends(NamedTuple):
    """States at the end of a solve, without what is kept in them beside."""

    solver: Any
    controller: Any
    seen: dict[str, Any]  # by the probes
    counts: Counts


def ends_of(at: Any, solver: Any, controller: Any) -> Ends:
    """States of a solver and a controller apart; `at` is what Diffrax has of them."""
    state, seen = at.solver_state if type(solver) is Watched else (at.solver_state, {})
    control, counts = at.controller_state, Counts()
    if isinstance(controller, AbstractCounted):
        control, counts = at.controller_state
    return Ends(state, control, seen, counts)


def without_states(raw: dfx.Solution, saveat: dfx.SaveAt, ends: Ends) -> dfx.Solution:
    """The solution with those states that were asked for."""
    return dataclasses.replace(
        raw,
        solver_state=ends.solver if saveat.solver_state else None,
        controller_state=ends.controller if saveat.controller_state else None,
    )


def count_of(at: Any, solver: Any, controller: Any) -> dict[str, Any]:
    """The number of evaluations, for ``stats``, if the solver and the controller tell it."""
    if counted(controller) is not controller:
        return {}
    ends = ends_of(at, solver, controller)
    taken = num_evaluations(unwatched(solver), at.num_steps, ends.solver, ends.counts)
    return {} if taken is None else {"num_evaluations": taken}


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
