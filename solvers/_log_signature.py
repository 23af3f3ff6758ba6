r"""Log-signatures of paths, by the coefficients of Lyndon words.

.. math:: \log S = \sum_{n \ge 1} \frac{(-1)^{n+1}}{n} (S - 1)^{\otimes n}

Source: Reutenauer, "Free Lie algebras" (1993), chapters 3 to 5; Kidger and Lyons, "Signatory:
differentiable computations of the signature and logsignature transforms" (2021), section 4.3.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError

from ._signature import signature


def log_signature(path: Float[Array, "time channel"], *, depth: int) -> Float[Array, " word"]:
    r"""The logarithm of the signature of a path that is linear between its points.

    .. math:: \log S = \sum_{n \ge 1} \frac{(-1)^{n+1}}{n} (S - 1)^{\otimes n}

    What of the signature does not follow from the rest of it. Of the tensors of the logarithm the
    entries at Lyndon words are kept, those that come before all their rotations: the others follow
    from them. Words are in the order of their length, and then of the alphabet: for two channels 0,
    1, 01, 001, 011, ... First comes the change of each channel; the entry at 01 is the area between
    the path and its chord.

    Arguments
      path: points, shape (time, channel). Time itself, where it matters, is a channel.
      depth: the length of the longest words, 1 or more.

    Returns one vector, of the length `log_signature_size`. Raises `DeclarationError` for no such
    depth, `DataError` for a path that has no points.
    Source: Kidger and Lyons (2021), section 4.3.

    >>> import jax.numpy as jnp, sciml as sm
    >>> square = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    >>> sm.log_signature(square, depth=2).tolist()
    [0.0, 0.0, 1.0]
    """
    logarithm = _logarithm(signature(path, depth=depth)[1:])
    places = _places(path.shape[1], depth)
    kept = [level[place] for level, place in zip(logarithm, places, strict=True)]
    return jnp.concatenate(kept)


def log_signature_size(channels: int, depth: int) -> int:
    r"""The length of the log-signature of a path: how many Lyndon words there are.

    .. math:: \sum_{k=1}^{N} \frac{1}{k} \sum_{d | k} \mu(d)\, c^{k/d}

    Arguments
      channels: c, those of the path.
      depth: N, the length of the longest words.

    Raises `DeclarationError` for numbers below 1.
    Source: Witt's formula; Reutenauer (1993), corollary 4.14.

    >>> import sciml as sm
    >>> sm.log_signature_size(3, 2), sm.log_signature_size(3, 3)
    (6, 14)
    """
    if channels < 1 or depth < 1:
        raise DeclarationError(
            f"channels = {channels}, depth = {depth}: a log-signature has 1 of each or more"
        )
    found: list[int] = []
    for k in range(1, depth + 1):  # every word is a power of a rotation of one Lyndon word
        powers = sum(d * found[d - 1] for d in range(1, k) if k % d == 0)
        found.append((channels**k - powers) // k)
    return sum(found)


def _logarithm(levels: Sequence[Array]) -> list[Array]:
    """The levels 1 to N of log(1 + x), flat, in Horner's order: x (1 - x (1/2 - x (1/3 - ...)))."""
    depth = len(levels)
    flat = [jnp.ravel(level) for level in levels]
    found = [jnp.full((1,), 1 / depth, flat[0].dtype)]  # level 0 of the innermost bracket
    for n in range(depth - 1, 0, -1):
        inner = _product(flat, found)
        found = [jnp.full((1,), 1 / n, flat[0].dtype), *(-level for level in inner)]
    return _product(flat, found)


def _product(flat: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    """The product of a tensor without level 0, and one with it: as many levels as the latter."""
    found = []
    for k in range(1, len(other) + 1):
        parts = [jnp.ravel(flat[j - 1][:, None] * other[k - j][None]) for j in range(1, k + 1)]
        found.append(functools.reduce(jnp.add, parts))
    return found


@functools.lru_cache
def _places(channels: int, depth: int) -> tuple[np.ndarray, ...]:
    """Where the Lyndon words of each length lie in the flat tensors of the levels."""
    places: list[list[int]] = [[] for _ in range(depth)]
    for word in _lyndon_words(channels, depth):
        places[len(word) - 1].append(functools.reduce(lambda p, i: p * channels + i, word, 0))
    return tuple(np.array(found, int) for found in places)


def _lyndon_words(channels: int, depth: int) -> Iterator[tuple[int, ...]]:
    """In the order of the alphabet. Duval (1988), algorithm 2."""
    word = [0]
    while word:
        yield tuple(word)
        word = (word * depth)[:depth]
        while word and word[-1] == channels - 1:
            word.pop()
        if word:
            word[-1] += 1
