"""The halves of an SDE-GAN, declared: a generator and a discriminator. Kidger et al. (2021)."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import (
    Brownian,
    D,
    DeclarationError,
    Eq,
    System,
    brownian,
    control,
    index,
    matmul,
    neural,
    t,
    unknown,
)

from ._states import as_states, parts, size_of

LATENT, HIDDEN, SERIES, SCORE = "latent", "hidden", "series", "score"
_SPREAD = 3.0  # bound of the noise at first: with it a path wanders by about 1 in a time of 1


def sde_gan_generator(
    states: Any,
    noise: Any = 3,
    *,
    latent: int = 8,
    width: int = 16,
    depth: int = 1,
    key: PRNGKeyArray,
) -> System:
    """Hidden dynamics of Stratonovich with general noise, and the user's states read out from them.

    ``dz = f(z, t) dt + g(z, t) o dW, x = readout(z)``

    Arguments
      states: the unknowns that are measured, numbers and vectors.
      noise: the Brownian motion, a vector of any size; or its size.
      latent: the size of z, which is an unknown of the name ``latent``.
      width, depth: of the hidden layers of the networks ``drift`` f and ``spread`` g, a matrix;
        each entry ends in a tanh, times a size that is trained. The map ``readout`` is affine.
      key: for the initial weights.

    Raises `DeclarationError` for a size below 1, and for noise that is no vector.

    >>> import jax, sciml as sm
    >>> x = sm.unknown("x")
    >>> system = sm.nn.sde_gan_generator(x, latent=4, key=jax.random.key(0))
    >>> system.equations[0], system.observed[x]
    (Eq(D(latent), spread(latent, t) @ D(W) + drift(latent, t)), readout(latent))

    Source: Kidger, Foster, Li, Oberhauser, Lyons, Neural SDEs as infinite-dimensional GANs (2021),
    equation 3.
    """
    symbols = as_states(states)
    refuse_sizes(latent=latent, width=width)
    driver = _vector_noise(noise)
    z = unknown(LATENT, shape=latent)
    as_states([*symbols, z])
    one, two, three = jax.random.split(key, 3)
    f = neural("drift", Bounded((latent,), latent + 1, width, depth, size=1.0, key=one))
    shape = (latent, *driver.shape)
    g = neural("spread", Bounded(shape, latent + 1, width, depth, size=_SPREAD, key=two))
    readout = neural("readout", eqx.nn.Linear(latent, size_of(symbols), key=three))
    (drift,) = parts(f(z, t), [z])
    return System(
        Eq(D(z), drift + matmul(g(z, t), D(driver))),
        observed=dict(zip(symbols, parts(readout(z), symbols), strict=True)),
        calculus="stratonovich",
        name="SDE-GAN generator",
    )


def sde_gan_discriminator(
    states: Any, *, hidden: int = 16, width: int = 16, depth: int = 1, key: PRNGKeyArray
) -> System:
    """A controlled equation that reads a series, with time as its first channel, and its score.

    ``dh = F(h, t) dX with X = (t, x), score = m . h``

    The first column of F is the drift of the papers. X is a path through the rows of the series,
    over any parameter: with time as a channel, the solution does not depend on which.

    Arguments: `states`, the unknowns that are measured, as in `sde_gan_generator`; `hidden`, the
    size of h, which is an unknown of the name ``hidden``, while X is a control of the name
    ``series``; `width`, `depth` of the hidden layers of the network ``change`` F, whose entries end
    in a tanh; `key` for the initial weights, those of m in the linear network ``measure``.

    Raises `DeclarationError` for a size below 1.

    >>> import jax, sciml as sm
    >>> x = sm.unknown("x")
    >>> system = sm.nn.sde_gan_discriminator(x, hidden=4, key=jax.random.key(0))
    >>> print(system.equations[0])
    D(hidden) = change(hidden, series[0]) @ D(series)

    Source: Kidger et al. (2021), equation 4.
    """
    refuse_sizes(hidden=hidden, width=width)
    channels = 1 + size_of(as_states(states))
    h, series = unknown(HIDDEN, shape=hidden), control(SERIES, channels=channels)
    one, two = jax.random.split(key)
    net = Bounded((hidden, channels), hidden + 1, width, depth, key=one)
    measure = neural("measure", eqx.nn.Linear(hidden, "scalar", use_bias=False, key=two))
    return System(
        Eq(D(h), matmul(neural("change", net)(h, index(series, 0)), D(series))),
        observed={unknown(SCORE): measure(h)},
        name="SDE-GAN discriminator",
    )


def lipswish(x: Array) -> Array:
    """An activation of slope at most 1: 0.909 x sigmoid(x). Chen et al. (2019), section 3.3."""
    return 0.909 * jax.nn.silu(x)


class Bounded(eqx.Module):
    """A perceptron whose output has a shape, and entries within bounds: 1, or trained `sizes`."""

    net: eqx.nn.MLP
    sizes: Float[Array, "..."] | None
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: int,
        width: int,
        depth: int,
        *,
        size: float | None = None,
        key: PRNGKeyArray,
    ) -> None:
        outputs = int(np.prod(shape))
        self.net = eqx.nn.MLP(inputs, outputs, width, depth, lipswish, jnp.tanh, key=key)
        self.sizes = None if size is None else jnp.full(shape, size)
        self.shape = shape

    def __call__(self, inputs: Float[Array, " input"]) -> Float[Array, "..."]:
        entries = jnp.reshape(self.net(inputs), self.shape)
        return entries if self.sizes is None else self.sizes * entries


def bounded(tree: Any) -> Any:
    """A tree with the weights of its linear maps of n inputs clipped to [-1/n, 1/n]."""

    def clip(leaf: Any) -> Any:
        if not isinstance(leaf, eqx.nn.Linear):
            return leaf
        most = 1 / leaf.weight.shape[1]
        return eqx.tree_at(lambda x: x.weight, leaf, jnp.clip(leaf.weight, -most, most))

    return jax.tree.map(clip, tree, is_leaf=lambda leaf: isinstance(leaf, eqx.nn.Linear))


def refuse_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise DeclarationError(f"{name} = {size}: a size is 1 or more")


def _vector_noise(noise: Any) -> Any:
    """A Brownian motion that is a vector, given or of a given size."""
    if isinstance(noise, int):
        refuse_sizes(noise=noise)
        return brownian("W", shape=noise)
    if not isinstance(noise, Brownian) or len(noise.shape) != 1:
        raise DeclarationError(
            f"{noise} is no Brownian motion of several components: give their number, noise=3, or "
            'declare it, W = sm.brownian("W", shape=3)'
        )
    return noise
