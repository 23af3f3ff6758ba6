r"""Regression on signatures, for what a path controls.

.. math::

   dy = F(y)\,dx \quad\Rightarrow\quad
   y_t \approx \sum_{k \le N} \langle\theta_k, S^k(x_{[0,t]})\rangle

Source: Bleistein, Fermanian, Jannot and Guilloux, "Learning the dynamics of sparsely observed
interacting systems" (2023), equations 5 to 8, with the ridge in place of the LASSO.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DataError, DeclarationError

from ._paths import Path, label, read_paths
from ._signature import signature

_MOST = 20_000  # words of a signature, beyond which the regression would not fit in memory
_PENALTIES = tuple((10.0 ** np.arange(-15, 0.5, 0.5)).tolist())


@dataclasses.dataclass(frozen=True, repr=False)
class SignatureFit:
    """A target as a linear function of the signature of its path.

    Fields: `levels`, the coefficients, one array for each level as `signature` has them, channels
    in the order of `channels` (time first); `depth` and `penalty`, what cross-validation chose;
    `depths`, `penalties` and `errors`, the mean squared error of each pair of these on what was
    left out, shape (depth, penalty); `scale`, the length that paths are measured in.
    """

    levels: tuple[np.ndarray, ...]
    channels: tuple[str, ...]
    target: str
    depth: int
    penalty: float
    depths: tuple[int, ...]
    penalties: tuple[float, ...]
    errors: np.ndarray
    scale: float

    def predict(self, data: Any) -> Any:
        """The target at every time of a trajectory, or of each in a list of them.

        `data` are as for `fit_signature`; the target need not be there.
        Raises `DataError` for data without a channel of the path.
        """
        paths = read_paths(data, self.channels[1:], None)
        flat = np.concatenate([np.ravel(c) * self.scale**k for k, c in enumerate(self.levels)])
        seen = [_words(path.points / self.scale, self.depth) @ flat for path in paths]
        return seen if isinstance(data, list | tuple) else seen[0]

    def __str__(self) -> str:
        lines = [
            f"SignatureFit of {self.target} on {', '.join(self.channels)}: depth {self.depth}, "
            f"penalty {self.penalty:.1e}",
            "",
            "depth  error left out",
        ]
        best = np.min(self.errors, axis=1)
        lines += [f"{d:>5}  {e:.3g}" for d, e in zip(self.depths, best, strict=True)]
        return "\n".join(lines)

    __repr__ = __str__


def fit_signature(
    data: Any,
    *,
    path: Any,
    target: Any,
    key: Array,
    depth: Any = (1, 2, 3, 4, 5, 6),
    penalty: Any = None,
    weights: Callable[[int], float] | None = None,
    folds: int = 5,
) -> SignatureFit:
    r"""Fits a target, driven by a path, as a linear function of the path's signature.

    .. math::

       \min_\theta \sum_i \Bigl(y_i - \sum_k \langle\theta_k, S^k(x_{[0,t_i]})\rangle\Bigr)^2
       + \lambda \sum_{k \ge 1} w_k |\theta_k|^2

    What solves :math:`dy = F(y)\,dx` is such a function as the depth grows, if all trajectories
    begin in the same state. No equation is solved, and the minimum is a closed form. Time is a
    channel of the path; paths are measured in units of their mean length, so that high levels are
    small, and λ in units of the steepest direction squared.

    Arguments
      data: a list of trajectories, each a mapping or DataFrame of columns by symbol or name, with
        the times under ``t``. Where the path is NaN it is interpolated, and where the target is NaN
        it was not measured: a few times in each trajectory are enough.
      path: the symbols or names of the columns that drive, scalars or vectors.
      target: that of the column to foretell.
      key: of the random folds.
      depth, penalty: N and λ, or lists of them to choose from by cross-validation over
        trajectories; λ by default from 1e-15 to 1.
      weights: of a level, w; by default 1.
      folds: of cross-validation.

    Returns a `SignatureFit`. Raises `DataError` for unusable data, `DeclarationError` for options
    that make no sense.
    Source: Bleistein et al. (2023), equations 5 to 8, with the ridge in place of the LASSO.

    >>> import jax, numpy as np, sciml as sm
    >>> times = np.linspace(0, 1, 50)
    >>> data = [{"t": times, "x": np.sin(k * times), "y": k * times} for k in range(1, 6)]
    >>> fitted = sm.fit_signature(data, path="x", target="y", depth=3, key=jax.random.key(0))
    >>> fitted.predict(data[0]).shape
    (50,)
    """
    depths, penalties = _choices("depth", depth, int), _PENALTIES
    if penalty is not None:
        penalties = _choices("penalty", penalty, float)
    names = tuple(label(s) for s in (path if isinstance(path, list | tuple) else [path]))
    wanted = label(target)
    if min(depths) < 1 or min(penalties) < 0 or folds < 2:
        raise DeclarationError("a depth is 1 or more, a penalty 0 or more, and folds are 2 or more")
    if wanted in names:
        raise DeclarationError(f"{wanted} is the target: leave it out of the path")
    paths = read_paths(data, names, wanted)
    channels = paths[0].points.shape[1]
    count = sum(channels**k for k in range(max(depths) + 1))
    if count > _MOST:
        raise DeclarationError(
            f"a signature of {channels} channels and depth {max(depths)} has {count} words: "
            "use a smaller depth"
        )
    if any(one.points.shape[1] != channels for one in paths):
        raise DataError("the paths of the trajectories differ in how many channels they have")
    scale = float(np.mean([_length(one.points) for one in paths]))
    words, values, owners = _measured(paths, scale, max(depths))
    sizes = _sizes(channels, max(depths), weights)
    errors = np.full((len(depths), len(penalties)), np.nan)
    if errors.size > 1:
        parts = _folds(len(paths), folds, key)
        for row, level in enumerate(depths):
            used = sum(channels**k for k in range(level + 1))
            errors[row] = _left_out(
                words[:, :used] / sizes[:used], values, owners, parts, penalties
            )
    row, column = np.unravel_index(np.argmin(errors), errors.shape) if errors.size > 1 else (0, 0)
    chosen, strength = depths[int(row)], penalties[int(column)]
    used = sum(channels**k for k in range(chosen + 1))
    flat = _ridge(words[:, :used] / sizes[:used], values, [strength])[0] / sizes[:used]
    levels, place = [], 0
    for k in range(chosen + 1):
        piece = flat[place : place + channels**k].reshape((channels,) * k)
        levels.append(np.asarray(piece / scale**k))
        place += channels**k
    labels = ("t", *names)
    return SignatureFit(
        tuple(levels), labels, wanted, chosen, strength, depths, penalties, errors, scale
    )


def _choices(what: str, given: Any, kind: type) -> tuple:
    found = tuple(given) if isinstance(given, list | tuple | range | np.ndarray) else (given,)
    try:
        numbers = tuple(kind(one) for one in found)
    except (TypeError, ValueError):
        raise DeclarationError(f"{what} is a number or a list of them, not {given!r}") from None
    if not numbers:
        raise DeclarationError(f"{what}: there is none to choose from")
    return numbers


def _length(points: np.ndarray) -> float:
    return float(np.sum(np.abs(np.diff(points, axis=0))))


def _words(points: np.ndarray, depth: int) -> np.ndarray:
    """All words of the signature up to each point, shape (time, word)."""
    return np.asarray(_running(jnp.asarray(points), depth), float)


@functools.partial(jax.jit, static_argnums=1)
def _running(points: Array, depth: int) -> Array:
    levels = signature(points, depth=depth, running=True)
    return jnp.concatenate([jnp.reshape(a, (len(points), -1)) for a in levels], axis=1)


def _measured(
    paths: list[Path], scale: float, depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words and target where it was measured, and the number of the trajectory."""
    longest = max(len(path.points) for path in paths)
    words, values, owners = [], [], []
    for number, path in enumerate(paths):
        padding = ((0, longest - len(path.points)), (0, 0))  # one compiled function for all
        points = np.pad(path.points / scale, padding, mode="edge")
        assert path.target is not None
        words.append(_words(points, depth)[path.known])
        values.append(path.target[path.known])
        owners.append(np.full(len(path.known), number))
    return np.concatenate(words), np.concatenate(values), np.concatenate(owners)


