"""What a fit compares with the data: classes, numbers, a bound on the likelihood, or slopes."""

from __future__ import annotations

import dataclasses
from typing import Any

from sciml.dsl import DeclarationError

SLOPES = ("spline", "forward", "central", "richardson")


@dataclasses.dataclass(frozen=True)
class Classification:
    """Learns the labels of series: which of several classes each one belongs to.

    The outputs of the module are logarithms of the odds of the classes, and the loss is the mean
    cross-entropy, in nats. `batch`, how many series a step sees; `scaling` of the channels, a kind
    of `sciml.data.Scaling` (times then count in units of the longest series, from the first time of
    each), or "none" to leave values and times as they are; `draws`, how many paths of a system with
    noise are averaged where something is predicted.

    Raises `DeclarationError` for a batch or draws below one.
    """

    batch: int = 32
    scaling: str = "standard"
    draws: int = 8

    def __post_init__(self) -> None:
        _refuse_counts(batch=self.batch, draws=self.draws)


@dataclasses.dataclass(frozen=True)
class Regression:
    """Learns numbers from series: their labels, or what comes after what is read of them.

    The loss is half the mean squared error in units of the spread of the targets.

    `ahead`, how many times at the end of each series are to be foretold, and are not read; by
    default the targets are the labels, numbers or tuples of them. `channels`, which of them are
    foretold, by default all. `batch`, `scaling` and `draws` as in `Classification`: predictions are
    in the units of the data.

    Raises `DeclarationError` for a batch, draws or times ahead below one.
    """

    ahead: int | None = None
    channels: tuple | None = None
    batch: int = 32
    scaling: str = "standard"
    draws: int = 8

    def __post_init__(self) -> None:
        _refuse_counts(batch=self.batch, draws=self.draws)
        if self.ahead is not None:
            _refuse_counts(ahead=self.ahead)
        if self.channels is not None and not isinstance(self.channels, tuple):
            object.__setattr__(self, "channels", _listed(self.channels))


@dataclasses.dataclass(frozen=True)
class Variational:
    r"""Learns hidden dynamics that explain series, by a bound on the likelihood of these.

    .. math:: -\log p(x) \le -E_q \log p(x | z) + w\,KL(q(z | x) \,\|\, p(z))

    For modules with such a loss: `sciml.nn.LatentODE` and `sciml.nn.LatentSDE`. The weight w rises
    from 0 to 1 over the first part `annealing` of the steps. `batch` and `scaling` as in
    `Classification`.

    Raises `DeclarationError` for a batch below one, or a part outside of [0, 1].
    Source: Kingma and Welling (2014); Bowman et al. (2016) for the weight.
    """

    annealing: float = 0.5
    batch: int = 32
    scaling: str = "standard"

    def __post_init__(self) -> None:
        _refuse_counts(batch=self.batch)
        if not 0 <= self.annealing <= 1:
            raise DeclarationError(f"annealing is a part of the steps, 0 to 1: {self.annealing}")


@dataclasses.dataclass(frozen=True)
class DerivativeMatching:
    r"""Fits the vector field to the slopes of the data, and solves nothing while it trains.

    .. math:: \min_\theta \sum_n |f(t_n, x_n; \theta) - \dot x_n|^2

    "Predict the change": what is learned is a rate, to be solved by any solver afterwards. As a
    mode it is the whole training; `Collocation` does the same before a fit of trajectories.

    `slopes`: "spline", of smoothing splines; or differences of neighbouring measurements,
    "forward" (of order 1), "central" (of order 2, at any times) or "richardson" (of order 4, at
    equal steps). Every unknown must be measured. `smoothing` of the splines, chosen by generalised
    cross-validation if None.

    Raises `DeclarationError` for other slopes.
    Source: Zhou and Barati Farimani, Predicting change, not states (2024), section 3; Varah (1982)
    for splines.
    """

    slopes: str = "spline"
    smoothing: float | None = None

    def __post_init__(self) -> None:
        if self.slopes not in SLOPES:
            known = ", ".join(map(repr, SLOPES))
            raise DeclarationError(f"slopes is one of {known}, not {self.slopes!r}")
        if self.smoothing is not None and not self.smoothing >= 0:
            raise DeclarationError(f"smoothing is 0 or more, not {self.smoothing}")


def refuse_options(mode: Any, **given: Any) -> None:
    """Raises `DeclarationError` for options of `fit` that mean nothing in a mode."""
    if surplus := [name for name, value in given.items() if value is not None]:
        kind = type(mode).__name__
        raise DeclarationError(
            f"{surplus[0]} means nothing with mode={kind}(...): leave {' and '.join(surplus)} out"
        )


def _refuse_counts(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise DeclarationError(f"{name} is a whole number, 1 or more, not {count!r}")


def _listed(channels: object) -> tuple:
    return tuple(channels) if isinstance(channels, list) else (channels,)
