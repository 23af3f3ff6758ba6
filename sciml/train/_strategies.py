"""Ways to lead a fit to its minimum: horizons, shooting, forcing, derivative matching."""

from __future__ import annotations

import dataclasses

from sciml.dsl import DeclarationError


@dataclasses.dataclass(frozen=True)
class GrowingHorizon:
    """Trains on the first part of each trajectory, then on more of it.

    `parts` are fractions of the time span, increasing to 1; the steps are shared equally.

    Raises `DeclarationError` for parts that do not.
    """

    parts: tuple[float, ...] = (0.25, 0.5, 1.0)

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in zip(self.parts, self.parts[1:], strict=False))
        if not self.parts or not increasing or self.parts[0] <= 0 or self.parts[-1] != 1:
            raise DeclarationError(f"parts of a growing horizon increase to 1, not {self.parts}")


@dataclasses.dataclass(frozen=True)
class MultipleShooting:
    """Cuts each trajectory into segments with free states at their starts, joined by a penalty.

    `segments` of (nearly) equally many measurements; `weight` of the squared gaps between them,
    relative to the squared residuals. Source: Bock and Plitt (1984), as a penalty.

    Raises `DeclarationError` for fewer than two segments, or a weight that is not positive.
    """

    segments: int = 5
    weight: float = 10.0

    def __post_init__(self) -> None:
        if self.segments < 2 or not self.weight > 0:
            raise DeclarationError(
                "multiple shooting needs 2 segments or more, and a positive weight"
            )


@dataclasses.dataclass(frozen=True)
class TeacherForcing:
    r"""Predicts from each measurement to the next, held to the data by a strength α in [0, 1].

    .. math:: \tilde z_n = (1 - \alpha) z_n + \alpha d_n, \qquad z_{n+1} = F(\tilde z_n)

    F solves the system from one time of the data to the next. With α = 0 this is the whole
    trajectory, with α = 1 each prediction begins at a measurement. In between, slopes do not grow
    along a chaotic trajectory, while errors are still seen over several steps.

    `strength` is α; or "auto", :math:`1 - 1/s` with s the geometric mean of the norms of the
    Jacobians of F along a trajectory (the largest, of several), at the parameters of each step; or
    "max", with s the largest of these norms, where no product of forced Jacobians exceeds 1. Both
    take the norms where the data are, which needs every unknown to be measured; with a number,
    those that are measured are forced. The loss of the fit, its polish and its standard errors are
    those of forced predictions; what is held out is not forced.

    Raises `DeclarationError` for another strength.
    Source: Hess, Monfared, Brenner and Durstewitz (2023), equations 7 to 13, without the smoothing
    of α from step to step.
    """

    strength: float | str = "auto"

    def __post_init__(self) -> None:
        given = self.strength
        if given not in ("auto", "max") and (isinstance(given, str) or not 0 <= given <= 1):
            raise DeclarationError(
                f'the strength of teacher forcing is in [0, 1], "auto" or "max", not {given!r}'
            )


@dataclasses.dataclass(frozen=True)
class Collocation:
    """Pre-training without solving: the vector field is matched to the slopes of smoothed data.

    `steps` and `learning_rate` of Adam; `smoothing`, the penalty of the smoothing spline (chosen by
    generalised cross-validation if None). Every unknown must be measured.
    Source: Varah (1982); Roesch, Rackauckas and Stumpf (2021).

    Raises `DeclarationError` for fewer than one step, a learning rate that is not positive, or a
    negative smoothing.
    """

    steps: int = 500
    learning_rate: float = 0.01
    smoothing: float | None = None

    def __post_init__(self) -> None:
        smooth = self.smoothing is None or self.smoothing >= 0
        if self.steps < 1 or not self.learning_rate > 0 or not smooth:
            raise DeclarationError(
                "collocation needs a step or more, a positive learning rate, and smoothing of 0 or "
                "more"
            )
