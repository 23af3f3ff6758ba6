"""Fit: what training returns."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from sciml.dsl import (
    DeclarationError,
    Model,
    expression_text,
    shape_of,
    table_html,
    table_text,
)
from sciml.solvers import Solution, axes, solve

from ._data import Dataset


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A fitted quantity: its value, its standard error (NaN where unknown), unit and bounds.

    Initial values of several trajectories have a leading axis for these.
    """

    name: str
    value: Any
    error: Any
    unit: str
    bounds: tuple[float, float] | None


@dataclasses.dataclass(frozen=True, repr=False)
class Fit:
    """A fitted model.

    Fields: `model`, with the fitted leaves (and the initial values of the first trajectory);
    `estimates` of free parameters and initial values, by name; `free`, names of what was
    estimated; `loss` and `validation_loss` of the model (NaN where nothing was held out); `losses`
    and `validation_losses` while training, shape (step, start); `start_losses`, the final training
    loss of each start; `evaluations` of the rates that the solves of each step took, shape (step,
    start), those of derivatives not counted (NaN for implicit solvers); `initial`, initial values
    by name of each trajectory; `data`; `options`, of the solver it was trained with; `diverged`,
    whether training did; `notes`, what else to know.
    """

    model: Model
    estimates: Mapping[str, Estimate]
    free: tuple[str, ...]
    loss: float
    validation_loss: float
    losses: np.ndarray
    validation_losses: np.ndarray
    start_losses: np.ndarray
    evaluations: np.ndarray
    initial: tuple[Mapping[str, Any], ...]
    data: Dataset
    options: Mapping[str, Any]
    diverged: bool
    notes: tuple[str, ...]

    def solve(self, t: Any = None, *, trajectory: int = 0, **options: Any) -> Solution:
        """Solves the fitted model over ``t = (t0, t1)``, by default the span of the data.

        `trajectory` says whose initial values are used; further options are those of `solve`, by
        default as in training (solver, rtol, atol, stepsize_controller, dt0, max_steps).
        """
        row = self._row(trajectory)
        model = self.model.replace(initial=self.initial[row])
        if t is None:
            t = (self.data.starts[row], self.data.times[row, -1])
        return solve(model, t, **{**self.options, **options})

    def __getitem__(self, name: Any) -> Any:
        """The estimate of a parameter or initial value, by symbol or name: ``fitted[a]``.

        Raises `DeclarationError` for what was not estimated.
        """
        label = name if isinstance(name, str) else expression_text(name)
        for known in (label, f"{label}(t0)"):
            if known in self.estimates:
                return self.estimates[known].value
        raise DeclarationError(
            f"{label} was not estimated; there are {', '.join(self.estimates) or 'no estimates'}. "
            "Fixed values are in fitted.model"
        )

    def residuals(self, trajectory: int = 0) -> dict[str, np.ndarray]:
        """Prediction minus measurement, by column, shape (time, ...), NaN where missing."""
        row = self._row(trajectory)
        count = self.data.lengths[row]
        times = self.data.times[row, :count]
        sol = self.solve(self._span(row), trajectory=row, saveat=times)
        return {
            label: _over_time(sol, expression) - self.data.observed[label][row, :count]
            for label, expression in self.data.expressions.items()
        }

    def plot(self, ax: Any = None, *, trajectory: int = 0) -> Any:
        """Draws the measurements of a trajectory and the fitted curves; returns the axes.

        Measurements that were held out are drawn as rings.
        """
        ax, row = axes(ax), self._row(trajectory)
        times, used = self.data.times[row], self.data.training[row]
        held_out = self.data.validation[row]
        start, end = self._span(row)
        sol = self.solve((start, end), trajectory=row, saveat=np.linspace(start, end, 400))
        for label, expression in self.data.expressions.items():
            values = _over_time(sol, expression).reshape(len(sol.ts), -1)
            seen = self.data.observed[label][row].reshape(len(times), -1)
            for column in range(values.shape[1]):
                shown = label if values.shape[1] == 1 else f"{label}[{column}]"
                (line,) = ax.plot(np.asarray(sol.ts), values[:, column], label=shown)
                style = {"ms": 4, "color": line.get_color(), "ls": "none", "marker": "o"}
                ax.plot(times[used], seen[used, column], **style)
                ax.plot(times[held_out], seen[held_out, column], mfc="none", **style)
        ax.set_xlabel("t")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def plot_losses(self, ax: Any = None) -> Any:
        """Draws training and validation losses of every start over the steps; returns the axes."""
        ax = axes(ax)
        drawn = [("training", "C0", self.losses)]
        if np.any(self.data.validation):
            drawn.append(("validation", "C1", self.validation_losses))
        for label, colour, losses in drawn:
            for start, column in enumerate(losses.T):
                ax.plot(column, color=colour, lw=1, label=label if start == 0 else None)
        finite = self.losses[np.isfinite(self.losses)]
        if finite.size and np.all(finite > 0):
            ax.set_yscale("log")
        if len(self.losses):
            ax.legend(frameon=False)
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _row(self, trajectory: int) -> int:
        count = len(self.initial)
        if not -count <= trajectory < count:
            raise DeclarationError(f"there is no trajectory {trajectory}: the data hold {count}")
        return trajectory % count

    def _span(self, row: int) -> tuple[float, float]:
        return float(self.data.starts[row]), float(self.data.times[row, -1])

    def _rows(self) -> list[list[str]]:
        rows = []
        for estimate in self.estimates.values():
            values, errors = np.asarray(estimate.value), np.asarray(estimate.error)
            for key in np.ndindex(*values.shape):
                name = f"{estimate.name}[{', '.join(map(str, key))}]" if key else estimate.name
                error = f"{errors[key]:.2g}" if np.isfinite(errors[key]) else ""
                rows.append([name, f"{values[key]:.5g}", error, estimate.unit])
        return rows

    def _head(self) -> list[str]:
        name = self.model.system.name
        head = f"Fit{' of ' if name else ''}{name}: loss {self.loss:.5g}"
        if np.any(self.data.validation):
            head += f", validation loss {self.validation_loss:.5g}"
        if networks := [f for f in self.free if f in self.model.networks]:
            head += f"; trained {', '.join(networks)}"
        return [head, *self.notes]

    def __str__(self) -> str:
        lines = self._head()
        if rows := self._rows():
            lines += ["", table_text(_HEADER, rows)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = table_html(_HEADER, self._rows()) if self.estimates else ""
        parts = [*map(html.escape, self._head()), self.model.system._repr_latex_(), table]
        return {"text/plain": str(self), "text/markdown": "\n\n".join(filter(None, parts))}


_HEADER = ("symbol", "estimate", "standard error", "unit")


def _over_time(sol: Solution, expression: Any) -> np.ndarray:
    """Values with a leading axis of time, also of what does not depend on it."""
    return np.broadcast_to(np.asarray(sol[expression]), (len(sol.ts), *shape_of(expression)))
