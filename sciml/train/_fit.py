"""The verb `fit`: parameters, initial values and networks of a system from data."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import optax
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, System, compile, refuse_algebraic
from sciml.nn import Stepping
from sciml.solvers import (
    choose_adjoint,
    choose_controller,
    choose_solver,
    choose_tolerances,
    first_step,
    read_costs,
    with_tolerances_of,
)

from ._adversarial import Adversarial
from ._adversarial_fit import fit_adversarial
from ._data import read_data
from ._forcing import build_forcing
from ._loss import build_loss
from ._modes import Classification, DerivativeMatching, Regression, Variational, refuse_options
from ._objective import build_objective, state_scale
from ._optimise import default_optimiser
from ._series_fit import fit_series
from ._signature_fit import SignatureRegression, fit_signature
from ._space import build_space
from ._strategies import Collocation, GrowingHorizon, MultipleShooting, TeacherForcing
from ._train import (
    Plan,
    choose_polish,
    choose_pretraining,
    match_slopes,
    pretrained,
    report,
    spread_starts,
    train,
)

SERIES = Classification | Regression | Variational | Adversarial  # modes that learn from these
Mode = SERIES | DerivativeMatching

_FEW = 60  # free numbers up to which derivatives are taken in forward mode, and LM is the default


def fit(
    system: Any,
    data: Any,
    *,
    key: Array,
    mode: Any = None,
    free: Any = None,
    initial: Any = None,
    t0: Any = None,
    loss: str | Callable = "normal",
    noise: Any = None,
    penalty: Callable[[Model], Array] | None = None,
    regularise: Any = None,
    validation: Any = None,
    patience: int | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    optimiser: optax.GradientTransformation | None = None,
    polish: str | None = "auto",
    strategy: GrowingHorizon | MultipleShooting | TeacherForcing | None = None,
    pretrain: Collocation | str | None = "auto",
    starts: int = 1,
    spread: float = 0.3,
    solver: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    adjoint: Any = None,
    max_steps: int | None = 4096,
    progress: bool = True,
) -> Any:
    """Fits a system to data: its parameters, initial values, and the networks in its equations.

    Arguments
      system: what to fit; a fitted model too, to go on from (``fit(fitted.model, ...)``). With a
        mode that learns from series also an Equinox module, of `sciml.nn` or the user's own, which
        maps ``(times, values, key=key)`` of one series to outputs. A `SignatureRegression`, which
        takes no option but the key.
      data: columns keyed by symbol, expression or name, with the times under ``t``; a mapping, a
        DataFrame, or a list of these (trajectories, which may differ in times and columns); or a
        `data.Series`. Columns have the shape (time, ...); missing entries are NaN.
      key: of the random numbers that spread several starts, and of those of a mode.
      mode: what is compared with the data. By default trajectories are; `DerivativeMatching`
        compares slopes. Those that learn from a `data.Series`, in steps over random batches, are
        `Classification`, `Regression`, `Variational` and `Adversarial`. In the first two, a system
        that the series drives through its one control is read out as `sciml.nn.Readout` says.
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
      regularise: `solver_cost` or `taylor_cost`, or a tuple of several: the mean over trajectories
        of what their solves cost, times its weight, is added to the loss. In a mode that learns
        from series, of the latent path of a `LatentODE`.
      validation: a fraction of the time span, held out at its end, or further data; the model that
        is best on it is returned. Initial values of further data are not trained. In a mode that
        learns from series, a share of these, or another `data.Series`.
      patience: steps without a better one (on the validation data, if any) before stopping.
      steps, learning_rate, optimiser: of optax; by default 300 steps of Adam (1000 with networks)
        with clipped gradients, the learning rate falling from 0.01 (0.003 with networks) to a
        hundredth of it along a cosine.
      polish: "lm" (Levenberg-Marquardt; also worth trying for networks of a few hundred weights),
        "bfgs", None, or "auto": "lm" for least squares and "bfgs" for other losses, where there are
        at most 60 free numbers and no network.
      strategy: `GrowingHorizon`, `MultipleShooting` or, for what is chaotic, `TeacherForcing`,
        where plain descent gets stuck.
      pretrain: `Collocation`, None, or "auto": collocation where there are networks and every
        unknown is measured. It is kept where it betters the loss.
      starts, spread: how many starts, in parallel, and how far they are spread: by so much of the
        logarithm, of the size, or of the spread of a network's weights.
      solver, rtol, atol, stepsize_controller, dt0, adjoint, max_steps: as for `solve`; by default
        derivatives are taken forward for at most 60 free numbers, and backward for more; with
        networks rtol is 1e-4 and atol 1e-6.
      progress: whether a progress bar is shown.

    Returns a `Fit`; a `SeriesFit` in a mode that learns from series, and a `SignatureFit` of a
    `SignatureRegression`. Bounds of parameters and of initial values are respected by
    transformation.
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
    if isinstance(system, SignatureRegression):
        _refuse_given(dict(locals()), "a SignatureRegression")
        return fit_signature(system, data, key=key)
    _refuse(starts=starts, steps=steps, patience=patience, learning_rate=learning_rate)
    _refuse_types(optimiser, strategy, mode)
    if isinstance(mode, SERIES):
        trajectories = {
            "initial": initial,
            "t0": t0,
            "noise": noise,
            "strategy": strategy,
            "loss": None if loss == "normal" else loss,
            "polish": None if polish == "auto" else polish,
            "pretrain": None if pretrain == "auto" else pretrain,
            "starts": None if starts == 1 else starts,
        }
        refuse_options(mode, **trajectories)
        course = {"key": key, "steps": 1000 if steps is None else steps, "progress": progress}
        solving = {
            "solver": solver,
            "rtol": rtol,
            "atol": atol,
            "stepsize_controller": stepsize_controller,
            "dt0": dt0,
            "adjoint": adjoint,
        }
        if isinstance(mode, Adversarial):
            others = {
                "regularise": regularise,
                "free": free,
                "penalty": penalty,
                "validation": validation,
                "patience": patience,
                "learning_rate": learning_rate,
                "optimiser": optimiser,
            }
            refuse_options(mode, **others, **solving)
            return fit_adversarial(system, data, mode, **course)
        if optimiser is None:
            rate = 0.003 if learning_rate is None else learning_rate
            optimiser = default_optimiser(rate, course["steps"])
        given = any(option is not None for option in solving.values())
        return fit_series(
            system,
            data,
            mode,
            free=free,
            validation=validation,
            penalty=penalty,
            optimiser=optimiser,
            patience=patience,
            stepping=Stepping(**solving, max_steps=max_steps) if given else None,
            costs=read_costs(regularise),
            **course,
        )
    model = compile(system) if isinstance(system, System) else system
    if not isinstance(model, Model):
        raise DeclarationError(
            f"fit takes a System or a Model, not {type(system).__name__}; a module learns from "
            "series in a mode, fit(..., mode=Classification())"
        )
    if model.program.noise is not None:
        raise DeclarationError(
            "fit compares a solution with data, and a system with noise has one for every path: "
            "minimise a loss over paths, jax.grad of jax.vmap over keys of sm.solve(..., key=key); "
            "or learn from series that drive it, fit(..., mode=Classification())"
        )
    if isinstance(strategy, MultipleShooting | TeacherForcing):
        name = f"strategy={type(strategy).__name__}()"
        refuse_algebraic(model, name, "leave strategy out, or take GrowingHorizon()")
    measured = read_data(model, data, validation, t0)
    space, point = build_space(model, measured, free, initial)
    likelihood = build_loss(loss, measured, noise, model.dtype)
    costs = read_costs(regularise)
    if costs and (isinstance(strategy, TeacherForcing) or mode is not None):
        other = type(strategy if mode is None else mode).__name__
        raise DeclarationError(f"regularise is of solves of trajectories: leave {other} out")
    size = sum(leaf.size for leaf in jax.tree.leaves(point))
    if space.networks:  # whose training needs many solves more than their last digits
        rtol, atol = 1e-4 if rtol is None else rtol, 1e-6 if atol is None else atol
    tolerances = choose_tolerances(rtol, atol, model.dtype)
    controller = choose_controller(stepsize_controller, solver, *tolerances)
    chosen = with_tolerances_of(choose_solver(solver, tolerances[0], model), controller)
    forward = adjoint is None and size <= _FEW
    objective = build_objective(
        model,
        measured,
        space,
        likelihood=likelihood,
        penalty=penalty,
        solver=chosen,
        controller=controller,
        dt0=first_step(dt0, controller, model.dtype),
        adjoint=dfx.ForwardMode() if forward else choose_adjoint(adjoint),
        max_steps=max_steps,
        costs=costs,
        key=jax.random.fold_in(key, 1),
    )
    if isinstance(strategy, TeacherForcing):
        scale = state_scale(model, measured)
        forcing = build_forcing(model, measured, strategy, scale)
        objective = dataclasses.replace(objective, forcing=forcing)
    if steps is None:
        steps = 1000 if space.networks else 300
    if learning_rate is None:
        learning_rate = 0.003 if space.networks else 0.01
    plan = Plan(
        optimiser=default_optimiser(learning_rate, steps) if optimiser is None else optimiser,
        steps=steps,
        strategy=strategy,
        patience=patience,
        polish=choose_polish(polish, objective, few=size <= _FEW),
        progress=progress,
    )
    points = spread_starts(point, starts, spread, key)
    if mode is not None:
        refuse_options(mode, strategy=strategy, pretrain=None if pretrain == "auto" else pretrain)
        outcome = match_slopes(objective, measured, points, plan, mode)
    else:
        collocation = choose_pretraining(pretrain, objective, measured)
        if collocation is not None:
            points = pretrained(objective, measured, points, collocation, progress)
        outcome = train(objective, measured, points, plan)
    options = {"solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps, "dt0": dt0}
    return report(
        objective,
        measured,
        outcome,
        few=size <= _FEW,
        known_noise=noise is not None or loss == "poisson",
        options={**options, "stepsize_controller": stepsize_controller},
    )


def _refuse_given(options: dict[str, Any], what: str) -> None:
    """Raises `DeclarationError` where an option of `fit` is not what it is by default."""
    usual = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
    taken = ("system", "data", "key", "progress")
    if surplus := [n for n, value in options.items() if n not in taken and value is not usual[n]]:
        raise DeclarationError(f"{what} takes no options but the key: leave {surplus[0]} out")


def _refuse(
    *, starts: int, steps: int | None, patience: int | None, learning_rate: float | None
) -> None:
    if starts < 1:
        raise DeclarationError(f"starts is 1 or more, not {starts}")
    if steps is not None and steps < 0:
        raise DeclarationError(f"steps is 0 or more, not {steps}")
    if patience is not None and patience < 1:
        raise DeclarationError(f"patience is 1 step or more, not {patience}")
    if learning_rate is not None and not learning_rate > 0:
        raise DeclarationError(f"learning_rate is positive, not {learning_rate}")


def _refuse_types(optimiser: Any, strategy: Any, mode: Any) -> None:
    if not isinstance(mode, Mode | None):
        given = f"the class {mode.__name__}" if isinstance(mode, type) else type(mode).__name__
        raise DeclarationError(
            "mode is Classification(), Regression(), Variational(), Adversarial() or "
            f"DerivativeMatching(), not {given}"
        )
    if not isinstance(optimiser, optax.GradientTransformation | None):
        kind = type(optimiser).__name__
        raise DeclarationError(f"optimiser is one of optax's, such as optax.adam(1e-3), not {kind}")
    if not isinstance(strategy, GrowingHorizon | MultipleShooting | TeacherForcing | None):
        kind = type(strategy).__name__
        raise DeclarationError(
            f"strategy is GrowingHorizon(), MultipleShooting() or TeacherForcing(), not {kind}"
        )
