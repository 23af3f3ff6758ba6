"""Training of operator networks on solutions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from tqdm import tqdm

from ._series_train import Carry, began, careful_step, chunks, finite_losses, shuffled, sync_due
from ._surrogate_data import Samples
from ._weights import Weights, size_of, weights_of

_SMALL = 1e-3  # of the usual size of a field: what is smaller is compared with that


class Scale(eqx.Module):
    """Shift and scale of each channel, one number for all nodes, so that they hold on any grid.

    ``(value - shift) / scale``, of mean 0 and mean square 1 over what is trained on.
    """

    shift: Float[Array, " channel"]
    scale: Float[Array, " channel"]

    @staticmethod
    def of(values: Float[Array, "member channel *node"]) -> Scale:
        """Mean and spread of each channel; what is the same always, keeps its scale."""
        axes = (0, *range(2, values.ndim))
        spread = jnp.std(values, axis=axes)
        return Scale(jnp.mean(values, axis=axes), jnp.where(spread > 0, spread, 1.0))

    def apply(self, values: Float[Array, "channel *node"]) -> Float[Array, "channel *node"]:
        """In units of the spread."""
        shift, scale = self._beside(values)
        return (values - shift) / scale

    def undo(self, values: Float[Array, "channel *node"]) -> Float[Array, "channel *node"]:
        """Back in the units of the data."""
        shift, scale = self._beside(values)
        return values * scale + shift

    def _beside(self, values: Array) -> tuple[Array, Array]:
        behind = tuple(range(1, values.ndim))
        return jnp.expand_dims(self.shift, behind), jnp.expand_dims(self.scale, behind)


class Operator(eqx.Module):
    """A network between initial fields and later ones, in the units of the data.

    Fields: `network`; `inputs`, `numbers`, `outputs`, the scales of its channels; `usual`, the size
    of each field at each time, as its mean square over nodes and members has it.
    """

    network: Any
    inputs: Scale
    numbers: Scale
    outputs: Scale
    usual: Float[Array, "field time"]

    def __call__(
        self,
        inputs: Float[Array, "input *node"],
        numbers: Float[Array, " number"],
        shares: Sequence[Float[Array, " _"]],
    ) -> Float[Array, "field time *node"]:
        """The fields at the times that were learned."""
        scaled = self.inputs.apply(inputs), self.numbers.apply(numbers)
        found = self.outputs.undo(self.network(*scaled, shares))
        return jnp.reshape(found, (*self.usual.shape, *found.shape[1:]))

    def error(self, found: Array, true: Array) -> Float[Array, "field time"]:
        """How far fields are off, as a share of their size: ``|found - true| / |true|``.

        The sizes are mean squares over the nodes; a true one that is a thousandth of the usual one,
        or less, counts as that.
        """
        least = jnp.where(self.usual > 0, _SMALL * self.usual, 1.0)
        return _size(found - true) / jnp.maximum(_size(true), least)


def _size(values: Float[Array, "field time *node"]) -> Float[Array, "field time"]:
    tiny = jnp.finfo(values.dtype).tiny  # the derivative of a root is not finite at 0
    return jnp.sqrt(jnp.mean(values**2, axis=tuple(range(2, values.ndim))) + tiny)


def make_operator(network: Any, samples: Samples) -> Operator:
    """A network with the scales of what it is trained on."""
    flat = jnp.reshape(samples.outputs, (len(samples), -1, *samples.outputs.shape[3:]))
    axes = (0, *range(3, samples.outputs.ndim))
    usual = jnp.sqrt(jnp.mean(samples.outputs**2, axis=axes))
    scales = Scale.of(samples.inputs), Scale.of(samples.numbers), Scale.of(flat)
    return Operator(network, *scales, usual)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained operator, the number of its weights, losses of each step, and notes."""

    operator: Operator
    size: int
    losses: np.ndarray
    notes: tuple[str, ...]


def train_operator(
    operator: Operator,
    samples: Samples,
    shares: Sequence[Array],
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    batch: int,
    progress: bool,
    key: PRNGKeyArray,
) -> Trained:
    """Minimises the mean relative error over random batches.

    Raises `FitError` where no step had a finite loss.
    """
    weights, point = weights_of(operator.network)
    rows = shuffled(len(samples), min(batch, len(samples)), steps, key)
    carry, losses = began(optimiser, point, samples.outputs.dtype), []
    bar = tqdm(total=steps, desc="surrogate", disable=not progress, unit="step")
    for step in range(steps):
        carry, loss = _advance(optimiser, weights, operator, carry, samples, shares, rows[step])
        losses.append(loss)
        if sync_due(step, steps):
            bar.update(step + 1 - bar.n)
            bar.set_postfix_str(f"relative error {float(loss):.4g}", refresh=False)
    bar.close()
    found, notes = finite_losses(losses, "take a smaller learning_rate")
    trained = _with_network(operator, weights, carry.point)
    return Trained(trained, size_of(point), found, tuple(notes))


def errors_of(
    operator: Operator, samples: Samples, shares: Sequence[Array]
) -> Float[np.ndarray, "member field time"]:
    """The relative error of each member, field and time."""
    parts = [
        np.asarray(_errors(operator, samples.rows(rows), shares))[: len(samples) - first]
        for first, rows in chunks(len(samples))
    ]
    return np.concatenate(parts)


@eqx.filter_jit
def applied(
    operator: Operator,
    inputs: Float[Array, "input *node"],
    numbers: Float[Array, " number"],
    shares: Sequence[Array],
) -> Float[Array, "field time *node"]:
    """What an operator gives, jitted."""
    return operator(inputs, numbers, shares)


def _with_network(operator: Operator, weights: Weights, point: PyTree) -> Operator:
    return eqx.tree_at(lambda o: o.network, operator, weights.assemble(point))


def _all_errors(operator: Operator, samples: Samples, shares: Sequence[Array]) -> Array:
    def one(inputs: Array, numbers: Array, outputs: Array) -> Array:
        return operator.error(operator(inputs, numbers, shares), outputs)

    return jax.vmap(one)(samples.inputs, samples.numbers, samples.outputs)


_errors = eqx.filter_jit(_all_errors)


@eqx.filter_jit
def _advance(
    optimiser: optax.GradientTransformation,
    weights: Weights,
    operator: Operator,
    carry: Carry,
    samples: Samples,
    shares: Sequence[Array],
    rows: Int[Array, " row"],
) -> tuple[Carry, Array]:
    """One step over some of the members."""
    some = samples.rows(rows)

    def loss(point: PyTree) -> Array:
        return jnp.mean(_all_errors(_with_network(operator, weights, point), some, shares))

    return careful_step(optimiser, carry, *jax.value_and_grad(loss)(carry.point))
