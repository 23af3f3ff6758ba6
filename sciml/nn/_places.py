"""Nodes of coordinates as an operator network sees them: as shares of their domains."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_EQUAL = 1e-6  # by which places may differ, as a share of the domain


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """The nodes of one coordinate as shares of its domain, from 0 to 1.

    ``(x - low) / (high - low)``

    Fields: `name` of the coordinate; `shares`, shape (node,), without the end 1 where it is
    `periodic`. `Places.of(name, count)` has equidistant ones.

    >>> import sciml as sm
    >>> sm.nn.Places.of("x", 4, periodic=True).shares
    array([0.  , 0.25, 0.5 , 0.75])
    """

    name: str
    shares: np.ndarray
    periodic: bool = False

    @staticmethod
    def of(name: str, count: int, *, periodic: bool = False) -> Places:
        """Equidistant nodes, so many."""
        return Places(name, np.linspace(0, 1, count, endpoint=not periodic), periodic)

    @property
    def equidistant(self) -> bool:
        """Whether neighbours are equally far apart."""
        count = len(self.shares)
        wanted = Places.of(self.name, count, periodic=self.periodic).shares
        return bool(np.max(np.abs(self.shares - wanted)) < _EQUAL)

    def find(self, wanted: np.ndarray) -> np.ndarray | None:
        """The numbers of the nodes that lie at given shares; None where not all of them are."""
        gaps = np.abs(self.shares - wanted[:, None])
        return np.argmin(gaps, axis=1) if np.max(np.min(gaps, axis=1)) < _EQUAL else None


def equidistant(
    nodes: Sequence[int], periodic: Sequence[bool], dtype: Any
) -> list[Float[Array, " _"]]:
    """The shares of equidistant nodes."""
    pairs = zip(nodes, periodic, strict=True)
    return [jnp.linspace(0, 1, n, endpoint=not round_, dtype=dtype) for n, round_ in pairs]


def features(
    shares: Sequence[Float[Array, " _"]], periodic: Sequence[bool], harmonics: int = 1
) -> Float[Array, "feature *node"]:
    r"""Functions of the coordinates for a network, one channel each, on the mesh of all nodes.

    :math:`\cos 2\pi k s` and :math:`\sin 2\pi k s`, k up to `harmonics`, of a periodic share s, so
    that its ends are one place; :math:`2 s - 1` of another.
    """
    found = []
    for axis, (s, round_) in enumerate(zip(shares, periodic, strict=True)):
        others = tuple(a for a in range(len(shares)) if a != axis)
        angles = [2 * jnp.pi * k * s for k in range(1, harmonics + 1)]
        own = [f(a) for a in angles for f in (jnp.cos, jnp.sin)] if round_ else [2 * s - 1]
        found += [jnp.expand_dims(one, others) for one in own]
    shape = tuple(len(s) for s in shares)
    return jnp.stack([jnp.broadcast_to(one, shape) for one in found])
