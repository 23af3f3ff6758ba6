r"""Fourier neural operators: maps of functions to functions, whatever the grid.

.. math:: v_{l+1}(x) = \sigma\bigl(W_l v_l(x) + b_l + (\kappa_l * v_l)(x)\bigr)

Source: Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart and Anandkumar, "Fourier neural
operator for parametric partial differential equations" (2021), equations 2 (the layer) and 4 (the
convolution).
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import DeclarationError

from ._places import Places, equidistant, features

_PROJECTION = 4  # the hidden width of the projection, in widths
_START = 0.5  # of the spread of a convolution at the start, beside that of W


@dataclasses.dataclass(frozen=True)
class FNO:
    r"""The make of a Fourier neural operator, for `surrogate`.

    .. math::

       v_{l+1} = \sigma\bigl(W_l v_l + b_l + \mathcal F^{-1} (R_l \cdot \mathcal F v_l)\bigr)

    Arguments
      modes: frequencies 0 to modes - 1 are kept along each coordinate; a grid needs 2 modes - 1
        nodes there.
      width: how many functions v_l are.
      depth: number of layers.
      padding: by what part of its length a coordinate that is not periodic is prolonged by zeros,
        as Fourier's coefficients are of periodic functions.
      coordinates: whether the coordinates are inputs too; without them, what is moved along a
        periodic coordinate has a moved answer.

    Raises `DeclarationError` for what is no positive number.
    Source: Li et al. (2021), equations 2 and 4.

    >>> import jax, sciml as sm
    >>> x = sm.nn.Places.of("x", 64, periodic=True)
    >>> module = sm.nn.FNO(modes=8, width=16).build(1, 1, (x,), key=jax.random.key(0))
    >>> module(jax.numpy.ones((1, 64))).shape
    (1, 64)
    """

    modes: int = 16
    width: int = 32
    depth: int = 4
    padding: float = 0.25
    coordinates: bool = True

    def __post_init__(self) -> None:
        for name in ("modes", "width", "depth"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DeclarationError(f"{name} of an FNO is a whole number from 1, not {value!r}")
        if not self.padding >= 0:
            raise DeclarationError(f"padding of an FNO is 0 or more, not {self.padding!r}")

    def build(
        self,
        inputs: int,
        outputs: int,
        places: Sequence[Places],
        *,
        numbers: int = 0,
        key: PRNGKeyArray,
    ) -> FourierOperator:
        """The module, for so many functions as inputs and outputs, and numbers beside them."""
        return FourierOperator(inputs, outputs, places, numbers=numbers, make=self, key=key)


class FourierLayer(eqx.Module):
    r"""One layer of a Fourier neural operator.

    .. math:: v \mapsto \sigma\bigl(W v + b + \mathcal F^{-1}(R \cdot \mathcal F v)\bigr)

    Fields: `spectral`, real and imaginary part of R, shape (2, out, in, ...frequencies); `bypass`,
    W and b.
    """

    spectral: Float[Array, "2 out in *frequency"]
    bypass: eqx.nn.Linear

    def __init__(self, width: int, modes: int, dimensions: int, *, key: PRNGKeyArray) -> None:
        first, second = jax.random.split(key)
        kept = (2 * modes - 1,) * (dimensions - 1)
        shape = (2, width, width, *kept, modes)
        dtype = jnp.zeros(()).dtype
        self.spectral = _START * jax.random.normal(first, shape, dtype) / (2 * width) ** 0.5
        self.bypass = eqx.nn.Linear(width, width, dtype=dtype, key=second)

    def __call__(self, values: Float[Array, "channel *node"]) -> Float[Array, "channel *node"]:
        """The values of the next functions, at the same nodes."""
        convolved = spectral_convolution(values, self.spectral)
        return jax.nn.gelu(pointwise(self.bypass, values) + convolved)


class FourierOperator(eqx.Module):
    r"""A Fourier neural operator: the same weights map functions on any grid.

    .. math:: u = Q\bigl(v_L\bigr), \qquad v_0(x) = P\bigl(a(x), \text{numbers}, x\bigr)

    with the layers of `FNO` between them, P affine and Q a network with one hidden layer, both at
    each node by itself.

    Fields: `lift`, `layers` (stacked), `hidden`, `project`, which are trained; `periodic`, for each
    coordinate; `modes`, `padding`, `coordinates`, as in `FNO`.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x = sm.nn.Places.of("x", 64, periodic=True)
    >>> module = sm.nn.FNO(modes=4, width=8).build(1, 1, (x,), key=jax.random.key(0))
    >>> wave = lambda n: jnp.sin(2 * jnp.pi * jnp.arange(n) / n)[None]
    >>> bool(jnp.allclose(module(wave(128))[:, ::2], module(wave(64)), atol=1e-3))
    True

    Source: Li et al. (2021), figure 2 and equations 2 and 4.
    """

    lift: eqx.nn.Linear
    layers: FourierLayer
    hidden: eqx.nn.Linear
    project: eqx.nn.Linear
    periodic: tuple[bool, ...] = eqx.field(static=True)
    modes: int = eqx.field(static=True)
    padding: float = eqx.field(static=True)
    coordinates: bool = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        places: Sequence[Places],
        *,
        numbers: int = 0,
        make: FNO | None = None,
        key: PRNGKeyArray,
    ) -> None:
        make = FNO() if make is None else make
        self.periodic = tuple(one.periodic for one in places)
        self.modes, self.padding = make.modes, float(make.padding)
        self.coordinates = make.coordinates
        self.refuse(places)
        keys = jax.random.split(key, 4)
        dtype, width = jnp.zeros(()).dtype, make.width
        where = sum(2 if round_ else 1 for round_ in self.periodic) if make.coordinates else 0
        dimensions = len(self.periodic)
        self.lift = eqx.nn.Linear(inputs + numbers + where, width, dtype=dtype, key=keys[0])
        self.layers = eqx.filter_vmap(
            lambda key: FourierLayer(width, make.modes, dimensions, key=key)
        )(jax.random.split(keys[1], make.depth))
        self.hidden = eqx.nn.Linear(width, _PROJECTION * width, dtype=dtype, key=keys[2])
        self.project = eqx.nn.Linear(_PROJECTION * width, outputs, dtype=dtype, key=keys[3])

    def __call__(
        self,
        values: Float[Array, "channel *node"],
        numbers: Float[Array, " number"] | None = None,
        shares: Sequence[Float[Array, " _"]] | None = None,
    ) -> Float[Array, "output *node"]:
        """The functions at the nodes, which are equidistant, whatever their number."""
        nodes = values.shape[1:]
        channels = [values]
        if numbers is not None:
            wide = jnp.expand_dims(numbers, tuple(range(1, len(nodes) + 1)))
            channels.append(jnp.broadcast_to(wide, (len(numbers), *nodes)))
        if self.coordinates:
            if shares is None:
                shares = equidistant(nodes, self.periodic, values.dtype)
            channels.append(features(shares, self.periodic).astype(values.dtype))
        v = pointwise(self.lift, jnp.concatenate(channels))
        v = jnp.pad(v, ((0, 0), *zip((0,) * len(nodes), self._beyond(nodes), strict=True)))
        v = jax.lax.scan(lambda v, layer: (layer(v), None), v, self.layers)[0]
        v = v[(slice(None), *(slice(0, n) for n in nodes))]
        return pointwise(self.project, jax.nn.gelu(pointwise(self.hidden, v)))

    def refuse(self, places: Sequence[Places]) -> None:
        """Raises `DeclarationError` for nodes on which the modes cannot be had."""
        for one in places:
            count, least = len(one.shares), 2 * self.modes - 1
            if not one.equidistant:
                raise DeclarationError(
                    f"grid of {one.name}: Fourier's coefficients need equidistant nodes, and these "
                    f"are not: give their number, grid={{{one.name}: {count}}}, or take "
                    "network=sm.nn.DeepONet()"
                )
            if count < least:
                raise DeclarationError(
                    f"grid of {one.name}: {count} nodes are too few for {self.modes} modes, which "
                    f"need {least}: take more nodes, or FNO(modes={(count + 1) // 2})"
                )

    def _beyond(self, nodes: tuple[int, ...]) -> list[int]:
        """How many zeros go behind the last node of each coordinate.

        So that the whole is (1 + padding) times the length of the domain, on any grid.
        """
        whole = [n if round_ else round((n - 1) * (1 + self.padding))
                 for n, round_ in zip(nodes, self.periodic, strict=True)]  # fmt: skip
        return [max(m - n, 0) for m, n in zip(whole, nodes, strict=True)]


def pointwise(
    linear: eqx.nn.Linear, values: Float[Array, "channel *node"]
) -> Float[Array, "output *node"]:
    """An affine map at each node."""
    assert linear.bias is not None
    bias = jnp.expand_dims(linear.bias, tuple(range(1, values.ndim)))
    return jnp.tensordot(linear.weight, values, 1) + bias


def spectral_convolution(
    values: Float[Array, "in *node"], weight: Float[Array, "2 out in *frequency"]
) -> Float[Array, "out *node"]:
    r"""A convolution with a kernel of few frequencies, on a periodic grid.

    .. math:: \sum_{|k| < m} R_k \hat v_k e^{2\pi i k s}, \qquad
       \hat v_k = \frac1n \sum_j v_j e^{-2\pi i k j / n}

    which does not depend on the number of nodes n, where v has no frequencies above n / 2.

    Arguments: `values` at the nodes; `weight`, real and imaginary part of R, of the frequencies 0
    to m - 1 along the last coordinate, and 0 to m - 1 and then 1 - m to -1 along others; there are
    2 m - 1 nodes or more along each. Returns the values of the convolution at the nodes.

    >>> import jax.numpy as jnp, sciml as sm
    >>> wave = jnp.sin(2 * jnp.pi * jnp.arange(8) / 8)[None]
    >>> mean_alone = jnp.zeros((2, 1, 1, 2)).at[0, 0, 0, 0].set(1.0)
    >>> bool(jnp.allclose(sm.nn.spectral_convolution(wave + 3, mean_alone), 3))
    True

    Source: Li et al. (2021), equation 4.
    """
    nodes, modes = values.shape[1:], weight.shape[-1]
    axes = tuple(range(1, values.ndim))
    kept = jnp.fft.rfftn(values, axes=axes, norm="forward")[..., :modes]
    for axis in axes[:-1]:
        first = jax.lax.slice_in_dim(kept, 0, modes, axis=axis)
        last = jax.lax.slice_in_dim(kept, nodes[axis - 1] - modes + 1, None, axis=axis)
        kept = jnp.concatenate([first, last], axis=axis)
    letters = string.ascii_lowercase[: values.ndim - 1]
    factors = jax.lax.complex(weight[0], weight[1])
    mixed = jnp.einsum(f"YZ{letters},Z{letters}->Y{letters}", factors, kept)
    for axis in axes[:-1]:
        first = jax.lax.slice_in_dim(mixed, 0, modes, axis=axis)
        last = jax.lax.slice_in_dim(mixed, modes, None, axis=axis)
        gap = list(mixed.shape)
        gap[axis] = nodes[axis - 1] - 2 * modes + 1
        mixed = jnp.concatenate([first, jnp.zeros(gap, mixed.dtype), last], axis=axis)
    return jnp.fft.irfftn(mixed, s=nodes, axes=axes, norm="forward")
