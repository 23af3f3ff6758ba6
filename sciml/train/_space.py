"""What is estimated, as unconstrained numbers: bounds are respected by transformation."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, PyTree

from sciml.dsl import DeclarationError, FitError, Model, expression_text

from ._data import Dataset
from ._loss import typical_size

_EDGE = 1e-3  # a start on a bound is moved inside by this part of the range


class Coordinate(eqx.Module):
    """The map between a quantity and unconstrained numbers z of its shape.

    `kind` is "between" two bounds (a logistic curve), "above" or "below" one (an exponential), or
    "free" (a shift and a scale). All other fields have the shape of the quantity.
    """

    kind: str = eqx.field(static=True)
    lower: Array
    upper: Array
    start: Array
    scale: Array

    def value(self, z: Array) -> Array:
        """The quantity for z."""
        if self.kind == "between":
            return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(z)
        if self.kind == "above":
            return self.lower + jnp.exp(z)
        if self.kind == "below":
            return self.upper - jnp.exp(z)
        return self.start + self.scale * z

    def row(self, number: Any) -> Coordinate:
        """The coordinate of one trajectory, where the first axis is that of trajectories."""
        return jax.tree.map(lambda leaf: leaf[number], self)


def coordinate(
    bounds: tuple[float, float] | None, start: np.ndarray, size: Any, dtype: Any
) -> tuple[Coordinate, Array]:
    """The coordinate of a quantity of a typical size, and z of its start.

    A start on a bound, or beyond it, is moved inside.
    """
    lower, upper = bounds or (-np.inf, np.inf)
    z = np.zeros(start.shape)
    if np.isfinite(lower) and np.isfinite(upper):
        kind, part = "between", (start - lower) / (upper - lower)
        part = np.where(part <= 0, _EDGE, np.where(part >= 1, 1 - _EDGE, part))
        z = np.log(part / (1 - part))
    elif np.isfinite(lower):
        kind = "above"
        z = np.log(np.where(start > lower, start - lower, _EDGE * max(1.0, abs(lower))))
    elif np.isfinite(upper):
        kind = "below"
        z = np.log(np.where(start < upper, upper - start, _EDGE * max(1.0, abs(upper))))
    else:
        kind = "free"
    scale = np.maximum(np.abs(start), size)
    fields = (lower, upper, start, np.where(scale > 0, scale, 1.0))
    arrays = (jnp.asarray(np.broadcast_to(f, start.shape), dtype) for f in fields)
    return Coordinate(kind, *arrays), jnp.asarray(z, dtype)


class Space(eqx.Module):
    """The free quantities of a fit.

    Fields: coordinates of free `parameters` and of free initial values `initial`, by name; names of
    free `networks`; `given`, initial values by name that are known. Those of initial values have a
    leading axis of trajectories. A point of the space is a dict of three dicts: z of parameters, z
    of initial values, and the trainable leaves of networks.
    """

    parameters: dict[str, Coordinate]
    initial: dict[str, Coordinate]
    given: dict[str, Array]
    networks: tuple[str, ...] = eqx.field(static=True)

    def assemble(self, point: PyTree, model: Model, trajectory: Any = 0) -> Model:
        """The model at a point of the space, with the initial values of one trajectory."""
        values = {k: self.parameters[k].value(z) for k, z in point["parameters"].items()}
        initial = {k: v[trajectory] for k, v in self.given.items()}
        for name, z in point["initial"].items():
            initial[name] = self.initial[name].row(trajectory).value(z[trajectory])
        networks = {k: eqx.combine(v, model.networks[k]) for k, v in point["networks"].items()}
        return model.replace(values=values, initial=initial, networks=networks)

    def coordinates(self) -> dict[tuple[str, str], Coordinate]:
        """All coordinates by group and name."""
        found = {("parameters", k): c for k, c in self.parameters.items()}
        return found | {("initial", k): c for k, c in self.initial.items()}


def build_space(
    model: Model, data: Dataset, free: Any = None, initial: Any = None
) -> tuple[Space, PyTree]:
    """The space of a fit, and the point where it starts.

    `free` names parameters, networks and unknowns (whose initial values are then estimated, in each
    trajectory its own); by default all parameters and trainable networks. Initial values that are
    given neither in the model nor in `initial` are always estimated, from the first measurement.

    Raises `DeclarationError` for a name that cannot be estimated, and `FitError` where there is
    no value to start from, or nothing to estimate.
    """
    given = _initial_values(model, initial, len(data.times))
    names = _free_names(model, free, given)
    parameters, starts, networks = {}, {}, []
    point: dict[str, dict[str, Any]] = {"parameters": {}, "initial": {}, "networks": {}}
    declared = {p.name: p for p in model.program.parameters}
    states = {s.name: s for s in model.program.states}
    for name in names:
        if name in declared:
            bounds = getattr(declared[name], "bounds", None)
            start = parameter_start(model, declared[name], bounds)
            made = coordinate(bounds, start, 0.0, model.dtype)
            parameters[name], point["parameters"][name] = made
        elif name in states:
            rows = range(len(data.times))
            start = np.stack([_initial_start(model, states[name], given, data, r) for r in rows])
            column = data.observed.get(name)
            size = 0.0 if column is None else typical_size(column)
            bounds = getattr(states[name].symbol, "bounds", None)
            starts[name], point["initial"][name] = coordinate(bounds, start, size, model.dtype)
        else:
            networks.append(name)
            point["networks"][name] = eqx.filter(model.networks[name], eqx.is_inexact_array)
    if not jax.tree.leaves(point):
        raise FitError(
            "there is nothing to estimate: the system has no free parameter, network or initial "
            "value; declare a constant as parameter(...) to estimate it"
        )
    for name, value in model.parameters.items():
        if name not in parameters and not np.all(np.isfinite(value)):
            raise FitError(
                f"parameter {name} has no value and is not estimated: give values={{{name}: ...}}"
            )
    known = {k: jnp.asarray(v, model.dtype) for k, v in given.items() if k not in starts}
    return Space(parameters, starts, known, tuple(networks)), point


def _free_names(model: Model, free: Any, given: Mapping[str, Any]) -> list[str]:
    """Names of what is estimated: checked, each once."""
    program = model.program
    absolute = program.initial_expressions
    missing = [
        s.name
        for s in program.states
        if s.name not in absolute
        and s.name not in given
        and not np.all(np.isfinite(np.asarray(model.initial[s.slice])))
    ]
    if free is None:
        return [*(p.name for p in program.parameters), *sorted(program.trainable), *missing]
    asked = [free] if isinstance(free, str | sympy.Basic) else list(free)
    names = [one if isinstance(one, str) else _label(one) for one in asked]
    dependent = {p.name: v for p, v in program.dependent.items()}
    known = [*(p.name for p in program.parameters), *model.networks]
    known += [s.name for s in program.states]
    for name in names:
        cure = ""
        if name in absolute or name in dependent:
            formula = expression_text(absolute[name] if name in absolute else dependent[name])
            cure = f"is the expression {formula} of others: estimate those"
        elif name in program.residuals:
            cure = "follows from an algebraic equation at the start: its initial value is a guess"
        elif name in model.networks and name not in program.trainable:
            cure = "is a known input, or was declared with trainable=False"
        elif name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            cure = "is not a parameter, network or unknown; " + (
                f"did you mean {near[0]}?" if near else f"the system has {', '.join(known)}"
            )
        if cure:
            raise DeclarationError(f"free: {name} {cure}")
    return list(dict.fromkeys([*names, *missing]))


def _label(symbol: Any) -> str:
    name = getattr(symbol, "name", None)  # of a network
    return name if isinstance(name, str) else expression_text(symbol)


def _initial_values(model: Model, initial: Any, count: int) -> dict[str, np.ndarray]:
    """Given initial values by name, shape (trajectory, ...)."""
    if initial is None:
        return {}
    tables = [initial] * count if isinstance(initial, Mapping) else initial
    if not isinstance(tables, Sequence) or not all(isinstance(one, Mapping) for one in tables):
        raise DeclarationError(
            "initial is a mapping {x: 1.0}, or a list of them, one for each trajectory"
        )
    if len(tables) != count:
        raise DeclarationError(
            f"initial has {len(tables)} entries for {count} trajectories (those of validation too)"
        )
    rows = [
        {_label(k) if not isinstance(k, str) else k: v for k, v in one.items()} for one in tables
    ]
    for row in rows:
        if odd := set(rows[0]) ^ set(row):
            raise DeclarationError(
                f"initial: {sorted(odd)[0]} is given for some trajectories only: give it for all, "
                "or for none to have it estimated"
            )
        for name in row:
            model.replace(
                initial={name: row[name]}
            )  # refuses what is no unknown, or has no such shape
    found = {}
    for name in rows[0]:
        shape = np.shape(model.initial_value(name))
        found[name] = np.stack([np.broadcast_to(np.asarray(r[name], float), shape) for r in rows])
        if not np.all(np.isfinite(found[name])):
            raise DeclarationError(f"initial: the values of {name} must be finite")
    return found


def parameter_start(model: Model, parameter: Any, bounds: tuple[float, float] | None) -> np.ndarray:
    """The value of a parameter, or else its guess."""
    name, start = parameter.name, np.asarray(model.parameters[parameter.name])
    guess = getattr(parameter, "guess", None)
    if guess is not None and not np.all(np.isfinite(start)):
        start = np.broadcast_to(np.asarray(guess, start.dtype), start.shape)
    if not np.all(np.isfinite(start)):
        raise FitError(
            f"parameter {name} has no value to start from: declare it with a guess, "
            f'parameter("{name}", guess=1.0), or give values={{{name}: ...}}'
        )
    if bounds is not None and np.any((start < bounds[0]) | (start > bounds[1])):
        raise DeclarationError(f"parameter {name} starts at {start}, outside its bounds {bounds}")
    return start


def _initial_start(
    model: Model, piece: Any, given: Mapping[str, np.ndarray], data: Dataset, row: int
) -> np.ndarray:
    if piece.name in given:
        return np.asarray(given[piece.name][row])
    value = np.asarray(model.initial_value(piece.name), float)
    if np.all(np.isfinite(value)):
        return value
    guess = data.first_values(row).get(piece.name, getattr(piece.symbol, "guess", None))
    if guess is None:
        where = f" in trajectory {row}" if len(data.times) > 1 else ""
        raise FitError(
            f"the initial value of {piece.name} is neither given nor measured{where}: give it, "
            f"initial={{{piece.name}: ...}} (and name it in free=[...] to have it estimated)"
        )
    return np.broadcast_to(np.asarray(guess, float), piece.shape)
