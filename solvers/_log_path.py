"""Log-ODE paths: long series as a path of few pieces, whose rates are log-signatures."""

from __future__ import annotations

import functools
import operator
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DataError, DeclarationError

from ._log_signature import log_signature
from ._paths import Path, path


def log_path(
    times: Any, values: Any, *, window: int, depth: int = 2, name: str = "the path"
) -> Path:
    r"""A path of log-signatures through a long series: linear, with one piece for each window.

    .. math::

       \frac{dX}{dt} = \frac{\mathrm{LogSig}^N(x_{[r_i, r_{i+1}]})}{r_{i+1} - r_i},
       \qquad r_i \le t < r_{i+1}

    x is linear between the measurements, and missing entries are as in `path`. X has
    ``log_signature_size(channels, depth)`` channels, those of x first, with the values of x at the
    window ends; the others begin at 0. A neural CDE along it is a neural rough equation (the
    log-ODE method), which is solved in as many steps as there are windows::

        X = sm.control("X", channels=sm.log_signature_size(3, 2))
        series = sm.log_path(times, values, window=32)
        stepping = sm.nn.Stepping(stepsize_controller=series.steps())
        sm.nn.NeuralCDE(z, X, outputs=1, key=key)(series, stepping=stepping)

    Arguments
      times: shape (n,), increasing.
      values: shape (n, channel), NaN where missing. Time itself, where it matters, is a channel.
      window: how many intervals between measurements are joined; the last window may be shorter.
      depth: N, of the log-signature; 1 takes of each window nothing but the change.
      name: for messages.

    Raises `DataError` for unusable data, `DeclarationError` for options that make no sense.
    Source: Morrill, Salvi, Kidger, Foster, Neural rough differential equations for long time
    series (2021), section 3.

    >>> import sciml as sm
    >>> series = sm.log_path([0, 1, 2, 4], [[0, 0], [1, 0], [1, 1], [3, 5]], window=2)
    >>> series.knots.tolist(), series(1.0)[1].tolist()
    ([0.0, 2.0, 4.0], [0.5, 0.5, 0.25])
    """
    window, depth = _whole("window", window), _whole("depth", depth)
    line: Any = path(times, values, kind="linear", name=name).curve
    if line.ys.ndim != 2:
        raise DataError(
            f"{name} needs values of shape (n, channel), not {line.ys.shape}: a log-signature is "
            "one of several channels; make time the first of them"
        )
    corners = _corners(line.ys, window, depth)
    knots = line.ts[_ends(len(line.ts), window)]
    return Path(dfx.LinearInterpolation(knots, corners), corners.shape[1:])


def _ends(count: int, window: int) -> np.ndarray:
    """The rows at which windows begin or end."""
    return np.append(np.arange(0, count - 1, window), count - 1)


@functools.partial(jax.jit, static_argnames=("window", "depth"))
def _corners(points: Array, window: int, depth: int) -> Array:
    """The values of the path at the ends of the windows."""
    ends = _ends(len(points), window)
    rows = np.minimum(ends[:-1, None] + np.arange(window + 1), ends[1:, None])  # the last is padded
    logs = jax.vmap(lambda window: log_signature(window, depth=depth))(points[rows])
    higher = jnp.cumsum(logs[:, points.shape[1] :], axis=0)
    higher = jnp.concatenate([jnp.zeros_like(higher[:1]), higher])
    return jnp.concatenate([points[ends], higher], axis=1)


def _whole(what: str, given: Any) -> int:
    try:
        number = operator.index(given)
    except TypeError:
        raise DeclarationError(f"{what} is a whole number, not {given!r}") from None
    if number < 1:
        raise DeclarationError(f"{what} = {number}: it is 1 or more")
    return number
