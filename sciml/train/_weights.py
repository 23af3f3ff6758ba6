"""The trainable part of a module: its weights, and the parameters of the models inside it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from sciml.dsl import DeclarationError, FitError, Model

from ._space import Coordinate, coordinate, parameter_start


class Weights(eqx.Module):
    """How a module is put together from a point: unconstrained numbers and weights.

    `rest` is the module without what is trained; `coordinates` those of the parameters of each
    model in it, in the order of the tree.
    """

    rest: PyTree
    coordinates: tuple[dict[str, Coordinate], ...]

    def assemble(self, point: PyTree) -> Any:
        """The module at a point."""
        weights, numbers = point
        module = eqx.combine(weights, self.rest)
        given = iter(zip(self.coordinates, numbers, strict=True))

        def valued(node: Any) -> Any:
            if not isinstance(node, Model):
                return node
            coordinates, z = next(given)
            return node.replace(values={k: coordinates[k].value(z[k]) for k in coordinates})

        return jax.tree.map(valued, module, is_leaf=_is_model)


def weights_of(module: Any, free: Any = None) -> tuple[Weights, PyTree]:
    """What of a module is trained: the map from points to modules, and the module's own point.

    Inexact arrays are; of a compiled model its trainable networks and the parameters that have a
    value or a guess (bounds are respected by transformation), or of these the ones named in `free`,
    but not its initial values: what has no value, the module sets itself.

    Raises `FitError` where there is nothing to train, `DeclarationError` for a name in `free` that
    no model has.
    """
    models = [node for node in jax.tree.leaves(module, is_leaf=_is_model) if _is_model(node)]
    names = _free_names(models, free)
    coordinates, numbers = [], []
    for model in models:
        made = {}
        for parameter in model.program.parameters:
            if parameter.name not in names or not _has_start(model, parameter):
                continue
            bounds = getattr(parameter, "bounds", None)
            start = parameter_start(model, parameter, bounds)
            made[parameter.name] = coordinate(bounds, start, 0.0, model.dtype)
        coordinates.append({name: one for name, (one, _) in made.items()})
        numbers.append({name: z for name, (_, z) in made.items()})
    trained = jax.tree.map(lambda node: _trained(node, names), module, is_leaf=_is_model)
    weights, rest = eqx.partition(module, trained)
    point = weights, tuple(numbers)
    if not jax.tree.leaves(point):
        raise FitError("there is nothing to train: the module has neither weights nor parameters")
    return Weights(rest, tuple(coordinates)), point


def _free_names(models: list[Model], free: Any) -> set[str]:
    """Names of the parameters and networks that are trained."""
    known = {p.name for model in models for p in model.program.parameters}
    known |= {name for model in models for name in model.program.trainable}
    if free is None:
        return known
    asked = free if isinstance(free, list | tuple) else [free]
    names = {one if isinstance(one, str) else getattr(one, "name", str(one)) for one in asked}
    if strange := sorted(names - known):
        raise DeclarationError(
            f"free: {strange[0]} is neither a parameter nor a trainable network of the module, "
            f"which has {', '.join(sorted(known)) or 'none'}"
        )
    return names


def _has_start(model: Model, parameter: Any) -> bool:
    known = bool(np.all(np.isfinite(np.asarray(model.parameters[parameter.name]))))
    return known or getattr(parameter, "guess", None) is not None


def _trained(node: Any, names: set[str]) -> Any:
    """Which leaves of a node are weights, as a tree of its structure."""
    if not isinstance(node, Model):
        return eqx.is_inexact_array(node)
    nothing = jax.tree.map(lambda _: False, node)
    networks = {
        name: jax.tree.map(
            lambda leaf, of=name: of in names and eqx.is_inexact_array(leaf),
            network,
        )
        for name, network in node.networks.items()
    }
    return eqx.tree_at(lambda model: model.networks, nothing, networks)


def _is_model(node: Any) -> bool:
    return isinstance(node, Model)


def size_of(point: PyTree) -> int:
    """How many numbers a point holds."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(point))
