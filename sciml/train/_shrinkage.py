"""Linear regression with a free first coefficient, the others shrunk: ridge and lasso."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sciml.dsl import SciMLError

_CONSTANT = 1e-10  # spread of a word, in units of its size, below which it tells nothing
_STEPS = 10_000  # at which words enter or leave a lasso; sweeps of coordinate descent
_UNITS = 1e6  # in which the largest penalty is measured: scikit-learn stops 1e-7 from the smallest
_TOLERANCE = 1e-3  # how far above its minimum a lasso may be, in units of this
DEFAULT_PENALTIES: dict[str, tuple[float, ...]] = {
    "lasso": tuple((10.0 ** np.arange(-6, 0.1, 0.25)).tolist()),
    "ridge": tuple((10.0 ** np.arange(-15, 0.5, 0.5)).tolist()),
}


def choose_shrinkage(name: str) -> Callable[..., np.ndarray]:
    """The function by its name, of words (the first is 1), values, weights and penalties.

    It returns the coefficients for each penalty, shape (penalty, word).
    """
    return {"lasso": lasso, "ridge": ridge}[name]


def ridge(
    words: np.ndarray, values: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> np.ndarray:
    """Penalties are in units of the steepest direction squared."""
    shrunk = words[:, 1:] / np.sqrt(weights[1:])
    mean, level = shrunk.mean(axis=0), values.mean()
    left, sizes, right = np.linalg.svd(shrunk - mean, full_matrices=False)
    inside = left.T @ (values - level)
    top = sizes[0] if sizes.size else 0.0
    found = []
    for penalty in penalties:
        power = sizes**2 + penalty * top**2
        slope = right.T @ np.where(power > 0, sizes * inside / np.where(power > 0, power, 1.0), 0.0)
        found.append(np.concatenate([[level - mean @ slope], slope / np.sqrt(weights[1:])]))
    return np.stack(found)


def lasso(
    words: np.ndarray, values: np.ndarray, weights: np.ndarray, penalties: Sequence[float]
) -> np.ndarray:
    """Penalties are in units of the smallest that leaves no word; words in those of their spread.

    Coefficients are linear in the penalty between those at which a word enters or leaves, which
    least angle regression finds one after the other: exact, and twenty times as fast as coordinate
    descent, which needs 1e5 sweeps for words as dependent as these. Where some words are sums of
    others it may break off, and descent takes over.
    Source: Efron, Hastie, Johnstone, Tibshirani, Least angle regression (2004), section 3.1.
    """
    scaled, target, mean, units = _standardised(words, values, weights)
    slopes = np.zeros((len(penalties), scaled.shape[1]))
    if np.any(target):
        given = np.asarray(penalties)
        slopes = _by_angles(scaled, target, given)
        away = _gaps(scaled, target, slopes, given) > _TOLERANCE
        if np.any(away):
            slopes[away] = _by_descent(scaled, target, given[away])
    slopes = slopes * units
    return np.concatenate([values.mean() - slopes @ mean[:, None], slopes], axis=1)


def lasso_fault(
    words: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    penalty: float,
    coefficients: np.ndarray,
) -> str | None:
    """What is wrong with the minimum of a lasso; None if it is one."""
    scaled, target, _, units = _standardised(words, values, weights)
    slopes = np.where(units > 0, coefficients[1:] / np.where(units > 0, units, 1.0), 0.0)
    (gap,) = _gaps(scaled, target, slopes[None], np.array([penalty]))
    if gap <= _TOLERANCE:
        return None
    return (
        f"the lasso did not reach its minimum, and may be {gap:.1%} above it: its words are too "
        "dependent for so small a penalty; take a larger one or a smaller depth"
    )


def _by_angles(scaled: np.ndarray, target: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    options = {"method": "lasso", "max_iter": _STEPS, "alpha_min": _UNITS * np.min(penalties)}
    corners, _, found = _quietly("lars_path", scaled, _UNITS * target, **options)
    at = _UNITS * penalties
    return np.stack([np.interp(at, corners[::-1], row[::-1]) for row in found], axis=1) / _UNITS


def _by_descent(scaled: np.ndarray, target: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    order = np.argsort(penalties)[::-1]  # from the largest one on, each from where the last ended
    options = {"alphas": penalties[order], "max_iter": _STEPS, "tol": 1e-10}
    _, found, _ = _quietly("lasso_path", scaled, target, **options)
    slopes = np.empty_like(found.T)
    slopes[order] = found.T
    return slopes


def _gaps(
    scaled: np.ndarray, target: np.ndarray, slopes: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """How far above the minimum each may be, in units of it: the duality gap.

    Source: Kim, Koh, Lustig, Boyd, Gorinevsky, An interior-point method for large-scale
    l1-regularized least squares (2007), section 3.1.
    """
    column, size = penalties[:, None], len(target)
    rest = target - slopes @ scaled.T
    pull = np.max(np.abs(rest @ scaled), axis=1, initial=0.0, keepdims=True) / size
    dual = rest * np.minimum(1.0, column / np.where(pull > 0, pull, np.inf))
    reached = np.sum(rest**2, axis=1) / (2 * size) + np.sum(column * np.abs(slopes), axis=1)
    bound = np.sum(dual * (target - dual / 2), axis=1) / size
    known = (reached > 0) & (penalties > 0)  # without a penalty the bound is 0 and tells nothing
    return np.where(known, (reached - bound) / np.where(known, reached, 1.0), 0.0)


def _standardised(
    words: np.ndarray, values: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Words but the first, and values, without mean and in units; the words' means; what units are.

    Those of words are spread and weight; those of values have the steepest word pull by 1.
    """
    rest = words[:, 1:]
    mean, spread = rest.mean(axis=0), rest.std(axis=0)
    told = spread > _CONSTANT * np.max(np.abs(rest), axis=0)  # what is constant is left out
    shares = np.where(told, 1 / np.where(told, spread * weights[1:], 1.0), 0.0)
    scaled, target = (rest - mean) * shares, values - values.mean()
    steepest = np.max(np.abs(scaled.T @ target), initial=0.0) / len(target)
    unit = steepest if steepest > 0 else np.inf
    return scaled, target / unit, mean, shares * steepest


def _quietly(name: str, *given: Any, **options: Any) -> Any:
    """A function of scikit-learn; whether it reached its end is seen from what it returns."""
    try:
        import sklearn.linear_model as models
    except ImportError:
        raise SciMLError(
            "the lasso needs scikit-learn: pip install 'sciml-jax[learn]', or ask for "
            'shrinkage="ridge"'
        ) from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        return getattr(models, name)(*given, **options)
