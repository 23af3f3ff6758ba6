"""The verb `compile`: check, put on a grid, simplify, generate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._complex import Complex, split_complex
from ._errors import DeclarationError
from ._system import System
from .check import check
from .codegen import Model, lower
from .lower import Chebyshev, Fields, Scheme, discretise
from .simplify import simplify


def compile(
    system: System,
    *,
    grid: Mapping[Any, Any] | None = None,
    order: int = 4,
    scheme: Scheme = None,
    dtype: Any = None,
) -> Model:
    """Compiles a system to an Equinox module with a pure JAX vector field.

    Arguments: `system`; `dtype` of its leaves (jax's default floating type if not given). For
    fields also `grid`, for each coordinate the number of nodes, the nodes themselves, or
    `Chebyshev`; the `order` of finite differences, 2, 4, 6 or 8; and the `scheme`, "central",
    "upwind", "weno", "fourier" or `Volumes`, also for each derivative by itself,
    ``{D(u, s): "weno"}``, or `Staggered` for all; if not given, "weno" or finite volumes where
    nothing is damped along the coordinate, and "central" elsewhere.
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
    compiled: dict[Any, Model] = system.__dict__.setdefault("_compiled", {})  # lives as long as it
    key = dtype.name, repr(_spelled(grid)), order, repr(scheme)
    if key not in compiled:
        check(system)
        with jax.ensure_compile_time_eval():  # what is kept must not belong to a trace around us
            real, parts = split_complex(system)
            arrays, fields = _arrays(real, grid, order, _real_scheme(scheme, parts))
            compiled[key] = lower(arrays, simplify(arrays), dtype, fields, parts)
    return compiled[key]


def _spelled(grid: Mapping[Any, Any] | None) -> Any:
    """A grid in full, so that two of them are compared by all their nodes."""
    return {str(s): v if isinstance(v, int | Chebyshev) else np.asarray(v).tolist()
            for s, v in (grid or {}).items()}  # fmt: skip


def _real_scheme(scheme: Any, parts: Complex | None) -> Any:
    """The schemes of derivatives by themselves, those of complex fields by part."""
    if parts is None or not isinstance(scheme, Mapping):
        return scheme
    return {part: kind for e, kind in scheme.items() for part in parts.split(e)}


def _arrays(
    system: System, grid: Mapping[Any, Any] | None, order: int, scheme: Any
) -> tuple[System, Fields | None]:
    """The system of arrays that is solved for, and how fields lie in it, if there are any."""
    if not system.coordinates:
        if grid:
            raise DeclarationError("grid: this system has no coordinates, and needs no grid")
        return check(system), None
    if grid is None:
        names = ", ".join(f"{s}: 100" for s in system.coordinates)
        raise DeclarationError(
            f"this system has fields: give the number of nodes of each coordinate, grid={{{names}}}"
        )
    arrays, fields = discretise(system, grid, order=order, scheme=scheme)
    return check(arrays), fields
