"""Fits of modules to batches of series, and what they return."""

from __future__ import annotations

import dataclasses
import html
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from sciml.data import Series
from sciml.dsl import (
    DataError,
    DeclarationError,
    Model,
    SolveError,
    System,
    table_html,
    table_text,
)
from sciml.nn import Readout, Stepping
from sciml.solvers import SolverCost, axes

from ._adversarial import Adversarial
from ._batches import Batch, Mode, Reader, as_series, make_reader
from ._modes import Classification, Variational
from ._series_train import (
    Learning,
    chunks,
    look,
    train_batches,
)
from ._weights import size_of, weights_of


@dataclasses.dataclass(frozen=True, repr=False)
class SeriesFit:
    """A module that was fitted to a batch of series.

    Fields: `module`, with the fitted leaves; `mode`; `reader`, how series become what the module
    reads; `loss`, the mean over the training series; `validation_loss`, of held-out ones (NaN
    without); `losses` of each step; `watched` and `validation_losses`, the steps at which held-out
    series were looked at, and the losses there; `size`, how many numbers were trained; `notes`.
    """

    module: Any
    mode: Mode
    reader: Reader
    loss: float
    validation_loss: float
    losses: np.ndarray
    watched: np.ndarray
    validation_losses: np.ndarray
    size: int
    notes: tuple[str, ...]

    @property
    def diverged(self) -> bool:
        """Whether steps without a finite loss were met."""
        return any(note.startswith("diverged") for note in self.notes)

    def predict(self, series: Series, *, key: Array | None = None) -> Any:
        """What the module says of series like those that it was fitted to.

        The label of each, after a classification; the targets in their own units, shape (series,
        ...), after a regression: of what comes `ahead`, shape (series, ahead, channel), foretold
        from all of the series; and after a variational fit the series as they were understood. A
        system with noise needs a key, and its outputs are means over `mode.draws` paths.

        Raises `DataError` for series without a channel of the module.
        """
        if isinstance(self.mode, Adversarial):
            raise DeclarationError("an adversarial fit predicts nothing, it draws: use sample")
        if isinstance(self.mode, Classification):
            places = np.argmax(self.probabilities(series, key=key), axis=1)
            return np.array([self.reader.classes[place] for place in places])
        batch = self.reader.unlabelled(series)
        if isinstance(self.mode, Variational):
            shown = _mapped(_reconstructed, self.module, batch, self._keys(key))
            return self.reader.in_units(batch, shown[:, 0], series)
        return self.reader.undo(_mapped(_outputs, self.module, batch, self._keys(key)).mean(axis=1))

    def probabilities(self, series: Series, *, key: Array | None = None) -> np.ndarray:
        """Probabilities of the classes, shape (series, class), in the order of ``reader.classes``.

        Raises `DeclarationError` for a fit that is no classification.
        """
        if not isinstance(self.mode, Classification):
            raise DeclarationError("only a classification has probabilities: use predict")
        batch = self.reader.unlabelled(series)
        odds = _mapped(_outputs, self.module, batch, self._keys(key))
        return np.asarray(jax.nn.softmax(odds, axis=-1).mean(axis=1))

    def score(self, series: Series, *, key: Array | None = None) -> float:
        """How good the predictions of series with known targets are.

        The share of right labels; of a regression the root mean square error in the units of the
        data; the mean bound of a variational fit.
        """
        if isinstance(self.mode, Adversarial):
            raise DeclarationError(
                "an adversarial fit has no score: compare what it draws, fitted.sample, with data"
            )
        if isinstance(self.mode, Classification):
            batch = self.reader.batch(series)
            places = np.argmax(self.probabilities(series, key=key), axis=1)
            return float(np.mean(places == np.asarray(batch.targets)))
        batch = self.reader.batch(series)
        if isinstance(self.mode, Variational):
            weights, point = weights_of(self.module)
            key = jax.random.key(0) if key is None else key
            return look(Learning(weights, self.mode), point, batch, key)
        outputs = _mapped(_outputs, self.module, batch, self._keys(key)).mean(axis=1)
        gaps = (outputs - np.asarray(batch.targets)) * self.reader.scale
        return float(np.sqrt(np.nanmean(gaps**2)))

    def sample(self, times: Any, count: int = 1, *, key: Array) -> Series:
        """Series drawn at random, all at these times, in the units of the data.

        Of modules that can: `sciml.nn.SDEGAN`, and the prior of `sciml.nn.LatentSDE`.
        Raises `DeclarationError` for others.
        """
        if not callable(getattr(self.module, "sample", None)):
            raise DeclarationError(f"{type(self.module).__name__} does not draw series")
        moments, reader = np.asarray(times, float), self.reader
        scaled = moments if reader.scaling is None else (moments - moments[0]) / reader.span
        step = {"dt0": self.mode.dt0} if isinstance(self.mode, Adversarial) else {}
        drawn = _drawn(self.module, jnp.asarray(scaled), jax.random.split(key, count), step)
        values = np.asarray(drawn)
        if not np.all(np.isfinite(values)):
            raise SolveError("a path that was drawn is not finite: take a smaller dt0")
        series = Series(moments, list(values), reader.channels)
        return series if reader.scaling is None else reader.scaling.undo(series)

    def plot_losses(self, ax: Any = None) -> Any:
        """Draws the losses over the steps, and those of held-out series; returns the axes."""
        ax = axes(ax)
        ax.plot(np.arange(1, len(self.losses) + 1), self.losses, lw=0.7, label="batches")
        if len(self.watched):
            ax.plot(self.watched, self.validation_losses, label="validation")
        finite = self.losses[np.isfinite(self.losses)]
        if finite.size and np.all(finite > 0):
            ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _keys(self, key: Array | None) -> Array | None:
        draws = getattr(self.mode, "draws", 1)
        return None if key is None else jax.random.split(key, draws)

    def _rows(self) -> list[list[str]]:
        rows = [["training", f"{self.loss:.5g}"]]
        if len(self.watched):
            rows.append(["validation", f"{self.validation_loss:.5g}"])
        return rows

    def _head(self) -> list[str]:
        head = f"{type(self.mode).__name__} by {type(self.module).__name__}: {self.size} weights"
        if isinstance(self.mode, Classification):
            head += f", {len(self.reader.classes)} classes"
        return [f"{head}, {len(self.losses)} steps", *self.notes]

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", table_text(_HEADER, self._rows())])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        system = getattr(self.module, "system", None)
        shown = system._repr_latex_() if isinstance(system, System) else ""
        parts = [*map(html.escape, self._head()), shown, table_html(_HEADER, self._rows())]
        return {"text/plain": str(self), "text/markdown": "\n\n".join(filter(None, parts))}


