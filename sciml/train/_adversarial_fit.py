"""The course of an adversarial fit to a batch of series."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tqdm import tqdm

from sciml.dsl import DeclarationError, FitError

from ._adversarial import (
    Adversarial,
    adversarial_optimisers,
    adversarial_step,
    averaged,
    init_adversarial,
)
from ._batches import Batch, as_series, make_reader
from ._series_fit import SeriesFit
from ._series_train import shuffled, sync_due
from ._weights import size_of


def fit_adversarial(
    module: Any, data: Any, mode: Adversarial, *, key: Array, steps: int, progress: bool
) -> SeriesFit:
    """The fit of a generator and a discriminator to a batch of series.

    Its losses are estimates of the distance that the discriminator sees. Raises `FitError` where no
    step had a finite loss.
    """
    if not isinstance(module, eqx.Module) or not callable(getattr(module, "clipped", None)):
        raise DeclarationError(
            "an adversarial fit trains a generator and a discriminator, such as sm.nn.SDEGAN(...), "
            f"not {type(module).__name__}"
        )
    series = as_series(data, mode)
    reader = make_reader(mode, series)
    batch = reader.batch(series)
    order, inside = jax.random.split(key)
    optimisers = adversarial_optimisers(mode, steps)
    begin = steps - round(mode.average * steps)
    module, state = init_adversarial(module, optimisers=optimisers, begin=begin)
    rows = shuffled(len(batch), min(mode.batch, len(batch)), steps, order)
    losses = []
    bar = tqdm(total=steps, desc="fit", disable=not progress, unit="step")
    for step in range(steps):
        part = batch.rows(rows[step])
        module, state, loss = _step(module, state, part, mode, optimisers, inside, step)
        losses.append(loss)
        if sync_due(step, steps):
            bar.update(step + 1 - bar.n)
            bar.set_postfix_str(f"distance {-float(loss):.4g}", refresh=False)
    bar.close()
    found = np.array([float(loss) for loss in losses])
    if steps and not np.any(np.isfinite(found)):
        raise FitError("no step had a finite loss: try smaller rates, or a smaller dt0")
    failures = int(np.sum(~np.isfinite(found)))
    note = f"diverged: {failures} steps had no finite loss and were not taken"
    trained = averaged(module, state) if mode.average and steps else module
    return SeriesFit(
        module=trained,
        mode=mode,
        reader=reader,
        loss=float(np.nanmean(found[-max(1, steps // 10) :])) if steps else np.nan,
        validation_loss=np.nan,
        losses=found,
        watched=np.zeros(0, int),
        validation_losses=np.zeros(0),
        size=size_of(eqx.filter(trained, eqx.is_inexact_array)),
        notes=(note,) if failures else (),
    )


def _step(
    module: Any,
    state: Any,
    part: Batch,
    mode: Adversarial,
    optimisers: Any,
    key: Array,
    step: int,
) -> tuple[Any, Any, Array]:
    mask = jnp.isfinite(part.values)
    return adversarial_step(
        module,
        state,
        part.times,
        jnp.where(mask, part.values, 0.0),
        mask,
        optimisers=optimisers,
        dt0=jnp.asarray(mode.dt0, part.times.dtype),
        key=jax.random.fold_in(key, step),
        ratio=mode.ratio,
    )
