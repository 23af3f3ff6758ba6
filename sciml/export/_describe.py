"""What an artefact says of itself: names, shapes, units, bounds, defaults."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sciml.dsl import Model, shape_of
from sciml.dsl._show import name_of, text

from ._observed import Quantity

FORMAT = 1


def description(model: Model, observed: Sequence[Quantity]) -> dict[str, Any]:
    """Everything that a user of the artefact must know of the model, as plain data for JSON."""
    initial = np.asarray(model.initial)
    return {
        "format": FORMAT,
        "name": model.system.name,
        "dtype": str(np.dtype(model.dtype)),
        "equations": [str(equation) for equation in model.system.equations],
        "conditions": [str(condition) for condition in model.system.boundary],
        "grid": {name: np.asarray(nodes).tolist() for name, nodes in model.grid.items()},
        "size": model.program.size,
        "states": [_state(model, piece, initial[piece.slice]) for piece in model.states],
        "parameters": [_parameter(model, p) for p in model.program.parameters],
        "observed": [_observed(quantity) for quantity in observed],
        "networks": [_network(name, module) for name, module in model.networks.items()],
        "written_by": {"sciml": version(), "jax": jax.__version__},
    }


def version() -> str:
    """The version of this package."""
    try:
        return importlib.metadata.version("sciml-jax")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _state(model: Model, piece: Any, initial: np.ndarray) -> dict[str, Any]:
    expression = model.program.initial_expressions.get(piece.name)
    value = None if expression is not None else _plain(initial.reshape(piece.shape))
    is_rate = getattr(piece.symbol, "derivative_count", 0) > 0
    source = None if is_rate else piece.symbol
    return {
        "name": piece.name,
        "first": piece.offset,
        "shape": list(piece.shape),
        "unit": getattr(source, "unit", None),
        "bounds": _bounds(getattr(source, "bounds", None)),
        "description": f"rate of {name_of(piece.symbol.expr)}"
        if is_rate and piece.symbol.derivative_count == 1
        else getattr(source, "description", ""),
        "initial": value if expression is None else text(expression),
        "computed": expression is not None,
        "required": expression is None and value is None,
    }


def _parameter(model: Model, parameter: Any) -> dict[str, Any]:
    value = _plain(model.parameters[parameter.name])
    return {
        "name": parameter.name,
        "shape": list(np.shape(model.parameters[parameter.name])),
        "unit": getattr(parameter, "unit", None),
        "bounds": _bounds(getattr(parameter, "bounds", None)),
        "description": getattr(parameter, "description", ""),
        "default": value,
        "required": value is None,
    }


def _observed(quantity: Quantity) -> dict[str, Any]:
    return {
        "name": quantity.name,
        "shape": list(shape_of(quantity.array)),
        "coordinates": list(quantity.coordinates),
        "unit": getattr(quantity.symbol, "unit", None),
        "description": getattr(quantity.symbol, "description", ""),
        "expression": quantity.shown,
    }


def _network(name: str, module: Any) -> dict[str, Any]:
    leaves = [leaf for leaf in jax.tree.leaves(module) if isinstance(leaf, (jax.Array, np.ndarray))]
    kind = getattr(module, "__name__", type(module).__name__)
    return {"name": name, "kind": kind, "weights": sum(int(leaf.size) for leaf in leaves)}


def _plain(value: Any) -> Any:
    """Numbers as nested lists, or None where one of them is missing."""
    array = np.asarray(value, float)
    return None if np.any(np.isnan(array)) else array.tolist()


def _bounds(bounds: tuple[float, float] | None) -> list[float | None] | None:
    return None if bounds is None else [b if np.isfinite(b) else None for b in map(float, bounds)]
