"""What is estimated, as unconstrained numbers: bounds are respected by transformation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sciml.dsl import FitError, Model, expression_text

_EDGE = 1e-3  # a start on a bound is moved inside by this part of the range


@dataclasses.dataclass(frozen=True)
class Coordinate:
    """The map between a bounded quantity and an unconstrained number z.

    Both bounds: a logistic curve; one bound: an exponential; none: a scale. It is part of what is
    compiled, hence the same for starts of about the same size.
    """

    lower: float
    upper: float
    scale: float

    def value(self, z: Array) -> Array:
        """The quantity for z."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(z)
        if np.isfinite(self.lower):
            return self.lower + jnp.exp(z)
        if np.isfinite(self.upper):
            return self.upper - jnp.exp(z)
        return self.scale * z

    def inverse(self, value: np.ndarray) -> np.ndarray:
        """z for a quantity; on or beyond a bound it is moved inside."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            part = (value - self.lower) / (self.upper - self.lower)
            part = np.clip(part, _EDGE, 1 - _EDGE)
            return np.log(part / (1 - part))
        if np.isfinite(self.lower):
            return np.log(np.maximum(value - self.lower, _EDGE * (1 + abs(self.lower))))
        if np.isfinite(self.upper):
            return np.log(np.maximum(self.upper - value, _EDGE * (1 + abs(self.upper))))
        return value / self.scale


def coordinate(bounds: tuple[float, float] | None, start: np.ndarray) -> Coordinate:
    """The coordinate of a quantity with these bounds, near this start."""
    lower, upper = bounds or (-np.inf, np.inf)
    size = float(np.max(np.abs(start)))
    if np.isfinite(lower) or np.isfinite(upper) or size == 0:
        return Coordinate(lower, upper, 1.0)
    return Coordinate(lower, upper, float(2.0 ** np.round(np.log2(size))))


@dataclasses.dataclass(frozen=True)
class Space:
    """The free quantities of a fit.

    Fields: coordinates of free `parameters` and of free initial values `initial`, by name; names of
    free `networks`. A point of the space is a dict of three dicts: z of parameters, z of initial
    values with a leading axis of trajectories, and the trainable leaves of networks.
    """

    parameters: dict[str, Coordinate]
    initial: dict[str, Coordinate]
    networks: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((*self.parameters.items(), *self.initial.items(), self.networks))

    def assemble(self, point: PyTree, model: Model, trajectory: Any = 0) -> Model:
        """The model at a point of the space, with the initial values of one trajectory."""
        dtype = model.dtype
        values = {
            name: self.parameters[name].value(z).astype(dtype)
            for name, z in point["parameters"].items()
        }
        initial = {
            name: self.initial[name].value(z[trajectory]).astype(dtype)
            for name, z in point["initial"].items()
        }
        networks = {
            name: eqx.combine(leaves, model.networks[name])
            for name, leaves in point["networks"].items()
        }
        return model.replace(values=values, initial=initial, networks=networks)

    def natural(self, point: PyTree) -> dict[str, Array]:
        """Free parameters and initial values of the first trajectory, by name."""
        found = {k: self.parameters[k].value(z) for k, z in point["parameters"].items()}
        first = {k: self.initial[k].value(z[0]) for k, z in point["initial"].items()}
        return found | {f"{k}(t0)": v for k, v in first.items()}


def build_space(
    model: Model, free: Sequence[Any] | None, starts: list[dict[str, Any]]
) -> tuple[Space, PyTree]:
    """The space of a fit, and the point where it starts.

    `free` names parameters, networks and unknowns (whose initial values are then estimated); by
    default all parameters and trainable networks, and the initial values that are not given.
    `starts` holds, for each trajectory, initial values read off the data.

    Raises `FitError` for a name that cannot be estimated, or that has no value to start from.
    """
    program = model.program
    states = {s.name: s for s in program.states}
    declared = {p.name: p for p in program.parameters}
    missing = [s.name for s in program.states if _is_missing(model, s)]
    if free is None:
        names = [*declared, *sorted(program.trainable), *missing]
    else:
        names = [f if isinstance(f, str) else expression_text(f) for f in free]
        names += [name for name in missing if name not in names]
    parameters, initial, networks = {}, {}, []
    point: dict[str, dict[str, Any]] = {"parameters": {}, "initial": {}, "networks": {}}
    for name in names:
        if name in declared:
            start = np.asarray(model.parameters[name])
            if not np.all(np.isfinite(start)):
                raise FitError(f"parameter {name} has no value to start from: give guess=...")
            parameters[name] = coordinate(getattr(declared[name], "bounds", None), start)
            z = parameters[name].inverse(start)
            point["parameters"][name] = jnp.asarray(z, model.dtype)
        elif name in states:
            start = np.stack([_initial_start(model, states[name], s) for s in starts])
            initial[name] = coordinate(getattr(states[name].symbol, "bounds", None), start)
            point["initial"][name] = jnp.asarray(initial[name].inverse(start), model.dtype)
        elif name in model.networks:
            networks.append(name)
            point["networks"][name] = eqx.filter(model.networks[name], eqx.is_inexact_array)
        else:
            known = ", ".join([*declared, *model.networks, *states])
            raise FitError(f"free: {name} is not a parameter, network or unknown; it has {known}")
    if not names:
        raise FitError("there is nothing to estimate: the system has no parameters and no networks")
    return Space(parameters, initial, tuple(networks)), point


def _is_missing(model: Model, piece: Any) -> bool:
    if piece.name in model.program.initial_expressions:
        return False
    return bool(np.any(np.isnan(np.asarray(model.initial[piece.slice]))))


def _initial_start(model: Model, piece: Any, measured: dict[str, Any]) -> np.ndarray:
    given = np.asarray(model.initial_value(piece.name))
    if np.all(np.isfinite(given)):
        return given
    guess = measured.get(piece.name, getattr(piece.symbol, "guess", None))
    if guess is None:
        raise FitError(
            f"the initial value of {piece.name} is neither given nor measured: give it a guess, "
            f'unknown("{piece.name}", guess=...), or an initial value'
        )
    return np.broadcast_to(np.asarray(guess, float), piece.shape)
