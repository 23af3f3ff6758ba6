r"""Gaussian random fields, to draw initial fields from.

.. math:: u = \mu + \sigma \sum_k \sqrt{S_k}\, \xi_k \varphi_k

Source: Lindgren, Rue and Lindström, "An explicit link between Gaussian fields and Gaussian Markov
random fields" (2011), equation 2 and section 2.1 (Matérn fields as solutions of
:math:`(\kappa^2 - \Delta)^{\alpha/2} u` = white noise).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.dsl import DeclarationError, Model, expression_text, name_of

ENDS = ("free", "zero", "flat")


@dataclasses.dataclass(frozen=True)
class RandomField:
    r"""A Gaussian field with the covariance of Matérn, as a sum of waves.

    .. math::

       u = \mu + \sigma \sum_k \sqrt{S_k}\, \xi_k \varphi_k, \qquad \xi_k \sim N(0, 1), \qquad
       S_k \propto \Bigl(\frac{2 \nu}{\ell^2} + |\omega_k|^2\Bigr)^{-(\nu + d/2)}

    with cosines and sines φ of the frequencies ω, in d coordinates; the spectrum is that of
    :math:`(\tau^2 - \Delta)^{-\alpha}` with :math:`\tau^2 = 2\nu/\ell^2, \alpha = \nu + d/2`. A key
    is one field, on whatever grid it is looked at.

    Arguments
      length: ℓ, over which values are alike, in the unit of the coordinates.
      smoothness: ν; so many times, rounded up less one, the field can be differentiated.
      std, mean: σ, of one value (on average over the domain), and μ, a number or an expression of
        the coordinates.
      ends: of coordinates that are not periodic: "free" (the field goes on beyond), "zero" (a sum
        of sines, as where values are 0), or "flat" (of cosines, as where slopes are).
      modes: how many frequencies are taken along each coordinate.

    Raises `DeclarationError` for what is no positive number, and other ends.

    >>> import jax, sciml as sm
    >>> s = sm.coordinate("s")
    >>> u = sm.unknown("u", sm.t, s)
    >>> heat = sm.System(sm.Eq(sm.D(u, sm.t), sm.D(u, s, s)), domain={s: (0, 1)},
    ...                  boundary=[sm.Eq(u.at(s=0), u.at(s=1))])
    >>> model = sm.compile(heat, grid={s: 32})
    >>> sm.RandomField(length=0.3).draw(model, u, key=jax.random.key(0)).shape
    (32,)
    """

    length: float
    _: dataclasses.KW_ONLY
    smoothness: float = 2.5
    std: float = 1.0
    mean: Any = 0.0
    ends: str = "free"
    modes: int = 32

    def __post_init__(self) -> None:
        for name in ("length", "smoothness", "std"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 < value < np.inf):
                raise DeclarationError(f"{name} of a RandomField is a positive number: {value!r}")
        if self.ends not in ENDS:
            known = ", ".join(map(repr, ENDS))
            raise DeclarationError(f"ends of a RandomField are one of {known}, not {self.ends!r}")
        if not isinstance(self.modes, int) or self.modes < 1:
            raise DeclarationError(f"modes of a RandomField: 1 or more, not {self.modes!r}")

    def draw(self, model: Model, symbol: Any, *, key: PRNGKeyArray) -> Float[Array, "*node"]:
        """Values of one field at all nodes of a compiled model, for the field `symbol` of it.

        Raises `DeclarationError` for a symbol that is no field of the model.
        """
        axes = axes_of(model, symbol)
        waves = [self._waves(axis) for axis in axes]
        squares = _outer_sum([w**2 for w, _ in waves])
        power = self.smoothness + len(axes) / 2
        spectrum = (2 * self.smoothness / self.length**2 + squares) ** (-power)
        spectrum *= self.std**2 / np.sum(spectrum)
        dtype = model.dtype
        values = jax.random.normal(key, spectrum.shape, dtype) * jnp.asarray(spectrum**0.5, dtype)
        for _, functions in waves:  # the first axis goes, and comes back as the last
            values = jnp.tensordot(values, jnp.asarray(functions, dtype), ((0,), (0,)))
        return values + jnp.asarray(self._mean(axes), dtype)

    def _waves(self, axis: Any) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies, and functions of mean square 1 at the nodes, shape (function, node)."""
        s, k = axis.nodes - axis.nodes[0], np.arange(self.modes)
        if axis.periodic or self.ends == "free":
            period = axis.length if axis.periodic else 2 * axis.length
            w = 2 * np.pi * k / period
            cosines = np.where(k > 0, np.sqrt(2), 1)[:, None] * np.cos(w[:, None] * s)
            sines = np.sqrt(2) * np.sin(w[1:, None] * s)
            return np.concatenate([w, w[1:]]), np.concatenate([cosines, sines])
        if self.ends == "zero":
            w = np.pi * (k + 1) / axis.length
            return w, np.sqrt(2) * np.sin(w[:, None] * s)
        w = np.pi * k / axis.length
        return w, np.where(k > 0, np.sqrt(2), 1)[:, None] * np.cos(w[:, None] * s)

    def _mean(self, axes: tuple) -> np.ndarray:
        own, mean = [axis.coordinate for axis in axes], sympy.sympify(self.mean)
        if strange := sorted(map(str, mean.free_symbols - set(own))):
            raise DeclarationError(
                f"mean of a RandomField: a number or an expression of {', '.join(map(str, own))}, "
                f"and {strange[0]} is none of these: {expression_text(mean)}"
            )
        mesh = np.meshgrid(*(axis.nodes for axis in axes), indexing="ij")
        values = sympy.lambdify(own, mean, ["numpy", "scipy"])(*mesh)
        return np.broadcast_to(np.asarray(values, float), mesh[0].shape)


def axes_of(model: Model, symbol: Any) -> tuple:
    """The axes of a field, in the order of its array.

    Raises `DeclarationError` for a symbol that is no field of the model.
    """
    name, fields = name_of(symbol), model.program.fields
    if fields is None or name not in model.fields:
        known = ", ".join(model.fields) or "none"
        raise DeclarationError(f"{name} is no field of this model; it has {known}")
    return tuple(fields.axes[s] for s in model.coordinates_of(model.fields[name]))


def _outer_sum(parts: list[np.ndarray]) -> np.ndarray:
    """All sums of one number of each part, an axis for each."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole[..., None] + part
    return whole
