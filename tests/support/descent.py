"""Plain training of a module, for tests of methods rather than of `sciml.fit`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optax


def descend(module: Any, loss: Callable, *, steps: int, rate: float = 1e-2, key: Any = None) -> Any:
    """The module after some steps of Adam with a cosine schedule, and its last loss.

    The loss takes the module, and a key of the step where `key` is given.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @eqx.filter_jit
    def step(module: Any, state: Any, given: tuple) -> tuple:
        value, slopes = eqx.filter_value_and_grad(loss)(module, *given)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes types
            updates, state = optimiser.update(slopes, state)
        return eqx.apply_updates(module, updates), state, value

    state = optimiser.init(eqx.filter(module, eqx.is_inexact_array))
    value = None
    for number in range(steps):
        given = () if key is None else (jax.random.fold_in(key, number),)
        module, state, value = step(module, state, given)
    return module, float(value)
