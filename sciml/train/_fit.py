"""The verb `fit`: parameters, initial values and networks of a system from data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from sciml.dsl import DeclarationError, FitError, Model, System, compile
from sciml.solvers import choose_controller, choose_solver, choose_tolerances

from ._collocation import pretrain as match_slopes, rate_scale, smooth
from ._data import Dataset, read_data
from ._loss import Likelihood, likelihood
from ._objective import Objective, build_objective, with_segments
from ._optimise import (
    Trace,
    default_optimiser,
    descend,
    polish as polished,
    standard_errors,
    whole_loss,
)
from ._result import Estimate, Fit
from ._space import Space, build_space
from ._strategies import Collocation, GrowingHorizon, MultipleShooting

_SMALL = 60  # free numbers up to which least squares and standard errors are the default


def fit(
    system: System | Model,
    data: Any,
    *,
    key: Array,
    free: Sequence[Any] | None = None,
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
    max_steps: int = 4096,
    progress: bool = True,
) -> Fit:
    """Fits a system to data: its parameters, initial values, and the networks in its equations.

    Arguments
      data: columns keyed by symbol, expression or name, with the times under ``t``; a mapping, a
        DataFrame, or a list of these (trajectories). Missing entries are NaN.
      key: of the random numbers that spread several starts.
      free: what is estimated: parameters, networks, and unknowns (meaning their initial values);
        by default all parameters and networks, and the initial values that are not given.
      loss: "normal", "lognormal", "poisson", or a function of predictions and data (mappings by
        column, NaN where nothing is to be compared) that returns a number.
      noise: standard deviation, or one for each column, where it is known.
      penalty: a function of the model, added to the loss.
      validation: a fraction of the time span, held out at its end, or further data; the model that
        is best on it is returned. `patience`: steps without a better one before stopping.
      steps, learning_rate, optimiser: of optax; Adam with a cosine schedule by default.
      polish: "lm" (Levenberg-Marquardt), "bfgs", None, or "auto": "lm" for few free numbers.
      strategy, pretrain: `GrowingHorizon` or `MultipleShooting`; `Collocation`.
      starts, spread: how many starts, in parallel, and how far they are spread (in transformed
        units; for networks relative to the spread of their weights).
      solver, rtol, atol, stepsize_controller, adjoint, max_steps: as for `solve`.
      progress: whether a progress bar is shown.

    Returns a `Fit`. Bounds of parameters are respected by transformation. Raises `DataError` for
    unusable data, `FitError` where nothing can be estimated or no finite loss was seen; a fit that
    diverged later says so in `notes` and holds the best state seen.

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
    measured = read_data(model, data, validation)
    space, point = build_space(model, free, _first_values(measured))
    _refuse_unknown_values(model, space)
    if starts < 1:
        raise FitError(f"starts is 1 or more, not {starts}")
    kind = likelihood(loss, measured, noise) if isinstance(loss, str) else loss
    tolerances = choose_tolerances(rtol, atol, model.dtype)
    controller = choose_controller(stepsize_controller, solver, *tolerances)
    objective = build_objective(
        model,
        measured,
        space,
        likelihood=kind,
        solver=choose_solver(solver, tolerances[0]),
        controller=controller,
        adjoint=dfx.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        max_steps=max_steps,
        penalty=penalty,
    )
    size = sum(leaf.size for leaf in jax.tree.leaves(point))
    method = _polishing(polish, objective, size)
    if steps is None:
        steps = 1000 if space.networks else 300
    optimiser = default_optimiser(learning_rate, steps) if optimiser is None else optimiser
    points = _spread_starts(point, starts, spread, key)
    if pretrain is not None:
        points = _pretrained(objective, measured, points, pretrain, learning_rate)
    points, trace = _train(
        objective, measured, points, optimiser, steps, strategy, patience, progress
    )
    chosen, value, held_out, start_losses = _best(objective, points, method, trace)
    options = {"solver": solver, "rtol": rtol, "atol": atol, "max_steps": max_steps}
    options["stepsize_controller"] = stepsize_controller
    fitted = space.assemble(chosen, model)
    return Fit(
        model=fitted,
        estimates=_estimates(objective, chosen, measured.count, size),
        loss=value,
        validation_loss=held_out,
        losses=trace.losses,
        validation_losses=trace.validation,
        start_losses=start_losses,
        data=measured,
        options=options,
        diverged=bool(np.any(~np.isfinite(trace.losses))),
        notes=tuple(trace.notes),
    )


def _first_values(data: Dataset) -> list[dict[str, Any]]:
    """For each trajectory the first measurement of each column, where it starts."""
    found = []
    for row in range(len(data.times)):
        first = {}
        for label, values in data.observed.items():
            known = np.all(np.isfinite(values[row]), axis=tuple(range(1, values[row].ndim)))
            if known.any():
                first[label] = values[row][np.argmax(known)]
        found.append(first)
    return found


def _refuse_unknown_values(model: Model, space: Space) -> None:
    for name, value in model.parameters.items():
        if name not in space.parameters and not np.all(np.isfinite(value)):
            raise FitError(
                f"parameter {name} has no value and is not estimated: give values={{{name}: ...}}"
            )


def _polishing(polish: str | None, objective: Objective, size: int) -> str | None:
    least_squares = isinstance(objective.likelihood, Likelihood) and (
        objective.likelihood.kind != "poisson" and objective.penalty is None
    )
    if polish == "auto":
        if size > _SMALL or objective.space.networks:
            return None
        return "lm" if least_squares else "bfgs"
    if polish not in (None, "lm", "bfgs"):
        raise FitError(f'polish is "auto", "lm", "bfgs" or None, not {polish!r}')
    if polish == "lm" and not least_squares:
        raise FitError('polish="lm" needs a loss that is a sum of squares: use "bfgs" here')
    return polish


