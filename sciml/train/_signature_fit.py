r"""Regression on signatures, for what a path controls.

.. math::

   dy = F(y)\,dx \quad\Rightarrow\quad
   y_t \approx \sum_{k \le N} \langle\theta_k, S^k(x_{[0,t]})\rangle

Source: Bleistein, Fermanian, Jannot and Guilloux, "Learning the dynamics of sparsely observed
interacting systems" (2023), equations 5 to 8.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.data import Series
from sciml.dsl import DataError, DeclarationError
from sciml.solvers import signature

from ._paths import Path, label, read_paths
from ._shrinkage import DEFAULT_PENALTIES, choose_shrinkage, lasso_fault

_MOST = 20_000  # words of a signature, beyond which the regression would not fit in memory


@dataclasses.dataclass(frozen=True)
class SignatureRegression:
    r"""A target, driven by a path, as a linear function of the path's signature: what `fit` takes.

    .. math::

       y_t \approx \sum_{k \le N} \langle\theta_k, S^k(x_{[0,t]})\rangle, \qquad
       \min_\theta \frac{1}{2n} \sum_i \bigl(y_i - \langle\theta, S(x_{[0,t_i]})\rangle\bigr)^2
       + \lambda \sum_{k \ge 1} w_k |\theta_k|_1

    What solves :math:`dy = F(y)\,dx` is such a function as the depth grows, if all trajectories
    begin in the same state. No equation is solved. Time is a channel of the path; paths are
    measured in units of their mean length.

    Arguments
      path: the symbols or names of the columns that drive, scalars or vectors.
      target: that of the column to foretell.
      depth, penalty: N and λ, or lists of them to choose from by cross-validation over
        trajectories; by default 1 to 6, and for λ 1e-6 to 1 (for the ridge 1e-15 to 1).
      shrinkage: "lasso", with which few words remain: each counts in units of its spread, and λ in
        units of the smallest that leaves none; needs scikit-learn, the extra `learn`. Or "ridge",
        with ``λ Σ w |θ|²`` (and without 1/2n), λ in units of the steepest direction squared.
      weights: of a level, w; by default 1.
      folds: of cross-validation.

    In the data the path is interpolated where it is NaN, and where the target is NaN it was not
    measured: a few times in each trajectory are enough.
    Raises `DeclarationError` for options that make no sense.
    Source: Bleistein et al. (2023), equations 5 to 8.

    >>> import jax, numpy as np, sciml as sm
    >>> times = np.linspace(0, 1, 50)
    >>> data = [{"t": times, "x": np.sin(k * times), "y": k * times} for k in range(1, 6)]
    >>> regression = sm.SignatureRegression(path="x", target="y", depth=3)
    >>> sm.fit(regression, data, key=jax.random.key(0)).predict(data[0]).shape
    (50,)
    """

    path: Any
    target: Any
    _: dataclasses.KW_ONLY
    depth: Any = (1, 2, 3, 4, 5, 6)
    penalty: Any = None
    shrinkage: str = "lasso"
    weights: Callable[[int], float] | None = None
    folds: int = 5

    def __post_init__(self) -> None:
        if self.shrinkage not in DEFAULT_PENALTIES:
            raise DeclarationError(f'shrinkage is "lasso" or "ridge", not {self.shrinkage!r}')
        penalties = DEFAULT_PENALTIES[self.shrinkage] if self.penalty is None else self.penalty
        depths = _choices("depth", self.depth, int)
        penalties = _choices("penalty", penalties, float)
        object.__setattr__(self, "depth", depths)
        object.__setattr__(self, "penalty", penalties)
        if min(depths) < 1 or min(penalties) < 0 or self.folds < 2:
            raise DeclarationError(
                "a depth is 1 or more, a penalty 0 or more, and folds are 2 or more"
            )
        if label(self.target) in self.names:
            raise DeclarationError(f"{label(self.target)} is the target: leave it out of the path")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of the path."""
        path = self.path if isinstance(self.path, list | tuple) else (self.path,)
        return tuple(label(symbol) for symbol in path)


