"""Ways to lead a fit to its minimum: growing horizon, multiple shooting, derivative matching."""

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