_HEADER = ("series", "mean loss")


def fit_series(
    what: Any,
    data: Any,
    mode: Mode,
    *,
    key: Array,
    free: Any,
    validation: Any,
    penalty: Any,
    optimiser: optax.GradientTransformation,
    steps: int,
    patience: int | None,
    stepping: Stepping | None,
    costs: tuple[SolverCost, ...],
    progress: bool,
) -> SeriesFit:
    """The fit of a system or module to a batch of series, in one of its modes."""
    order, inside, course_key, end = jax.random.split(key, 4)
    if costs and not _takes(what, mode, "regularise", "step"):
        raise DeclarationError(
            f"regularise means nothing with mode={type(mode).__name__}() for a "
            f"{type(what).__name__}: it is of trajectories, and of Variational() for a LatentODE"
        )
    series, held_out = _parts(as_series(data, mode), validation, mode, order)
    reader = make_reader(mode, series)
    module = _module(what, mode, reader, stepping, inside)
    batch = reader.batch(series)
    watched = None if held_out is None else reader.batch(held_out)
    weights, point = weights_of(module, free)
    own = stepping if isinstance(mode, Variational) else None
    learning = Learning(weights, mode, penalty, own, costs)
    _try_out(module, mode, reader, batch, end)
    course = train_batches(
        learning,
        point,
        batch,
        watched,
        optimiser=optimiser,
        steps=steps,
        patience=patience,
        progress=progress,
        key=course_key,
    )
    return SeriesFit(
        module=weights.assemble(course.point),
        mode=mode,
        reader=reader,
        loss=look(learning, course.point, batch, end),
        validation_loss=np.nan if watched is None else look(learning, course.point, watched, end),
        losses=course.losses,
        watched=course.watched,
        validation_losses=course.validation,
        size=size_of(point),
        notes=course.notes,
    )