def _spread_starts(point: PyTree, starts: int, spread: float, key: Array) -> PyTree:
    """Copies of the start along a leading axis, all but the first moved at random."""
    leaves, structure = jax.tree.flatten(point)
    if starts == 1:
        return jax.tree.map(lambda leaf: leaf[None], point)
    moved = []
    for leaf, one in zip(leaves, jax.random.split(key, max(len(leaves), 1)), strict=False):
        noise = jax.random.normal(one, (starts, *leaf.shape), leaf.dtype).at[0].set(0.0)
        size = jnp.where(leaf.size > 1, jnp.std(leaf), 1.0).astype(leaf.dtype)
        moved.append(leaf[None] + spread * size * noise)
    return jax.tree.unflatten(structure, moved)


def _pretrained(
    objective: Objective, data: Dataset, points: PyTree, strategy: Collocation, rate: float
) -> PyTree:
    logarithms = isinstance(objective.likelihood, Likelihood) and (
        objective.likelihood.kind == "lognormal"
    )
    slopes = smooth(objective.model, data, strategy, logarithms)
    scale = rate_scale(objective.model, data, slopes)
    optimiser = default_optimiser(rate, strategy.steps)
    count = jax.tree.leaves(points)[0].shape[0]
    trained = [
        match_slopes(
            objective.model,
            objective.space,
            jax.tree.map(lambda leaf, i=i: leaf[i], points),
            slopes,
            optimiser,
            scale,
            strategy.steps,
        )
        for i in range(count)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trained)


def _train(
    objective: Objective,
    data: Dataset,
    points: PyTree,
    optimiser: optax.GradientTransformation,
    steps: int,
    strategy: GrowingHorizon | MultipleShooting | None,
    patience: int | None,
    progress: bool,
) -> tuple[PyTree, Trace]:
    horizons: tuple[float, ...] = (1.0,)
    if isinstance(strategy, GrowingHorizon):
        horizons = strategy.parts
    shooting = isinstance(strategy, MultipleShooting)
    if isinstance(strategy, MultipleShooting):
        objective, starts = with_segments(objective, strategy, data)
        count = jax.tree.leaves(points)[0].shape[0]
        points = {**points, "segments": jnp.broadcast_to(starts, (count, *starts.shape))}
    best, score, trace = descend(
        objective,
        points,
        optimiser=optimiser,
        steps=steps,
        horizons=horizons,
        patience=patience,
        progress=progress,
    )
    if steps and not bool(jnp.any(jnp.isfinite(score))):
        raise FitError(
            "no step had a finite loss: the model cannot be solved at the start. Try other "
            "guesses, tighter bounds, GrowingHorizon() or MultipleShooting()"
        )
    if shooting:
        best = {k: v for k, v in best.items() if k != "segments"}
    return best, trace


def _best(
    objective: Objective, points: PyTree, method: str | None, trace: Trace
) -> tuple[PyTree, float, float, np.ndarray]:
    """The best start after polishing: its point, losses, and the losses of all starts."""
    count = jax.tree.leaves(points)[0].shape[0]
    held_out = bool(np.any(objective.validation))
    found = []
    for i in range(count):
        point = jax.tree.map(lambda leaf, i=i: leaf[i], points)
        value, validation = (float(v) for v in whole_loss(objective, point))
        if method is not None:
            finer = polished(objective, point, method=method)
            new_value, new_validation = (float(v) for v in whole_loss(objective, finer))
            better = new_validation < validation if held_out else new_value < value
            if better or not np.isfinite(value):
                point, value, validation = finer, new_value, new_validation
        found.append((point, value, validation))
    scores = np.array([v if held_out else x for _, x, v in found])
    scores = np.where(np.isfinite(scores), scores, np.inf)
    if not np.any(np.isfinite(scores)):
        raise FitError(
            "the fit diverged: no start has a finite loss over whole trajectories. Try other "
            "guesses, tighter bounds, GrowingHorizon() or MultipleShooting()"
        )
    point, value, validation = found[int(np.argmin(scores))]
    return point, value, validation, np.array([x for _, x, _ in found])


def _estimates(objective: Objective, point: PyTree, count: int, size: int) -> dict[str, Estimate]:
    """Fitted values with standard errors, carried over from z by the slope of the transformation."""
    space = objective.space
    errors = None
    if size <= _SMALL and not space.networks and isinstance(objective.likelihood, Likelihood):
        errors = standard_errors(objective, point, count)
    natural = space.natural(point)
    symbols = {p.name: p for p in objective.model.program.parameters}
    estimates = {}
    for group, coordinates in (("parameters", space.parameters), ("initial", space.initial)):
        for name, coordinate in coordinates.items():
            z = point[group][name] if group == "parameters" else point[group][name][0]
            label = name if group == "parameters" else f"{name}(t0)"
            slope = np.asarray(jax.jvp(coordinate.value, (z,), (jnp.ones_like(z),))[1])
            error = np.full(z.shape, np.nan)
            if errors is not None:
                spread = errors[group][name] if group == "parameters" else errors[group][name][0]
                error = np.abs(slope) * np.asarray(spread)
            unit = getattr(symbols.get(name), "unit", None) or ""
            value = np.asarray(natural[label])
            estimates[label] = Estimate(label, value[()], error[()], unit)
    return estimates
