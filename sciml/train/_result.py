"""Fit: what training returns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sciml.dsl import Model, expression_text, table_html, table_text
from sciml.solvers import Solution, axes, solve

from ._data import Dataset


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A fitted quantity: its value, its standard error (NaN where unknown), unit and bounds."""

    name: str
    value: Any
    error: Any
    unit: str


@dataclasses.dataclass(frozen=True, repr=False)
class Fit:
    """A fitted model.

    Fields: `model`, with the fitted leaves; `estimates` of free parameters and initial values, by
    name; `loss` and `validation_loss` of the model; `losses` and `validation_losses` while
    training, shape (step, start); `start_losses`, the final loss of each start; `solver`, the
    options it was trained with; `data`; `diverged`, whether any step did; `notes`, what else.
    """

    model: Model
    estimates: dict[str, Estimate]
    loss: float
    validation_loss: float
    losses: np.ndarray
    validation_losses: np.ndarray
    start_losses: np.ndarray
    data: Dataset
    options: dict[str, Any]
    diverged: bool
    notes: tuple[str, ...]

    def solve(self, t: Any, **options: Any) -> Solution:
        """Solves the fitted model over ``t = (t0, t1)``; options as for `solve`.

        Those that it was trained with (solver, rtol, atol, max_steps) hold unless given.
        """
        return solve(self.model, t, **{**self.options, **options})

    def __getitem__(self, name: Any) -> Any:
        """The estimate of a parameter, by symbol or name."""
        return self.estimates[name if isinstance(name, str) else expression_text(name)].value

    def residuals(self) -> dict[str, np.ndarray]:
        """Prediction minus measurement, by column, for the first trajectory (NaN where missing)."""
        times = self.data.times[0]
        sol = self.solve((times[0], times[-1]), saveat=np.unique(times))
        rows = np.searchsorted(np.unique(times), times)
        return {
            label: np.asarray(sol[expression])[rows] - self.data.observed[label][0]
            for label, expression in self.data.expressions.items()
        }

    def plot(self, ax: Any = None) -> Any:
        """Draws the measurements of the first trajectory and the fitted curves; returns the axes."""
        ax = axes(ax)
        times = self.data.times[0]
        sol = self.solve((times[0], times[-1]), saveat=np.linspace(times[0], times[-1], 400))
        for label, expression in self.data.expressions.items():
            values = np.asarray(sol[expression]).reshape(len(sol.ts), -1)
            seen = self.data.observed[label][0].reshape(len(times), -1)
            for column in range(values.shape[1]):
                shown = label if values.shape[1] == 1 else f"{label}[{column}]"
                (line,) = ax.plot(np.asarray(sol.ts), values[:, column], label=shown)
                trained = self.data.training[0]
                colour = line.get_color()
                ax.plot(times[trained], seen[trained, column], "o", ms=4, color=colour)
                rest = ~trained
                ax.plot(times[rest], seen[rest, column], "o", ms=4, mfc="none", color=colour)
        ax.set_xlabel("t")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def plot_losses(self, ax: Any = None) -> Any:
        """Draws training and validation losses over the steps; returns the axes."""
        ax = axes(ax)
        ax.plot(self.losses, color="C0", lw=1, label="training")
        if np.any(self.data.validation):
            ax.plot(self.validation_losses, color="C1", lw=1, label="validation")
        positive = self.losses[np.isfinite(self.losses)]
        if positive.size and np.all(positive > 0):
            ax.set_yscale("log")
        handles, labels = ax.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        ax.legend(unique.values(), unique.keys(), frameon=False)
        ax.set_xlabel("step")
        ax.set_ylabel("loss")
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _rows(self) -> list[list[str]]:
        rows = []
        for estimate in self.estimates.values():
            values, errors = np.atleast_1d(estimate.value), np.atleast_1d(estimate.error)
            for key in np.ndindex(*values.shape):
                scalar = np.ndim(estimate.value) == 0
                name = estimate.name if scalar else f"{estimate.name}[{', '.join(map(str, key))}]"
                error = f"{errors[key]:.2g}" if np.isfinite(errors[key]) else ""
                rows.append([name, f"{values[key]:.5g}", error, estimate.unit])
        return rows

    def _lines(self) -> list[str]:
        head = f"Fit of {self.model.system.name or 'model'}: loss {self.loss:.5g}"
        if np.any(self.data.validation):
            head += f", validation loss {self.validation_loss:.5g}"
        return [head, *self.notes]

    def __str__(self) -> str:
        lines = self._lines()
        if rows := self._rows():
            lines += ["", table_text(_HEADER, rows)]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = table_html(_HEADER, self._rows()) if self.estimates else ""
        parts = [*self._lines(), self.model.system._repr_latex_(), table]
        return {"text/plain": str(self), "text/markdown": "\n\n".join(filter(None, parts))}


_HEADER = ("symbol", "estimate", "standard error", "unit")
