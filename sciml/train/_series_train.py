"""Training of modules that read series: steps over batches of them, watched on held-out ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree
from tqdm import tqdm

from sciml.dsl import FitError
from sciml.nn import Stepping
from sciml.solvers import SolverCost

from ._batches import Batch, Mode
from ._loss import as_number
from ._modes import Classification, Variational
from ._optimise import all_finite, in_types_of, where_tree
from ._weights import Weights

_LOOKS = 50  # at the held-out series, in the course of a training
_SYNC = 10  # steps between two looks at the numbers: waiting for each step would be slower
_CHUNK = 128  # series that are read at once where nothing is trained


class Learning(eqx.Module):
    """The loss of a point for series of a batch.

    Fields: `weights`, which make modules of points; `mode`; `penalty`, a function of the module, or
    None; of a variational fit, `stepping`, how the module is solved, None for as it says itself,
    and `costs` of the solve.
    """

    weights: Weights
    mode: Mode = eqx.field(static=True)
    penalty: Any = eqx.field(static=True, default=None)
    stepping: Stepping | None = eqx.field(static=True, default=None)
    costs: tuple[SolverCost, ...] = eqx.field(static=True, default=())

    def mean(
        self, point: PyTree, batch: Batch, key: Array, weight: Array, step: Array
    ) -> Float[Array, ""]:
        """The mean loss over the series, and the penalty."""
        module = self.weights.assemble(point)
        costs = {"regularise": self.costs, "step": step} if self.costs else {}
        loss = jnp.mean(self.each(module, batch, key, weight, **costs))
        if self.penalty is not None:
            loss = loss + as_number(self.penalty(module), "penalty").astype(loss.dtype)
        return loss

    def each(
        self, module: Any, batch: Batch, key: Array, weight: Array, **costs: Any
    ) -> Float[Array, " series"]:
        """The loss of each series."""
        keys, mode = jax.random.split(key, len(batch)), self.mode
        if isinstance(mode, Variational):
            solving = {} if self.stepping is None else {"stepping": self.stepping}

            def bound(times: Array, values: Array, key: Array) -> Array:
                return module.loss(times, values, key=key, weight=weight, **solving, **costs)

            return jax.vmap(bound)(batch.times, batch.values, keys)

        def one(times: Array, values: Array, target: Array, key: Array) -> Array:
            return series_loss(mode, module, times, values, target, key)

        return jax.vmap(one)(batch.times, batch.values, batch.targets, keys)


def series_loss(
    mode: Mode, module: Any, times: Array, values: Array, target: Array, key: Array
) -> Float[Array, ""]:
    """What a mode minimises, for one series whose target is known."""
    outputs = module(times, values, key=key)
    if isinstance(mode, Classification):
        return jax.nn.logsumexp(outputs) - outputs[target]
    known = jnp.isfinite(target)
    gaps = jnp.where(known, outputs - jnp.where(known, target, 0.0), 0.0)
    return 0.5 * jnp.sum(gaps**2) / jnp.maximum(jnp.sum(known), 1).astype(gaps.dtype)


class Carry(eqx.Module):
    """Where a training over batches stands."""

    point: PyTree
    state: PyTree  # of the optimiser
    shrink: Float[Array, ""]  # of the updates: halved when a step fails


@dataclasses.dataclass(frozen=True)
class Course:
    """How a training went: the point to keep, losses of each step, and those that were watched.

    `watched` holds the steps, shape (look,), and `validation` the losses there.
    """

    point: PyTree
    losses: np.ndarray
    watched: np.ndarray
    validation: np.ndarray
    notes: tuple[str, ...]


def train_batches(
    learning: Learning,
    point: PyTree,
    batch: Batch,
    held_out: Batch | None,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    patience: int | None,
    progress: bool,
    key: Array,
) -> Course:
    """Trains on random batches; of the points that were watched, the best is kept.

    A step without a finite loss is not taken, and halves the size of those after it. Without
    held-out series the last point is kept. Raises `FitError` where no step had a finite loss.
    """
    order, *keys = jax.random.split(key, 3)
    size = min(learning.mode.batch, len(batch))
    rows = shuffled(len(batch), size, steps, order)
    carry = began(optimiser, point, batch.times.dtype)
    losses, watched, validation, notes = [], [], [], []
    best, every = (np.inf, 0, point), max(1, steps // _LOOKS)
    bar = tqdm(total=steps, desc="fit", disable=not progress, unit="step")
    for step in range(steps):
        weight = jnp.asarray(_annealed(learning.mode, step, steps), batch.times.dtype)
        drawn = jax.random.fold_in(keys[0], step)
        carry, loss = _advance(
            learning, optimiser, carry, batch, rows[step], drawn, weight, jnp.asarray(step)
        )
        losses.append(loss)
        last = step + 1 == steps
        if held_out is not None and ((step + 1) % every == 0 or last):
            seen = look(learning, carry.point, held_out, keys[1])
            watched.append(step + 1)
            validation.append(seen)
            if seen < best[0]:
                best = (seen, step + 1, carry.point)
            if patience is not None and step + 1 - best[1] >= patience:
                notes.append(f"stopped early at step {step + 1}: no better for {patience} steps")
                last = True
        if sync_due(step, steps) or last:
            bar.update(step + 1 - bar.n)
            shown = f"loss {float(loss):.4g}"
            if validation:
                shown += f", validation {validation[-1]:.4g}"
            bar.set_postfix_str(shown, refresh=False)
        if last:
            break
    bar.close()
    found, diverged = finite_losses(
        losses,
        "look at the outputs of the module for one series, and try a smaller learning_rate",
    )
    notes.extend(diverged)
    kept = best[2] if np.isfinite(best[0]) else carry.point
    return Course(kept, found, np.array(watched, int), np.array(validation), tuple(notes))


def look(learning: Learning, point: PyTree, batch: Batch, key: Array) -> float:
    """The mean loss over all series of a batch, with the whole weight, some of them at a time."""
    count, total = len(batch), 0.0
    for first, rows in chunks(count):
        each = _each_loss(learning, point, batch.rows(rows), jax.random.fold_in(key, first))
        total += float(jnp.sum(each[: count - first]))
    return total / count


def chunks(count: int) -> list[tuple[int, np.ndarray]]:
    """First row and rows of stretches of equal length; the last row is repeated as padding."""
    size = min(_CHUNK, count)
    starts = range(0, count, size)
    return [(first, np.minimum(np.arange(first, first + size), count - 1)) for first in starts]


@eqx.filter_jit
def _each_loss(learning: Learning, point: PyTree, batch: Batch, key: Array) -> Array:
    module = learning.weights.assemble(point)
    return learning.each(module, batch, key, jnp.ones((), batch.times.dtype))


@eqx.filter_jit
def _advance(
    learning: Learning,
    optimiser: optax.GradientTransformation,
    carry: Carry,
    batch: Batch,
    rows: Int[Array, " row"],
    key: Array,
    weight: Array,
    step: Array,
) -> tuple[Carry, Array]:
    """One step over some of the series."""
    loss, slope = jax.value_and_grad(learning.mean)(
        carry.point, batch.rows(rows), key, weight, step
    )
    return careful_step(optimiser, carry, loss, slope)


def careful_step(
    optimiser: optax.GradientTransformation, carry: Carry, loss: Array, slope: PyTree
) -> tuple[Carry, Array]:
    """A step along a slope, not taken where something is not finite, and the loss or NaN."""
    update = optax.with_extra_args_support(optimiser).update
    good = jnp.isfinite(loss) & all_finite(slope)
    slope = where_tree(good, slope, jax.tree.map(jnp.zeros_like, slope))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
        change, state = update(slope, carry.state, carry.point, value=loss)  # type: ignore[arg-type]
        change = jax.tree.map(lambda leaf: leaf * carry.shrink, change)
        moved = eqx.apply_updates(carry.point, change)
    moved, state = in_types_of((carry.point, carry.state), (moved, state))
    shrink = jnp.where(good, carry.shrink, 0.5 * carry.shrink)
    point, state = where_tree(good, (moved, state), (carry.point, carry.state))
    return Carry(point, state, shrink), jnp.where(good, loss, jnp.nan)


def began(optimiser: optax.GradientTransformation, point: PyTree, dtype: Any) -> Carry:
    """The start of a training."""
    with jax.numpy_dtype_promotion("standard"):
        state = optimiser.init(point)
    return Carry(point, state, jnp.ones((), dtype))


def finite_losses(losses: Sequence[Array], cure: str) -> tuple[np.ndarray, list[str]]:
    """The losses of all steps, and a note where some are not finite.

    Raises `FitError`, with the cure, where none is.
    """
    found = np.array([float(loss) for loss in losses])
    if found.size and not np.any(np.isfinite(found)):
        raise FitError(f"no step had a finite loss: {cure}")
    failures = int(np.sum(~np.isfinite(found)))
    if not failures:
        return found, []
    return found, [
        f"diverged: {failures} steps had no finite loss and were not taken; a smaller "
        "learning_rate may do better"
    ]


def sync_due(step: int, steps: int) -> bool:
    """Whether the numbers of a step are waited for."""
    return (step + 1) % _SYNC == 0 or step + 1 == steps


def shuffled(count: int, size: int, steps: int, key: Array) -> np.ndarray:
    """Rows of each step: every series once, in random order, before any comes again."""
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    rounds = -(-steps * size // count)
    order = [random.permutation(count) for _ in range(max(rounds, 1))]
    return np.concatenate(order)[: steps * size].reshape(steps, size)


def _annealed(mode: Mode, step: int, steps: int) -> float:
    """The weight of a divergence at a step."""
    if not isinstance(mode, Variational):
        return 1.0
    rise = mode.annealing * steps
    return 1.0 if step >= rise else step / rise