def _parts(series: Series, validation: Any, mode: Mode, key: Array) -> tuple[Series, Series | None]:
    """Series that are trained on, and those that are held out."""
    if validation is None or isinstance(validation, Series):
        return series, validation
    if not isinstance(validation, int | float) or not 0 < validation < 1:
        raise DataError(f"validation is a share of the series, 0 to 1, or a Series: {validation!r}")
    stratify = isinstance(mode, Classification) and series.labels is not None
    shares = (1 - float(validation), float(validation))
    return series.split(shares, key=key, stratify=stratify)


def _module(what: Any, mode: Mode, reader: Reader, stepping: Stepping | None, key: Array) -> Any:
    """The module that is trained: for a system, one that reads its outputs."""
    if isinstance(what, System | Model):
        if isinstance(mode, Variational):
            raise DeclarationError(
                "a variational fit needs a module with an encoder: sm.nn.LatentODE(...) or "
                "sm.nn.LatentSDE(...)"
            )
        return Readout(what, reader.targets, stepping=stepping, key=key)
    if stepping is not None and not _takes(what, mode, "stepping"):
        raise DeclarationError(
            f"how a {type(what).__name__} is solved is part of the module: leave solver, rtol, "
            "atol, stepsize_controller, dt0 and adjoint out"
        )
    if not isinstance(what, eqx.Module) or not callable(what):
        raise DeclarationError(
            f"{type(mode).__name__} trains a System, or an Equinox module that maps (times, "
            f"values, key=key) to outputs, not {type(what).__name__}"
        )
    if isinstance(mode, Variational) and not callable(getattr(what, "loss", None)):
        raise DeclarationError(
            f"a variational fit needs a module with a loss, such as sm.nn.LatentODE(...); "
            f"{type(what).__name__} has none"
        )
    return what


def _takes(what: Any, mode: Mode, *options: str) -> bool:
    """Whether the module has a loss for the mode with these options, as `LatentODE` has."""
    loss = getattr(what, "loss", None) if isinstance(mode, Variational) else None
    return callable(loss) and set(options) <= set(inspect.signature(loss).parameters)


def _try_out(module: Any, mode: Mode, reader: Reader, batch: Batch, key: Array) -> None:
    """Raises `DeclarationError` for a module whose outputs do not fit the targets."""
    if isinstance(mode, Variational):
        return
    one = lambda times, values: module(times, values, key=key)  # noqa: E731
    shape = eqx.filter_eval_shape(one, batch.times[0], batch.values[0]).shape
    if shape != (reader.targets,):
        what = "classes" if isinstance(mode, Classification) else "targets"
        raise DeclarationError(
            f"the module returns outputs of shape {shape} for {reader.targets} {what}: it needs "
            f"({reader.targets},)"
        )


def _mapped(function: Any, module: Any, batch: Batch, keys: Array | None) -> np.ndarray:
    """A function of module, times, values and keys for every series, some of them at a time.

    Raises `SolveError` where the module returns what is no number.
    """
    found = []
    for first, rows in chunks(len(batch)):
        part = batch.rows(rows)
        seen = function(module, part.times, part.values, keys)
        found.append(np.asarray(seen)[: len(batch) - first])
    whole = np.concatenate(found)
    bad = np.flatnonzero(~np.all(np.isfinite(whole.reshape(len(whole), -1)), axis=1))
    if bad.size:
        raise SolveError(
            f"the module has no finite output for {bad.size} of {len(whole)} series, the first of "
            f"them number {bad[0]}: solve it for that one, fitted.module.solve(times, values)"
        )
    return whole


@eqx.filter_jit
def _outputs(module: Any, times: Array, values: Array, keys: Array | None) -> Array:
    """Outputs, shape (series, draw, output)."""

    def one(times: Array, values: Array) -> Array:
        if keys is None:
            return module(times, values)[None]
        return jax.vmap(lambda key: module(times, values, key=key))(keys)

    return jax.vmap(one)(times, values)


@eqx.filter_jit
def _reconstructed(module: Any, times: Array, values: Array, keys: Array | None) -> Array:
    """Series as they were understood, shape (series, 1, time, channel)."""

    def one(times: Array, values: Array) -> Array:
        if keys is None:
            return module(times, values)
        return module(times, values, key=keys[0])

    return jax.vmap(one)(times, values)[:, None]


@eqx.filter_jit
def _drawn(module: Any, times: Array, keys: Array, options: dict) -> Array:
    return jax.vmap(lambda key: module.sample(times, key=key, **options))(keys)
