"""Periodic fields in Fourier's coefficients, and their rates there: a diagonal and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, name_of
from sciml.dsl.codegen import Function, State
from sciml.dsl.lower import Semilinear

Orders = tuple[int, ...]


class Waves(eqx.Module):
    """A vector of real arrays, and their Fourier coefficients one after the other.

    `shapes` are those of the arrays, which lie in the vector in this order; `lengths` those of the
    periods along their axes.
    """

    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    lengths: tuple[tuple[float, ...], ...] = eqx.field(static=True)

    def forward(self, y: Array) -> Array:
        """The coefficients of a vector."""
        parts = _cut(y, self.shapes)
        return jnp.concatenate([jnp.ravel(jnp.fft.rfftn(part)) for part in parts])

    def backward(self, z: Array) -> Array:
        """The vector of these coefficients."""
        values = self.values(self.parts(z))
        return jnp.concatenate([jnp.ravel(value) for value in values])

    def parts(self, z: Array) -> list[Array]:
        """The coefficients of each array."""
        return _cut(z, [_halved(shape) for shape in self.shapes])

    def values(self, parts: Sequence[Array]) -> list[Array]:
        """The arrays of these coefficients."""
        return [jnp.fft.irfftn(z, s=n) for z, n in zip(parts, self.shapes, strict=True)]

    def numbers(self, which: int) -> list[np.ndarray]:
        """Along each axis of the coefficients of an array, the number of waves in its period."""
        shape = self.shapes[which]
        found = [np.fft.fftfreq(n, 1 / n) for n in shape[:-1]]
        found.append(np.arange(shape[-1] // 2 + 1.0))
        return [_along(k, axis, len(shape)) for axis, k in enumerate(found)]

    def derivative(self, which: int, orders: Orders) -> tuple[list[np.ndarray], bool]:
        """The real factors of a derivative along the axes, and whether i stands before them."""
        factors = []
        numbers, shape = self.numbers(which), self.shapes[which]
        for k, n, size, length in zip(numbers, orders, shape, self.lengths[which], strict=True):
            found = (2 * np.pi / length * k) ** n
            if n % 2 and size % 2 == 0:  # the highest wave has none that the grid could hold
                found = np.where(2 * np.abs(k) == size, 0.0, found)
            if n:
                factors.append(found)
        if sum(orders) % 4 in (2, 3):
            factors[0] = -factors[0]
        return factors, bool(sum(orders) % 2)

    def times(self, which: int, orders: Orders, value: Array, dtype: Any) -> Array:
        """Coefficients, or a number, times the factors of a derivative."""
        factors, turned = self.derivative(which, orders)
        scaled = _along_axes(value, factors, dtype)
        if not turned:
            return scaled
        if jnp.issubdtype(scaled.dtype, jnp.complexfloating):
            return jax.lax.complex(-scaled.imag, scaled.real)
        return jax.lax.complex(jnp.zeros_like(scaled), scaled)

    def kept(self, which: int) -> list[np.ndarray]:
        """The longest two thirds of the waves along each axis.

        Source: Orszag, On the elimination of aliasing in finite-difference schemes by filtering
        high-wavenumber components (1971).
        """
        numbers = zip(self.numbers(which), self.shapes[which], strict=True)
        return [np.where(3 * np.abs(k) > size, 0.0, 1.0) for k, size in numbers]


class Pointwise(eqx.Module):
    """Expressions on the nodes, of which derivatives are taken; of order 0, they are rates.

    `smooth` where these are products without the waves that are aliased, as in derivatives.
    """

    fluxes: tuple[tuple[int, Orders], ...] = eqx.field(static=True)
    function: Function = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)
    constants: Any


class SpectralRates(eqx.Module):
    """The rates of a model of periodic fields, in their coefficients: ``z' = L z + N(t, z)``.

    `weights` are those of exponential steps of one size, where all have it.
    """

    waves: Waves
    beside: tuple[tuple[int, int, Orders], ...] = eqx.field(static=True)
    marks: tuple[tuple[int, Orders], ...] = eqx.field(static=True)
    slopes: Function = eqx.field(static=True)  # the coefficients of `beside`, and before them of L
    constants: Any  # of these
    pointwise: tuple[Pointwise, ...]
    networks: Any
    diagonal: Array  # L, real where only even derivatives stand in it
    weights: Any = None

    def __call__(self, t: Any, z: Array) -> Array:
        """The rates of coefficients."""
        return times(self.diagonal, z) + self.nonlinear(t, z)

    def nonlinear(self, t: Any, z: Array) -> Array:
        """N, of coefficients."""
        waves, parts, dtype = self.waves, self.waves.parts(z), z.real.dtype
        rates = [jnp.zeros_like(part) for part in parts]
        for each in self.pointwise:
            for (which, orders), flux in zip(
                each.fluxes, self._fluxes(each, t, parts), strict=True
            ):
                rates[which] = rates[which] + waves.times(which, orders, flux, dtype)
        if self.beside:
            time, blank = jnp.asarray(t, dtype), self._blank(dtype)
            slopes = self.slopes(time, blank, self.constants, self.networks)
            slopes = slopes[-len(self.beside) :]  # behind those of the linear part
            for (which, other, orders), slope in zip(self.beside, slopes, strict=True):
                moved = slope.astype(parts[other].dtype) * parts[other]
                rates[which] = rates[which] + waves.times(other, orders, moved, dtype)
        return jnp.concatenate([jnp.ravel(rate) for rate in rates])

    def _fluxes(self, each: Pointwise, t: Any, parts: Sequence[Array]) -> list[Array]:
        """The coefficients of expressions on the nodes."""
        waves, dtype = self.waves, parts[0].real.dtype
        if each.smooth:
            parts = [_along_axes(part, waves.kept(i), dtype) for i, part in enumerate(parts)]
        arrays = waves.values(parts)
        for which, orders in self.marks:
            slope = waves.times(which, orders, parts[which], dtype)
            arrays.append(jnp.fft.irfftn(slope, s=waves.shapes[which]))
        state = jnp.concatenate([jnp.ravel(array) for array in arrays])
        found = each.function(jnp.asarray(t, dtype), state, each.constants, self.networks)
        fluxes = []
        for (which, _), value in zip(each.fluxes, found, strict=True):
            whole = jnp.broadcast_to(jnp.asarray(value, dtype), waves.shapes[which])
            kept = waves.kept(which) if each.smooth else []
            fluxes.append(_along_axes(jnp.fft.rfftn(whole), kept, dtype))
        return fluxes

    def _blank(self, dtype: Any) -> Array:
        shapes = [*self.waves.shapes, *(self.waves.shapes[which] for which, _ in self.marks)]
        return jnp.zeros(sum(int(np.prod(shape)) for shape in shapes), dtype)


def semilinear(model: Model) -> Semilinear:
    """The equations of a model, split in symbols; found once.

    Raises `DeclarationError` for a model that is not one of periodic fields, by scheme "fourier".
    """
    if model.program.fields is None:
        raise DeclarationError(
            "ETDRK4 needs the linear part of the equations: give it, ETDRK4(linear); it is found "
            'for systems of periodic fields alone, solved with scheme="fourier"'
        )
    return model.program.fields.semilinear


def spectral_rates(model: Model) -> SpectralRates:
    """The rates of a model in Fourier's coefficients, split.

    Raises `DeclarationError` for a model that is not one of periodic fields, by scheme "fourier".
    """
    program, split = model.program, semilinear(model)
    by_name = {piece.name: piece for piece in program.states}
    fields = [placed.symbol for placed in split.fields]
    order = {u: i for i, u in enumerate(sorted(fields, key=lambda u: by_name[name_of(u)].offset))}
    placed = {each.symbol: each for each in split.fields}
    lengths = tuple(tuple(split.axes[s].length for s in placed[u].coordinates) for u in order)
    shapes = tuple(by_name[name_of(u)].shape for u in order)
    terms = [(order[u], n, c) for u in order for n, c in split.linear[u].items()]
    beside = [
        (order[u], order[v], n, c)
        for (u, v), found in split.beside.items()
        for n, c in found.items()
    ]
    drivers, offset = [], 0
    for array in split.marks.values():
        drivers.append(State(array, name_of(array), offset, array.shape))
        offset += drivers[-1].size

    def function(name: str, doc: str, expressions: Sequence[Any]) -> Function:
        return program.function(name, doc, expressions, state=False, drivers=drivers)

    slopes = function("slopes", "Coefficients of what is linear.",
                      [c for *_, c in (*terms, *beside)])  # fmt: skip
    constants = slopes.constants(model.parameters, model.dtype)
    waves, pointwise = Waves(shapes, lengths), []
    for smooth in (False, True):
        fluxes = [(order[u], n, e) for u, found in split.fluxes.items()
                  for n, e in found.items() if any(n) == smooth]  # fmt: skip
        if not fluxes:
            continue
        made = function("nonlinear", "What is not linear, on the nodes.", [e for *_, e in fluxes])
        which = tuple((i, n) for i, n, _ in fluxes)
        pointwise.append(
            Pointwise(which, made, smooth, made.constants(model.parameters, model.dtype))
        )
    size = program.size + offset
    found = slopes(jnp.zeros((), model.dtype), jnp.zeros(size, model.dtype), constants, {})
    return SpectralRates(
        waves,
        tuple((which, other, n) for which, other, n, _ in beside),
        tuple((order[v], n) for v, n in split.marks),
        slopes,
        constants,
        tuple(pointwise),
        model.networks,
        _diagonal(waves, [(which, n) for which, n, _ in terms], found, model.dtype),
    )


def _diagonal(
    waves: Waves, terms: Sequence[tuple[int, Orders]], slopes: Sequence[Any], dtype: Any
) -> Array:
    """The sum of derivatives of each field with their coefficients."""
    odd = any(sum(orders) % 2 for _, orders in terms)
    kind = np.result_type(dtype, np.complex64) if odd else dtype
    parts = [jnp.zeros(_halved(shape), kind) for shape in waves.shapes]
    for (which, orders), slope in zip(terms, slopes, strict=False):  # others follow
        part = waves.times(which, orders, jnp.asarray(slope, dtype), dtype)
        parts[which] = parts[which] + part.astype(kind)
    return jnp.concatenate([jnp.ravel(part) for part in parts])


def times(linear: Array, y: Array) -> Array:
    """The product of a diagonal or a matrix and a vector."""
    if linear.ndim == 1 and linear.dtype == y.real.dtype:
        return scaled(linear, y)
    linear = linear.astype(y.dtype)
    return linear @ y if linear.ndim == 2 else linear * y


def scaled(numbers: Array, y: Array) -> Array:
    """The product with real numbers, of complex ones too."""
    if not jnp.issubdtype(y.dtype, jnp.complexfloating):
        return numbers * y
    return jax.lax.complex(numbers * y.real, numbers * y.imag)


def _cut(vector: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The arrays of these shapes that lie one after the other in a vector."""
    parts, offset = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(jnp.reshape(vector[offset : offset + size], shape))
        offset += size
    return parts


def _halved(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the coefficients of a real array."""
    return (*shape[:-1], shape[-1] // 2 + 1)


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def _along_axes(value: Array, factors: Sequence[np.ndarray], dtype: Any) -> Array:
    """An array, real or complex, times real numbers along each axis."""
    for factor in factors:
        value = scaled(jnp.asarray(factor, dtype), value)
    return value
