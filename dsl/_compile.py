"""The verb `compile`: check, simplify, generate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._system import System
from .check import check
from .codegen import Model, lower
from .simplify import simplify


def compile(system: System, *, dtype: Any = None) -> Model:
    """Compiles a system to an Equinox module with a pure JAX vector field.

    Arguments: `system`; `dtype` of its leaves (jax's default floating type if not given).
    Returns a `Model`: ``vector_field(t, y, args)``, ``parameters``, ``initial``, ``networks``,
    ``observed``, ``source``. A system is compiled once; systems are immutable.
    Raises `ModelError` with every fault that was found.

    >>> import sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    >>> model = sm.compile(sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 2}))
    >>> float(model.vector_field(0.0, model.state())[0])
    -1.0
    """
    dtype = jnp.zeros(()).dtype if dtype is None else jnp.dtype(dtype)
    compiled: dict[str, Model] = system.__dict__.setdefault("_compiled", {})  # lives as long as it
    if dtype.name not in compiled:
        check(system)
        with jax.ensure_compile_time_eval():  # what is kept must not belong to a trace around us
            compiled[dtype.name] = lower(system, simplify(system), dtype)
    return compiled[dtype.name]
