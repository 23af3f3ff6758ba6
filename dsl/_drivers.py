"""Symbols of paths that drive equations: Brownian motions and controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import DeclarationError
from ._symbols import Function, as_shape, check_name, make_function, t


class Driver(Function):
    """A path in time that no equation determines; equations name its rate ``D(W)``."""


class Brownian(Driver):
    """A Brownian motion: its rate is white noise. Made by `brownian`."""

    shape: tuple[int, ...] = ()
    correlation: tuple[tuple[float, ...], ...] | None = None
    description: str = ""
    metadata = ("shape", "correlation", "description")


class Control(Driver):
    """A path that data give, as in a controlled equation. Made by `control`."""

    shape: tuple[int, ...] = ()
    unit: str | None = None
    description: str = ""
    metadata = ("shape", "unit", "description")


def brownian(
    name: str,
    *,
    shape: int | tuple[int, ...] = (),
    correlation: Any = None,
    description: str = "",
) -> Any:
    """A Brownian motion of independent components, or of correlated ones.

    ``D(W)`` is white noise; each equation is linear in it: ``D(x) = f + g*D(W)`` stands for
    dx = f dt + g dW, in Ito's sense unless the system says ``calculus="stratonovich"``.

    Arguments: `name`; `shape` of its value; `correlation`, a matrix of shape (n, n), symmetric and
    positive definite with ones on the diagonal, for n components; `description`.

    Raises `DeclarationError` for a matrix that is no correlation.

    >>> import sciml as sm
    >>> x, W = sm.unknown("x"), sm.brownian("W")
    >>> sm.Eq(sm.D(x), -x + 0.1 * sm.D(W))
    Eq(D(x), -x + 0.1*D(W))
    """
    check_name(name)
    shape = as_shape(name, shape)
    if correlation is not None:
        matrix = np.asarray(correlation, float)
        _refuse_correlation(name, matrix)
        if shape in ((), matrix.shape[:1]):
            shape = matrix.shape[:1]
        else:
            raise DeclarationError(f"{name}: {matrix.shape} correlations do not fit shape {shape}")
        correlation = tuple(tuple(map(float, row)) for row in matrix)
    return make_function(
        Brownian, name, shape=shape, correlation=correlation, description=description
    )(t)


def control(
    name: str,
    *,
    channels: int | None = None,
    shape: int | tuple[int, ...] = (),
    unit: str | None = None,
    description: str = "",
) -> Any:
    """A control: a path that is given with the data, ``solve(..., controls={X: path})``.

    ``X`` is its value and ``D(X)`` its rate; ``D(z) = F(z) @ D(X)`` is a controlled equation.

    Arguments: `name`; `channels`, for a vector of so many, or the `shape` of its value; `unit`;
    `description`.

    >>> import sciml as sm
    >>> sm.D(sm.control("X", channels=3)).expr.shape
    (3,)
    """
    check_name(name)
    shape = as_shape(name, shape if channels is None else channels)
    return make_function(Control, name, shape=shape, unit=unit, description=description)(t)


def _refuse_correlation(name: str, matrix: np.ndarray) -> None:
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    good = square and np.all(np.isfinite(matrix)) and np.allclose(matrix, matrix.T)
    good = good and np.allclose(np.diag(matrix), 1) and np.min(np.linalg.eigvalsh(matrix)) > 0
    if not good:
        raise DeclarationError(
            f"{name}: a correlation is a symmetric positive definite matrix with ones on its "
            "diagonal, [[1, 0.5], [0.5, 1]]; put sizes into the equations"
        )