@dataclasses.dataclass(frozen=True, repr=False)
class SignatureFit:
    """A target as a linear function of the signature of its path.

    Fields: `levels`, the coefficients, one array for each level as `signature` has them, channels
    in the order of `channels` (time first); `depth` and `penalty`, what cross-validation chose;
    `depths`, `penalties` and `errors`, the mean squared error of each pair of these on what was
    left out, shape (depth, penalty); `scale`, the length that paths are measured in; `shrinkage`,
    the kind; `notes`, what went wrong.
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
    shrinkage: str
    notes: tuple[str, ...] = ()

    def predict(self, data: Any) -> Any:
        """The target at every time of a trajectory, or of each in a list of them.

        `data` are those of `fit`, or one trajectory; the target need not be there.
        Raises `DataError` for data without a channel of the path.
        """
        paths = read_paths(data, self.channels[1:], None)
        flat = np.concatenate([np.ravel(c) * self.scale**k for k, c in enumerate(self.levels)])
        seen = [_words(path.points / self.scale, self.depth) @ flat for path in paths]
        return seen if isinstance(data, list | tuple | Series) else seen[0]

    def __str__(self) -> str:
        size = sum(level.size for level in self.levels)
        left = sum(np.count_nonzero(level) for level in self.levels)
        lines = [
            f"SignatureFit of {self.target} on {', '.join(self.channels)}: depth {self.depth}, "
            f"{self.shrinkage} with penalty {self.penalty:.1e}, {left} of {size} words",
            *self.notes,
        ]
        if self.errors.size > 1:
            best = np.min(self.errors, axis=1)
            lines += ["", "depth  error left out"]
            lines += [f"{d:>5}  {e:.3g}" for d, e in zip(self.depths, best, strict=True)]
        return "\n".join(lines)

    __repr__ = __str__


def fit_signature(regression: SignatureRegression, data: Any, *, key: Array) -> SignatureFit:
    """Fits a target as a linear function of the signature; the key is of the random folds.

    Raises `DataError` for unusable data, `DeclarationError` for signatures that are too long.
    """
    depths, penalties = regression.depth, regression.penalty
    target = label(regression.target)
    paths = read_paths(data, regression.names, target)
    channels = _channels(paths, max(depths))
    scale = float(np.mean([_length(one.points) for one in paths]))
    words, values, owners = _measured(paths, scale, max(depths))
    weights = _weights(channels, max(depths), regression.weights)
    shrink = choose_shrinkage(regression.shrinkage)
    errors = np.full((len(depths), len(penalties)), np.nan)
    row, column = 0, 0
    if errors.size > 1:
        parts = _folds(len(paths), regression.folds, key)
        for place, level in enumerate(depths):
            used = slice(_size(channels, level))
            fold = functools.partial(shrink, weights=weights[used], penalties=penalties)
            errors[place] = _left_out(words[:, used], values, owners, parts, fold)
        row, column = map(int, np.unravel_index(np.argmin(errors), errors.shape))
    depth, penalty = depths[row], penalties[column]
    used = slice(_size(channels, depth))
    given = words[:, used], values, weights[used]
    flat = shrink(*given, penalties=[penalty])[0]
    fault = lasso_fault(*given, penalty, flat) if regression.shrinkage == "lasso" else None
    return SignatureFit(
        levels=_levels(flat, channels, depth, scale),
        channels=("t", *regression.names),
        target=target,
        depth=depth,
        penalty=penalty,
        depths=depths,
        penalties=penalties,
        errors=errors,
        scale=scale,
        shrinkage=regression.shrinkage,
        notes=() if fault is None else (fault,),
    )


def _channels(paths: list[Path], depth: int) -> int:
    """How many channels all the paths have."""
    channels = paths[0].points.shape[1]
    count = _size(channels, depth)
    if count > _MOST:
        raise DeclarationError(
            f"a signature of {channels} channels and depth {depth} has {count} words: "
            "use a smaller depth"
        )
    if any(one.points.shape[1] != channels for one in paths):
        raise DataError("the paths of the trajectories differ in how many channels they have")
    return channels


def _size(channels: int, depth: int) -> int:
    return sum(channels**k for k in range(depth + 1))


def _levels(flat: np.ndarray, channels: int, depth: int, scale: float) -> tuple[np.ndarray, ...]:
    """The coefficients level by level, for paths in their own units."""
    pieces = np.split(flat, [_size(channels, k) for k in range(depth)])
    shaped = (piece.reshape((channels,) * k) for k, piece in enumerate(pieces))
    return tuple(np.asarray(piece / scale**k) for k, piece in enumerate(shaped))


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


def _weights(channels: int, depth: int, weights: Callable[[int], float] | None) -> np.ndarray:
    """The weight of each word."""
    weigh = (lambda k: 1.0) if weights is None else weights
    found = [1.0, *(float(weigh(k)) for k in range(1, depth + 1))]
    if not all(w > 0 for w in found):
        raise DeclarationError("weights: the weight of every level must be positive")
    return np.concatenate([np.full(channels**k, w) for k, w in enumerate(found)])


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
    shrink: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Mean squared errors on the trajectories that were left out, for each penalty."""
    squares: Any = 0.0
    for part in parts:
        out = np.isin(owners, part)
        found = shrink(words[~out], values[~out])
        squares = squares + np.sum((words[out] @ found.T - values[out][:, None]) ** 2, axis=0)
    return squares / len(values)
