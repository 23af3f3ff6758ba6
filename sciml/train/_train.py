"""The course of a fit: starts, pre-training, descent, polishing, and what is reported."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from sciml.dsl import DeclarationError, FitError, SolveError
from sciml.solvers import solve

from ._collocation import can_match, matching
from ._data import Dataset
from ._loss import Custom, Likelihood
from ._modes import DerivativeMatching
from ._objective import Look, Objective, look, look_at_all, state_scale
from ._optimise import Trace, default_optimiser, descend
from ._polish import polish
from ._result import Estimate, Fit
from ._shooting import cut, segment_starts, without_segments
from ._strategies import Collocation, GrowingHorizon, MultipleShooting, TeacherForcing
from ._uncertainty import natural_errors, standard_errors

_CURE = "try other guesses, tighter bounds, GrowingHorizon(), MultipleShooting() or Collocation()"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a fit is led: the optimiser and its steps, the strategy, and what follows."""

    optimiser: optax.GradientTransformation
    steps: int
    strategy: GrowingHorizon | MultipleShooting | TeacherForcing | None
    patience: int | None
    polish: str | None
    progress: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The best point of a fit, its losses, the training losses of all starts, and the course."""

    point: PyTree
    loss: float
    validation: float
    start_losses: np.ndarray
    trace: Trace


def choose_polish(polish: str | None, objective: Objective, *, few: bool) -> str | None:
    """The method of polishing for an option of `fit`."""
    squares = isinstance(objective.likelihood, Likelihood) and (
        objective.likelihood.kind != "poisson" and objective.penalty is None and not objective.costs
    )
    if polish == "auto":
        if not few or objective.space.networks:
            return None
        return "lm" if squares else "bfgs"
    if polish not in (None, "lm", "bfgs"):
        raise DeclarationError(f'polish is "auto", "lm", "bfgs" or None, not {polish!r}')
    if polish == "lm" and not squares:
        raise DeclarationError('polish="lm" needs a loss that is a sum of squares: use "bfgs" here')
    return polish


def spread_starts(point: PyTree, starts: int, spread: float, key: Array) -> PyTree:
    """Copies of the start along a leading axis, all but the first moved at random."""
    if starts == 1:
        return jax.tree.map(lambda leaf: leaf[None], point)
    leaves, structure = jax.tree.flatten(point)
    networks = len(jax.tree.leaves(point["networks"]))
    first = len(leaves) - networks - len(point["parameters"])  # leaves come in the order of keys
    moved = []
    for number, (leaf, one) in enumerate(
        zip(leaves, jax.random.split(key, len(leaves)), strict=True)
    ):
        noise = jax.random.normal(one, (starts, *leaf.shape), leaf.dtype).at[0].set(0.0)
        weights = first <= number < first + networks
        size = np.std(np.asarray(leaf)) if weights and leaf.size > 1 else 1.0
        moved.append(leaf[None] + jnp.asarray(spread * size, leaf.dtype) * noise)
    return jax.tree.unflatten(structure, moved)


def choose_pretraining(
    pretrain: Collocation | str | None, objective: Objective, data: Dataset
) -> Collocation | None:
    """The pre-training for an option of `fit`."""
    if pretrain == "auto":
        wanted = bool(objective.space.networks) and can_match(objective.model, data)
        return Collocation() if wanted else None
    if pretrain is not None and not isinstance(pretrain, Collocation):
        raise DeclarationError(f'pretrain is Collocation(), "auto" or None, not {pretrain!r}')
    return pretrain


def pretrained(
    objective: Objective, data: Dataset, points: PyTree, strategy: Collocation, progress: bool
) -> PyTree:
    """The starts after derivative matching, where that betters the loss."""
    best, _ = descend(
        matching(objective.model, data, objective.space, strategy, _in_logarithms(objective)),
        points,
        optimiser=default_optimiser(strategy.learning_rate, strategy.steps),
        steps=strategy.steps,
        progress=progress,
        label="collocation",
    )
    whole = jnp.ones((), objective.times.dtype)
    before, after = (look_at_all(objective, p, whole).loss for p in (points, best.point))
    better = np.asarray(after) < np.nan_to_num(np.asarray(before), nan=np.inf)

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(pick, best.point, points)


def _in_logarithms(objective: Objective) -> bool:
    """Whether the logarithms of measurements are compared."""
    kind = objective.likelihood
    return isinstance(kind, Likelihood) and kind.kind == "lognormal"


def match_slopes(
    objective: Objective, data: Dataset, points: PyTree, plan: Plan, mode: DerivativeMatching
) -> Outcome:
    """The best of the starts after derivative matching alone, seen over whole trajectories.

    Raises `FitError` where no finite loss was seen.
    """
    course = matching(objective.model, data, objective.space, mode, _in_logarithms(objective))
    best, trace = descend(
        course,
        points,
        optimiser=plan.optimiser,
        steps=plan.steps,
        patience=plan.patience,
        progress=plan.progress,
    )
    if plan.steps and not np.any(np.isfinite(best.score)):
        raise FitError(
            "no step had a finite loss: the vector field is infinite or not a number where the "
            f"data are; {_CURE}"
        )
    point = _row(best.point, int(np.nanargmin(np.asarray(best.score))))
    seen = look(objective, point, jnp.ones((), objective.times.dtype))
    if not np.isfinite(float(seen.loss)):
        trace.notes.append(
            "diverged: the slopes are matched, but trajectories of the fitted model have no finite "
            "loss; look at fitted.solve, and at a fit without mode that starts from fitted.model"
        )
    scores = np.asarray(best.score, float)
    return Outcome(point, float(seen.loss), float(seen.validation), scores, trace)


def train(objective: Objective, data: Dataset, points: PyTree, plan: Plan) -> Outcome:
    """Leads a fit through its strategy, and returns the best of its starts.

    Raises `FitError` where no finite loss was seen.
    """
    course = objective
    if isinstance(plan.strategy, MultipleShooting):
        course, points = _shooting(objective, data, points, plan.strategy)
    best, trace = descend(
        course,
        points,
        optimiser=plan.optimiser,
        steps=plan.steps,
        horizons=plan.strategy.parts if isinstance(plan.strategy, GrowingHorizon) else (1.0,),
        patience=plan.patience,
        progress=plan.progress,
    )
    if plan.steps and not np.any(np.isfinite(best.score)):
        raise FitError(f"no step had a finite loss: {_why(objective, points)}; {_CURE}")
    found = [
        _finished(objective, course, _row(best.point, i), plan.polish)
        for i in range(len(best.score))
    ]
    losses = np.array([float(seen.loss) for _, seen in found])
    scores = np.array([_score(objective, seen) for _, seen in found])
    if not np.any(np.isfinite(scores)):
        raise FitError(
            "the fit has no finite loss over whole trajectories: "
            f"{_why(objective, points)}; {_CURE}"
        )
    point, seen = found[int(np.argmin(scores))]
    return Outcome(point, float(seen.loss), float(seen.validation), losses, trace)


def _shooting(
    objective: Objective, data: Dataset, points: PyTree, strategy: MultipleShooting
) -> tuple[Objective, PyTree]:
    """The objective of multiple shooting, and the starts with those of its segments."""
    segments = cut(objective.model, data, strategy, state_scale(objective.model, data))
    count = jax.tree.leaves(points)[0].shape[0]
    inner = []
    for i in range(count):
        point, rows = _row(points, i), range(len(data.times))
        models = [objective.space.assemble(point, objective.model, row) for row in rows]
        inner.append(segment_starts(models, data, segments))
    course = dataclasses.replace(objective, segments=segments)
    return course, {**points, "segments": jnp.stack(inner)}


def _finished(
    objective: Objective, course: Objective, point: PyTree, method: str | None
) -> tuple[PyTree, Look]:
    """A point after polishing (where that is better), seen over whole trajectories."""
    whole = jnp.ones((), objective.times.dtype)
    forward = _forward(objective)
    watched = forward if method == "lm" else objective
    candidates = [without_segments(point)]
    if method == "lm" and course is not objective:
        candidates.append(without_segments(polish(_forward(course), point, method="lm")))
    seen = [look(watched, one, whole) for one in candidates]
    if method is not None:
        start = candidates[_smallest(objective, seen)]
        candidates.append(polish(watched, start, method=method))
        seen.append(look(watched, candidates[-1], whole))
    chosen = _smallest(objective, seen)
    return candidates[chosen], seen[chosen]


def _forward(objective: Objective) -> Objective:
    """The objective with derivatives in forward mode."""
    if objective.forward:
        return objective
    return eqx.tree_at(lambda o: o.adjoint, objective, dfx.ForwardMode())


def _smallest(objective: Objective, seen: list[Look]) -> int:
    return int(np.argmin([_score(objective, one) for one in seen]))


def _score(objective: Objective, seen: Look) -> float:
    score = float(seen.validation if objective.held_out else seen.loss)
    return score if np.isfinite(score) and np.isfinite(float(seen.loss)) else np.inf


def _why(objective: Objective, points: PyTree) -> str:
    """Why there is no finite loss at the first start, in the words of `solve`."""
    point = without_segments(_row(points, 0))
    for row, times in enumerate(np.asarray(objective.times)):
        model = objective.space.assemble(point, objective.model, row)
        span = (float(objective.starts[row]), float(times[-1]))
        try:
            solve(
                model,
                span,
                solver=objective.solver,
                stepsize_controller=objective.controller,
                dt0=objective.dt0,
                max_steps=objective.max_steps,
            )
        except SolveError as error:
            return f"at the start, {error}"
    if isinstance(objective.likelihood, Custom):
        return (
            "the loss function returns no finite number (use jnp.nanmean: missing entries are NaN)"
        )
    return "the predictions are finite at the start, their loss or its slope is not"


def _row(tree: PyTree, number: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[number], tree)


def report(
    objective: Objective,
    data: Dataset,
    outcome: Outcome,
    *,
    few: bool,
    known_noise: bool,
    options: dict[str, Any],
) -> Fit:
    """The `Fit` of an outcome, with standard errors where the problem is small enough."""
    space, point, notes = objective.space, outcome.point, list(outcome.trace.notes)
    errors = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), point)
    plain = objective.penalty is None and not objective.costs
    if few and isinstance(objective.likelihood, Likelihood) and plain:
        seen = look(_forward(objective), point, jnp.ones((), objective.times.dtype))
        errors, note = standard_errors(point, seen, count=data.count, known_noise=known_noise)
        notes += [note] if note else []
    rows = range(len(data.times))
    models = [space.assemble(point, objective.model, row) for row in rows]
    absolute = objective.model.program.initial_expressions
    names = [s.name for s in objective.model.states if s.name not in absolute]
    return Fit(
        model=models[0],
        estimates=_estimates(objective, point, errors),
        free=(*space.parameters, *space.initial, *space.networks),
        loss=outcome.loss,
        validation_loss=outcome.validation,
        losses=outcome.trace.losses,
        validation_losses=outcome.trace.validation,
        start_losses=outcome.start_losses,
        evaluations=outcome.trace.evaluations,
        initial=tuple({name: m.initial_value(name) for name in names} for m in models),
        data=data,
        options=options,
        diverged=any(note.startswith("diverged") for note in notes),
        notes=tuple(notes),
    )


def _estimates(objective: Objective, point: PyTree, errors: PyTree) -> dict[str, Estimate]:
    program = objective.model.program
    symbols = {p.name: p for p in program.parameters}
    symbols |= {f"{s.name}(t0)": s.symbol for s in program.states}
    single = len(objective.times) == 1
    estimates = {}
    for label, (value, error) in natural_errors(objective.space, point, errors).items():
        if single and label.endswith("(t0)"):
            value, error = value[0], error[0]
        unit = getattr(symbols[label], "unit", None) or ""
        bounds = getattr(symbols[label], "bounds", None)
        estimates[label] = Estimate(label, value[()], error[()], unit, bounds)
    return estimates
