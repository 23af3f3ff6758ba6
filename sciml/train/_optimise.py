"""Minimisation by optax, from several starts at once, with a way back from steps that fail."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree
from tqdm import tqdm

from ._objective import Look, look_at_all

_SYNC = 10  # steps between two looks at the numbers: waiting for each step would be slower


@dataclasses.dataclass
class Trace:
    """How a minimisation went: losses of each start, shape (step, start), and what was noted.

    `evaluations` of the rates that the solves of each step and start took, of the same shape.
    """

    losses: np.ndarray
    validation: np.ndarray
    evaluations: np.ndarray
    notes: list[str]

    @property
    def failures(self) -> int:
        """How many steps had no finite loss."""
        return int(np.sum(~np.isfinite(self.losses)))


class Best(eqx.Module):
    """The best point of each start (leading axis) and its losses; `score` is what was compared."""

    point: PyTree
    score: Float[Array, "*start"]
    loss: Float[Array, "*start"]
    validation: Float[Array, "*start"]


class _Carry(eqx.Module):
    point: PyTree
    state: PyTree  # of the optimiser
    best: Best
    since: Int[Array, "*start"]  # steps since the best point
    shrink: Float[Array, "*start"]  # of the updates: halved when a step fails


@functools.lru_cache(maxsize=64)
def default_optimiser(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with clipped gradients and a cosine schedule; one object for equal settings."""
    schedule = optax.cosine_decay_schedule(learning_rate, max(steps, 1), alpha=0.01)
    return optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))


def descend(
    objective: Any,
    points: PyTree,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    horizons: tuple[float, ...] = (1.0,),
    patience: int | None = None,
    progress: bool = True,
    label: str = "fit",
) -> tuple[Best, Trace]:
    """Minimises from several starts (leading axis of `points`) by an optax optimiser.

    The objective has `losses(point, horizon)`, `forward` and `held_out`. Each start is on its own:
    it goes back to its best point, with half the step size, after a step without a finite loss, and
    stops `patience` steps after its best one. Over the whole horizon, the best is that of the
    validation loss, if anything is held out.
    """
    carry = _begin(optimiser, points)
    seen: list[Look] = []
    notes: list[str] = []
    bar = tqdm(total=steps, desc=label, disable=not progress, unit="step")
    for number, horizon in enumerate(horizons):
        if number:  # losses over different horizons cannot be compared
            carry = _forget(carry)
        whole = number + 1 == len(horizons)
        part = jnp.asarray(horizon, carry.best.loss.dtype)
        limit = jnp.asarray(patience if whole and patience is not None else steps + 1)
        by_validation = jnp.asarray(whole and objective.held_out)
        for step in range(len(seen), round(steps * (number + 1) / len(horizons))):
            one = look_at_all(objective, carry.point, part, jnp.asarray(step))
            one = Look(one.loss, one.validation, one.slope, one.evaluations)
            carry = _advance(optimiser, carry, one, by_validation, limit)
            seen.append(Look(one.loss, one.validation, None, one.evaluations))
            if step and (step + 1) % _SYNC and step + 1 < steps:
                continue
            bar.update(step + 1 - bar.n)
            bar.set_postfix_str(f"loss {float(jnp.min(carry.best.loss)):.4g}", refresh=False)
            if step == 0 and not np.any(np.isfinite(one.loss)):
                break  # nowhere to start from
            if patience is not None and whole and np.all(carry.since >= patience):
                notes.append(f"stopped early at step {step + 1}: no better for {patience} steps")
                break
    bar.close()
    count = carry.since.shape[0]
    losses = np.array([one.loss for one in seen]).reshape(-1, count)
    validation = np.array([one.validation for one in seen]).reshape(-1, count)
    evaluations = np.array([one.evaluations for one in seen]).reshape(-1, count)
    trace = Trace(losses, validation, evaluations, notes)
    notes.extend(_diverged(trace, horizons))
    return carry.best, trace


def _begin(optimiser: optax.GradientTransformation, points: PyTree) -> _Carry:
    leaf = jax.tree.leaves(points)[0]
    infinite = jnp.full(leaf.shape[:1], jnp.inf, leaf.dtype)
    with jax.numpy_dtype_promotion("standard"):
        state = jax.vmap(optimiser.init)(points)
    since = jnp.zeros(leaf.shape[:1], int)
    best = Best(points, infinite, infinite, jnp.full_like(infinite, jnp.nan))
    return _Carry(points, state, best, since, jnp.ones_like(infinite))


def _forget(carry: _Carry) -> _Carry:
    infinite = jnp.full_like(carry.best.score, jnp.inf)
    best = Best(carry.point, infinite, infinite, jnp.full_like(infinite, jnp.nan))
    return _Carry(carry.point, carry.state, best, jnp.zeros_like(carry.since), carry.shrink)


@eqx.filter_jit
def _advance(
    optimiser: optax.GradientTransformation,
    carry: _Carry,
    seen: Look,
    by_validation: Bool[Array, ""],
    patience: Int[Array, ""],
) -> _Carry:
    """One step of every start."""
    update = optax.with_extra_args_support(optimiser).update

    def one(carry: _Carry, seen: Look) -> _Carry:
        good = jnp.isfinite(seen.loss) & all_finite(seen.slope)
        score = jnp.where(by_validation, seen.validation, seen.loss)
        better = good & (score < carry.best.score)
        now = Best(carry.point, score, seen.loss, seen.validation)
        best = where_tree(better, now, carry.best)
        since = jnp.where(better, 0, carry.since + 1)
        slope = where_tree(good, seen.slope, jax.tree.map(jnp.zeros_like, seen.slope))
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
            change, state = update(slope, carry.state, carry.point, value=seen.loss)  # type: ignore[arg-type]
            change = jax.tree.map(lambda leaf: leaf * carry.shrink, change)
            moved = eqx.apply_updates(carry.point, change)
        moved, state = in_types_of((carry.point, carry.state), (moved, state))
        shrink = jnp.where(good, carry.shrink, 0.5 * carry.shrink)
        next_ = _Carry(
            where_tree(good, moved, best.point),
            where_tree(good, state, carry.state),
            best,
            since,
            shrink,
        )
        return where_tree(carry.since < patience, next_, carry)

    return jax.vmap(one)(carry, seen)


def all_finite(tree: PyTree) -> Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return functools.reduce(jnp.logical_and, leaves, jnp.asarray(True))


def where_tree(condition: Array, one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def in_types_of(old: PyTree, new: PyTree) -> PyTree:
    """A tree in the floating types of another."""

    def convert(a: Array, b: Array) -> Array:
        return b if a.dtype == b.dtype else b.astype(a.dtype)

    return jax.tree.map(convert, old, new)


def _diverged(trace: Trace, horizons: tuple[float, ...]) -> list[str]:
    """What the user should know about steps that went wrong."""
    notes = []
    if trace.failures:
        notes.append(
            f"diverged: {trace.failures} steps had no finite loss, and were taken back to the best "
            "point until then, with half the step size; a smaller learning_rate may do better"
        )
    if len(horizons) == 1 and len(trace.losses) > 1:
        worse = np.sum(trace.losses[-1] > trace.losses[0])
        if worse:
            notes.append(
                f"diverged: {worse} of {trace.losses.shape[1]} starts ended worse than they began "
                "(the best state is kept); a smaller learning_rate may do better"
            )
    return notes
