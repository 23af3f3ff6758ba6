r"""DeepONets: maps of functions at sensors to functions at any place.

.. math:: G(a)(x) = \sum_{k=1}^p b_k\bigl(a(x_1), \dots, a(x_m)\bigr)\, \tau_k(x) + b_0

Source: Lu, Jin, Pang, Zhang and Karniadakis, "Learning nonlinear operators via DeepONet based on
the universal approximation theorem of operators" (2021), equation 2; for several outputs, Lu et
al., "A comprehensive and fair comparison of two neural operators" (2022), section 3.1.6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import DeclarationError

from ._places import Places, equidistant, features


@dataclasses.dataclass(frozen=True)
class DeepONet:
    r"""The make of a DeepONet, for `surrogate`.

    .. math:: G(a)(x) = \sum_{k=1}^p b_k\bigl(a(x_1), \dots, a(x_m)\bigr)\, \tau_k(x) + b_0

    Arguments
      sensors: how many places x_1, ... along each coordinate the inputs are read at; among the
        nodes, equally many steps apart. By default all nodes of the grid that is trained on.
      width, depth: of the hidden layers of both networks, the branch b and the trunk τ.
      basis: p, the number of products, for each output its own.
      harmonics: how many cosines and sines of a periodic coordinate the trunk is given.

    Raises `DeclarationError` for what is no positive number.
    Source: Lu et al. (2021), equation 2.

    >>> import jax, sciml as sm
    >>> x = sm.nn.Places.of("x", 65)
    >>> module = sm.nn.DeepONet(sensors=17, width=16).build(1, 1, (x,), key=jax.random.key(0))
    >>> module(jax.numpy.ones((1, 65)), None, [jax.numpy.linspace(0, 1, 65)]).shape
    (1, 65)
    """

    sensors: int | None = None
    width: int = 128
    depth: int = 3
    basis: int = 64
    harmonics: int = 4

    def __post_init__(self) -> None:
        for name in ("sensors", "width", "depth", "basis", "harmonics"):
            value = getattr(self, name)
            if name == "sensors" and value is None:
                continue
            if not isinstance(value, int) or value < 1:
                raise DeclarationError(
                    f"{name} of a DeepONet is a whole number from 1, not {value!r}"
                )

    def build(
        self,
        inputs: int,
        outputs: int,
        places: Sequence[Places],
        *,
        numbers: int = 0,
        key: PRNGKeyArray,
    ) -> DeepOperator:
        """The module, for so many functions as inputs and outputs, and numbers beside them."""
        return DeepOperator(inputs, outputs, places, numbers=numbers, make=self, key=key)


class DeepOperator(eqx.Module):
    r"""A DeepONet: functions, known at sensors, to functions at any place.

    .. math:: G(a)(x) = \sum_{k=1}^p b_k\bigl(a(x_1), \dots, a(x_m)\bigr)\, \tau_k(x) + b_0

    Fields: `branch`, `trunk`, `bias` (of each output), which are trained; `sensors`, for each
    coordinate the shares of its domain at which inputs are read; `periodic`, `harmonics`.

    >>> import jax, sciml as sm
    >>> x = sm.nn.Places.of("x", 8, periodic=True)
    >>> module = sm.nn.DeepONet(width=16, basis=8).build(1, 2, (x,), key=jax.random.key(0))
    >>> module.sensors[0][:3]
    (0.0, 0.125, 0.25)

    Source: Lu et al. (2021), equation 2.
    """

    branch: eqx.nn.MLP
    trunk: eqx.nn.MLP
    bias: Float[Array, " output"]
    sensors: tuple[tuple[float, ...], ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    harmonics: int = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        places: Sequence[Places],
        *,
        numbers: int = 0,
        make: DeepONet | None = None,
        key: PRNGKeyArray,
    ) -> None:
        make = DeepONet() if make is None else make
        self.periodic = tuple(one.periodic for one in places)
        self.sensors = tuple(_sensors(one, make.sensors) for one in places)
        self.harmonics = make.harmonics
        dtype = jnp.zeros(()).dtype
        read = inputs * int(np.prod([len(one) for one in self.sensors])) + numbers
        where = sum(2 * make.harmonics if round_ else 1 for round_ in self.periodic)
        size = outputs * make.basis
        first, second = jax.random.split(key)
        hidden = make.width, make.depth, jax.nn.gelu
        self.branch = eqx.nn.MLP(read, size, *hidden, dtype=dtype, key=first)
        self.trunk = eqx.nn.MLP(where, size, *hidden, dtype=dtype, key=second)
        self.bias = jnp.zeros(outputs, dtype)

    def __call__(
        self,
        values: Float[Array, "channel *node"],
        numbers: Float[Array, " number"] | None = None,
        shares: Sequence[Float[Array, " _"]] | None = None,
    ) -> Float[Array, "output *node"]:
        """The functions at the nodes, among which the sensors are.

        `shares` are the nodes as shares of the domain, equidistant if not given.
        """
        nodes = values.shape[1:]
        if shares is None:
            shares = equidistant(nodes, self.periodic, values.dtype)
        seen = values
        for axis, (own, wanted) in enumerate(zip(shares, self.sensors, strict=True), 1):
            gaps = own[None, :] - jnp.array(wanted, own.dtype)[:, None]
            rows = jnp.argmin(jnp.abs(gaps), axis=1)
            seen = jnp.take(seen, rows, axis=axis)
        given = [jnp.ravel(seen)] if numbers is None else [jnp.ravel(seen), numbers]
        weights = jnp.reshape(self.branch(jnp.concatenate(given)), (len(self.bias), -1))
        where = features(shares, self.periodic, self.harmonics).astype(values.dtype)
        found = jax.vmap(self.trunk)(jnp.reshape(where, (len(where), -1)).T)
        functions = jnp.reshape(found, (-1, *weights.shape))
        summed = jnp.einsum("op,nop->on", weights, functions) / weights.shape[1] ** 0.5
        return jnp.reshape(summed + jnp.expand_dims(self.bias, 1), (len(self.bias), *nodes))

    def refuse(self, places: Sequence[Places]) -> None:
        """Raises `DeclarationError` for nodes among which the sensors are not."""
        for one, wanted in zip(places, self.sensors, strict=True):
            if one.find(np.array(wanted)) is None:
                count = len(wanted) if one.periodic else len(wanted) - 1
                several = f"{2 * count}, {3 * count}" if one.periodic else f"{2 * count + 1}"
                raise DeclarationError(
                    f"grid of {one.name}: the {len(wanted)} sensors at which this DeepONet reads "
                    f"its inputs are not among the {len(one.shares)} nodes: of equidistant ones, "
                    f"take {len(wanted)}, {several}, ..."
                )


def _sensors(places: Places, count: int | None) -> tuple[float, ...]:
    """The shares of the domain at which the inputs are read: of all nodes, or of so many."""
    if count is None:
        return tuple(places.shares.tolist())
    wanted = Places.of(places.name, count, periodic=places.periodic).shares
    if count > len(places.shares) or places.find(wanted) is None:
        raise DeclarationError(
            f"DeepONet(sensors={count}): so many equidistant sensors are not among the "
            f"{len(places.shares)} nodes of {places.name}; take a number that divides "
            f"{len(places.shares)}"
            if places.periodic
            else f"DeepONet(sensors={count}): so many equidistant sensors are not among the "
            f"{len(places.shares)} nodes of {places.name}; take one more than a divisor of "
            f"{len(places.shares) - 1}"
        )
    return tuple(wanted.tolist())
