"""The verb `fit`: parameters, initial values and networks of a system from data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import optax
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, System, compile
from sciml.solvers import choose_controller, choose_solver, choose_tolerances

from ._data import read_data
from ._loss import build_loss
from ._objective import build_objective
from ._optimise import default_optimiser
from ._result import Fit
from ._space import build_space
from ._strategies import Collocation, GrowingHorizon, MultipleShooting
from ._train import Plan, choose_polish, pretrained, report, spread_starts, train

_FEW = 60  # free numbers up to which derivatives are taken in forward mode, and LM is the default


def fit(
    system: System | Model,
    data: Any,
    *,
    key: Array,
    free: Any = None,
    initial: Any = None,
    t0: Any = None,
    loss: str | Callable = "normal",
    noise: Any = None,
    penalty: Callable[[Model], Array] | None = None,
    validation: Any = None,
    patience: int | None = None,
    steps: int | None = None,
    learning_rate: float = 0.01,
    optimiser: optax.GradientTransformation | None = None,
    polish: str | None = "auto",
    strategy: GrowingHorizon | MultipleShooting | None = None,
    pretrain: Collocation | None = None,
    starts: int = 1,
    spread: float = 0.3,
    solver: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    stepsize_controller: Any = None,
    adjoint: Any = None,
    max_steps: int | None = 4096,
    progress: bool = True,
) -> Fit:
    """Fits a system to data: its parameters, initial values, and the networks in its equations.

    Arguments
      system: what to fit; a fitted model too, to go on from (``fit(fitted.model, ...)``).
      data: columns keyed by symbol, expression or name, with the times under ``t``; a mapping, a
        DataFrame, or a list of these (trajectories, which may differ in times and columns).
        Columns have the shape (time, ...); missing entries are NaN.
      key: of the random numbers that spread several starts.
      free: what is estimated: parameters, networks, and unknowns (meaning their initial values, in
        each trajectory its own); by default all parameters and networks. Initial values that are
        not given are estimated in any case, from the first measurement on.
      initial: initial values, ``{x: 1.0}``, or a list of these, one for each trajectory.
      t0: when the initial values hold, one time or one for each trajectory; by default the first
        time of each.
      loss: "normal" (least squares in units of the noise), "lognormal" (of logarithms), "poisson"
        (counts), or a function of predictions and measurements, both mappings by column with NaN
        in the measurements where nothing is to be compared, that returns a number.
      noise: standard deviation (of the logarithm, for "lognormal"), or one for each column, where
        it is known; otherwise columns count in units of their spread.
      penalty: a function of the model that returns a number, added to the mean loss.
      validation: a fraction of the time span, held out at its end, or further data; the model that
        is best on it is returned. Initial values of further data are not trained.
      patience: steps without a better one (on the validation data, if any) before stopping.
      steps, learning_rate, optimiser: of optax; by default 300 steps (1000 with networks) of Adam
        with clipped gradients, the learning rate falling to a hundredth along a cosine.
      polish: "lm" (Levenberg-Marquardt), "bfgs", None, or "auto": "lm" for least squares and
        "bfgs" for other losses, where there are at most 60 free numbers and no network.
      strategy, pretrain: `GrowingHorizon` or `MultipleShooting`; `Collocation`.
      starts, spread: how many starts, in parallel, and how far they are spread: by so much of the
        logarithm, of the size, or of the spread of a network's weights.
      solver, rtol, atol, stepsize_controller, adjoint, max_steps: as for `solve`; by default
        derivatives are taken forward for at most 60 free numbers, and backward for more.
      progress: whether a progress bar is shown.

    Returns a `Fit`. Bounds of parameters and of initial values are respected by transformation.
    Raises `DataError` for unusable data, `DeclarationError` for options that make no sense, and
    `FitError` where there is nothing to estimate or to start from, or no finite loss was seen; a
    fit that diverged later says so in `notes` and holds the best state seen.

    >>> import jax, sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k", guess=1.0, bounds=(0, None))
    >>> decay = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
    >>> data = {sm.t: [0, 1, 2], x: [1, 0.61, 0.37]}
    >>> fitted = sm.fit(decay, data, key=jax.random.key(0), progress=False)
    >>> round(float(fitted[k]), 2)
    0.5
    """
    model = compile(system) if isinstance(system, System) else system
    if not isinstance(model, Model):
        raise DeclarationError(f"fit takes a System or a Model, not {type(system).__name__}")
    _refuse(starts=starts, steps=steps, patience=patience, learning_rate=learning_rate)
    measured = read_data(model, data, validation, t0)
    space, point = build_space(model, measured, free, initial)
    likelihood = build_loss(loss, measured, noise, model.dtype)
    size = sum(leaf.size for leaf in jax.tree.leaves(point))
    tolerances = choose_tolerances(rtol, atol, model.dtype)
    objective = build_objective(
        model,
        measured,
        space,
        likelihood=likelihood,
        penalty=penalty,
        solver=choose_solver(solver, tolerances[0]),
        controller=choose_controller(stepsize_controller, solver, *tolerances),
        adjoint=_choose_adjoint(adjoint, size),
        max_steps=max_steps,
    )
    if steps is None:
        steps = 1000 if space.networks else 300
    plan = Plan(
        optimiser=default_optimiser(learning_rate, steps) if optimiser is None else optimiser,
        steps=steps,
        strategy=strategy,
        patience=patience,
        polish=choose_polish(polish, objective, few=size <= _FEW),
        progress=progress,
    )
    points = spread_starts(point, starts, spread, key)
    if pretrain is not None:
        points = pretrained(objective, measured, points, pretrain, learning_rate, progress)
    outcome = train(objective, measured, points, plan)
    options = {"solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    return report(
        objective,
        measured,
        outcome,
        few=size <= _FEW,
        known_noise=noise is not None or loss == "poisson",
        options={**options, "stepsize_controller": stepsize_controller},
    )


def _refuse(
    *, starts: int, steps: int | None, patience: int | None, learning_rate: float
) -> None:
    if starts < 1:
        raise DeclarationError(f"starts is 1 or more, not {starts}")
    if steps is not None and steps < 0:
        raise DeclarationError(f"steps is 0 or more, not {steps}")
    if patience is not None and patience < 1:
        raise DeclarationError(f"patience is 1 step or more, not {patience}")
    if not learning_rate > 0:
        raise DeclarationError(f"learning_rate is positive, not {learning_rate}")


def _choose_adjoint(adjoint: Any, size: int) -> dfx.AbstractAdjoint:
    if adjoint is None:
        return dfx.ForwardMode() if size <= _FEW else dfx.RecursiveCheckpointAdjoint()
    if not isinstance(adjoint, dfx.AbstractAdjoint):
        raise DeclarationError(
            "adjoint is one of Diffrax's, such as diffrax.RecursiveCheckpointAdjoint(), not "
            f"{type(adjoint).__name__}"
        )
    return adjoint