def _sizes(channels: int, depth: int, weights: Callable[[int], float] | None) -> np.ndarray:
    """The square roots of the weights of the words: what each is divided by."""
    weigh = (lambda k: 1.0) if weights is None else weights
    found = [1.0, *(float(weigh(k)) for k in range(1, depth + 1))]
    if not all(w > 0 for w in found):
        raise DeclarationError("weights: the weight of every level must be positive")
    return np.concatenate([np.full(channels**k, np.sqrt(w)) for k, w in enumerate(found)])


def _folds(count: int, folds: int, key: Array) -> list[np.ndarray]:
    if count < 2:
        raise DataError(
            "cross-validation needs 2 trajectories or more: give one depth and one penalty"
        )
    order = np.asarray(jax.random.permutation(key, count))
    return np.array_split(order, min(folds, count))


def _left_out(
    words: np.ndarray,
    values: np.ndarray,
    owners: np.ndarray,
    parts: list[np.ndarray],
    penalties: tuple[float, ...],
) -> np.ndarray:
    """Mean squared errors on the trajectories that were left out, for each penalty."""
    squares = np.zeros(len(penalties))
    for part in parts:
        out = np.isin(owners, part)
        found = _ridge(words[~out], values[~out], penalties)
        squares += np.sum((words[out] @ found.T - values[out][:, None]) ** 2, axis=0)
    return squares / len(values)


def _ridge(words: np.ndarray, values: np.ndarray, penalties: Sequence[float]) -> np.ndarray:
    """Coefficients for each penalty; that of the first word, which is 1, is free."""
    mean, level = words[:, 1:].mean(axis=0), values.mean()
    left, sizes, right = np.linalg.svd(words[:, 1:] - mean, full_matrices=False)
    inside = left.T @ (values - level)
    top = sizes[0] if sizes.size else 0.0
    found = []
    for penalty in penalties:
        power = sizes**2 + penalty * top**2
        slope = right.T @ np.where(power > 0, sizes * inside / np.where(power > 0, power, 1.0), 0.0)
        found.append(np.concatenate([[level - mean @ slope], slope]))
    return np.stack(found)
