"""The verb `export`: a model as files that need neither sympy nor this package."""

from __future__ import annotations

import builtins
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import Model, System, compile, refuse_algebraic

from ._errors import ExportError
from ._observed import Quantity, quantities, values_of
from ._python import METHODS, python_source
from ._stablehlo import archive

_KINDS = ("both", "python", "stablehlo")
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
    model: System | Model,
    path: str | os.PathLike[str],
    *,
    kind: str = "both",
    method: str = "tsit5",
    max_steps: int = 4096,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    observed: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Writes a model as files that run with jax alone: ``path.py`` and ``path.sciml``.

    The Python file is readable, and imports nothing but jax. The archive holds the same functions
    as StableHLO with their derivatives, `metadata.json` (names, shapes, units, bounds, defaults)
    and `README.txt`, which says how to load it. Both offer

    - ``vector_field(t, y, parameters)``, the rates of the state vector y;
    - ``observed(t, y, parameters)`` and ``initial_state(parameters)``;
    - ``solve(t0, t1, y0, parameters, ts, rtol, atol)``, an adaptive solve: a dictionary of the
      states "ys" at the times `ts`, whether it was a "success", its "status" and "steps".

    Parameters are arguments, and their present values the defaults; networks are written with
    their present weights. The functions have derivatives in reverse mode (the Python file's in
    forward mode too); those of a solve are exact adjoints of its steps, and their memory is
    `max_steps` states.

    Arguments: `path` without a suffix; `kind` of files, "both", "python" or "stablehlo"; `method`
    of the solve, "tsit5" (explicit, order 5) or "rodas4" (for stiff models, with a dense
    Jacobian); `max_steps` that a solve may take; `platforms` that the archive can run on, some of
    "cpu", "cuda", "rocm" and "tpu". A model may lack values of parameters or of
    unknowns: they are then marked as required. `observed`, further quantities by their names, any
    expressions of the symbols.

    The state of a field lacks the nodes at which conditions give it. Among what is observed each
    field has its own name, and stands on all nodes, which are in ``GRID`` and in `metadata.json`:
    ``observed(t, y)["u"]``, and ``jax.vmap(observed)(ts, ys)["u"]`` of a solve; of the archive,
    ``jax.lax.map``.

    Returns the paths written. Nothing is written where something goes wrong.

    Raises `ExportError` for a path that cannot be written to, and for a neural term that cannot be
    written as Python (``kind="stablehlo"`` takes every one); `DeclarationError` for a system with
    algebraic equations.

    >>> import sciml as sm, tempfile
    >>> x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    >>> decay = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 2})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in sm.export(decay, folder + "/decay")]
    ['decay.py', 'decay.sciml']
    """
    _check_choices(kind, method, max_steps, platforms)
    base = _base(path)
    model = compile(model) if isinstance(model, System) else model
    found = quantities(model, observed)
    refuse_algebraic(model, "export", "write each as a definition, Eq(z, ...), if it can be solved")
    name = base.name
    contents: dict[Path, bytes] = {}
    with jax.enable_x64(np.dtype(model.dtype) == np.float64):
        if kind in ("both", "python"):
            source = python_source(model, name, method=method, max_steps=max_steps, observed=found)
            _verify(model, _executed(source, name), found)
            contents[base.with_name(f"{name}.py")] = source.encode()
        if kind in ("both", "stablehlo"):
            source = python_source(
                model, name, method=method, max_steps=max_steps, terms=False, observed=found
            )
            namespace = _executed(source, name)
            namespace["NETWORKS"] = {key: _apply(module) for key, module in model.networks.items()}
            namespace["WEIGHTS"] = {key: {} for key in model.networks}
            data = archive(
                model, namespace, name, method=method, platforms=platforms, observed=found
            )
            contents[base.with_name(f"{name}.sciml")] = data
    _write(contents)
    return tuple(contents)


def _check_choices(kind: str, method: str, max_steps: int, platforms: Sequence[str]) -> None:
    if kind not in _KINDS:
        raise ExportError(f"kind is one of {', '.join(map(repr, _KINDS))}, not {kind!r}")
    if method not in METHODS:
        raise ExportError(f"method is one of {', '.join(map(repr, METHODS))}, not {method!r}")
    if max_steps < 1:
        raise ExportError(f"max_steps is 1 or more, not {max_steps}")
    if isinstance(platforms, str) or not platforms or not set(platforms) <= set(_PLATFORMS):
        known = ", ".join(map(repr, _PLATFORMS))
        raise ExportError(f"platforms are some of {known}, in a list or tuple, not {platforms!r}")


def _base(path: str | os.PathLike[str]) -> Path:
    """The path without the suffix of one of the files."""
    base = Path(path)
    if base.suffix in (".py", ".sciml"):
        base = base.with_suffix("")
    if not base.name or base.is_dir() or str(path).endswith(("/", os.sep)):
        raise ExportError(f"{path} is a folder: give the name of the files in it, {base / 'model'}")
    if not base.parent.is_dir():
        raise ExportError(f"there is no folder {base.parent}: make it first, or choose another")
    for suffix in (".py", ".sciml"):
        if base.with_name(base.name + suffix).is_dir():
            raise ExportError(f"{base}{suffix} is a folder: choose another name")
    return base


def _executed(source: str, name: str) -> dict[str, Any]:
    """What the Python file defines."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(builtins.compile(source, f"{name}.py", "exec"), namespace)
    return namespace


def _apply(module: Any) -> Any:
    return lambda _, *inputs: module(*inputs)


def _verify(model: Model, namespace: Mapping[str, Any], found: Sequence[Quantity]) -> None:
    """Refuses a file that does not compute what the model does: a term that is no pure function."""
    parameters = {name: _known(value) for name, value in model.parameters.items()}
    model = model.replace(values=parameters)
    y = _known(model.initial)
    t = jnp.zeros((), y.dtype)

    def written(t: Array, y: Array) -> Any:
        return tuple(namespace[name](t, y, parameters) for name in ("vector_field", "observed"))

    expected = jax.jit(lambda t, y: (model.vector_field(t, y), values_of(model, t, y, found)))(t, y)
    received = jax.jit(written)(t, y)
    close = 1e3 * float(jnp.finfo(y.dtype).eps)
    for a, b in zip(jax.tree.leaves(received), jax.tree.leaves(expected), strict=True):
        scale = float(jnp.max(jnp.abs(b)))
        if not np.allclose(a, b, rtol=close, atol=close * scale, equal_nan=True):
            raise ExportError(
                f"the written file gives {a} where the model gives {b}; is one of its terms a "
                "function whose result changes from call to call?"
            )


def _known(array: Array) -> Array:
    """The array, with ones for what is not a number."""
    return jnp.where(jnp.isnan(array), jnp.ones_like(array), array)


def _write(contents: Mapping[Path, bytes]) -> None:
    """Writes all files, or none: each is complete before it takes the place of an older one."""
    ready: dict[Path, Path] = {}
    try:
        for path, data in contents.items():
            ready[path] = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            ready[path].write_bytes(data)
        for path, temporary in ready.items():
            os.replace(temporary, path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)
