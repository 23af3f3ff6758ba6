"""What an artefact offers beside its states: the observed quantities, and whole fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl import Model
from sciml.dsl._show import name_of, text

from ._errors import ExportError


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One of them: its `array` is an expression of the states, `shown` what it is in words.

    `coordinates` are those of the axes of a field, `symbol` has its unit and description.
    """

    name: str
    array: Any
    shown: str
    coordinates: tuple[str, ...] = ()
    symbol: Any = None


def quantities(model: Model, wanted: Mapping[str, Any] | None = None) -> tuple[Quantity, ...]:
    """Each field on all nodes, what the system observes, and the expressions that are wanted.

    Raises `ExportError` for a name that is taken, `DeclarationError` for an expression of symbols
    that the model does not have.
    """
    found = [*_fields(model), *_observed(model)]
    for name, expression in (wanted or {}).items():
        if not isinstance(name, str):
            raise ExportError(f"observed: names are strings, not {name!r}")
        if name in {q.name for q in found}:
            raise ExportError(f"observed: the model has a quantity {name} already; name it anew")
        array, along = model.expression(expression), _along(model, expression)
        found.append(Quantity(name, array, text(expression), along))
    return tuple(found)


def values_of(model: Model, t: Array, y: Array, found: Sequence[Quantity]) -> dict[str, Array]:
    """The values of quantities at one instant, by name."""
    function = model.program.observe([q.array for q in found])
    constants = function.constants(model.parameters, model.dtype)
    values = function(t, y, constants, model.networks)
    return {q.name: jnp.asarray(v, y.dtype) for q, v in zip(found, values, strict=True)}


def _fields(model: Model) -> list[Quantity]:
    """The states of a field lack the nodes at which conditions give it."""
    fields, found = model.program.fields, []
    if fields is None:
        return []
    for u, placed in fields.placed.items():
        along = tuple(s.name for s in placed.coordinates)
        shown = f"{name_of(u)} at all nodes of {', '.join(along)}"
        found.append(Quantity(name_of(u), fields.expression(u), shown, along, u))
    return found


def _observed(model: Model) -> list[Quantity]:
    fields = model.program.fields
    declared = {} if fields is None else fields.system.observed
    return [
        Quantity(
            name_of(k), e, text(declared.get(k, e)), _along(model, declared.get(k, e)), k
        )
        for k, e in model.program.observed.items()
    ]  # fmt: skip


def _along(model: Model, expression: Any) -> tuple[str, ...]:
    """The coordinates along which an expression varies."""
    return tuple(s.name for s in model.coordinates_of(expression))
