"""Training by a stochastic loss: the loop that several benchmarks share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optax


def descend(
    loss: Callable[[Any, Any], tuple[Any, Any]],
    module: Any,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: Any,
) -> tuple[Any, list[Any], float]:
    """The module after `steps` of ``loss(module, key, step) -> (loss, further)``.

    Returns the further results of each step, too, and the seconds, compilation left out.
    """

    @eqx.filter_jit
    def advance(module: Any, state: Any, key: Any, step: Any) -> Any:
        (_, further), slopes = eqx.filter_value_and_grad(loss, has_aux=True)(module, key, step)
        updates, state = optimiser.update(slopes, state)
        return eqx.apply_updates(module, updates), state, further

    state = optimiser.init(eqx.filter(module, eqx.is_inexact_array))
    found, start = [], 0.0
    for number, drawn in enumerate(jax.random.split(key, steps)):
        module, state, further = advance(module, state, drawn, jax.numpy.asarray(number))
        found.append(jax.block_until_ready(further))
        if not number:
            start = time.time()
    return module, found, time.time() - start
