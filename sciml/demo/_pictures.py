"""The demo's pictures. Figures are made without pyplot: nothing global is chosen or changed."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import sciml as sm

from ._compare import SPECIES, Outcome, Split, curves_of
from ._models import gained, lost

_COLOURS = {"hare": "#c4622d", "lynx": "#2c5f8a"}
_SHADE = "#efece4"
_PELTS = "thousands of pelts"
_GRID = 60  # points of a contour picture along each axis


def draw_data(parts: Split) -> Figure:
    """The records over the years, and the one population against the other."""
    figure = _figure(9.6, 3.6)
    over, against = figure.subplots(1, 2, width_ratios=(1.7, 1))
    table = parts.table
    _shade(over, parts)
    for name in SPECIES:
        over.plot(table.times, table[name], "o-", ms=4, lw=1, color=_COLOURS[name], label=name)
    _years(over)
    over.set(ylabel=_PELTS, title="Pelts traded in each year")
    _headroom(over, table)
    rows = parts.is_trained
    hare, lynx = table["hare"], table["lynx"]
    against.plot(hare, lynx, "-", lw=1, color="0.75", zorder=1)
    against.plot(hare[rows], lynx[rows], "o", ms=4, color="0.25", label="trained on")
    against.plot(hare[~rows], lynx[~rows], "o", ms=4, mfc="white", color="0.25", label="judged by")
    for row in range(0, len(table), 5):
        against.annotate(
            f"{table.times[row]:g}",
            (hare[row], lynx[row]),
            (4, 4),
            textcoords="offset points",
            fontsize=7,
            color="0.3",
        )
    against.set(
        xlabel=f"hare ({_PELTS})",
        ylabel=f"lynx ({_PELTS})",
        xlim=(0, None),
        ylim=(0, None),
        title="Once around in ten years",
    )
    against.legend(frameon=False, fontsize=8)
    return figure


def draw_all_years(fit: sm.Fit, parts: Split) -> Figure:
    """The mechanistic model fitted to every year, and its residuals."""
    figure = _figure(9.6, 3.6)
    over, rest = figure.subplots(1, 2, width_ratios=(1.7, 1))
    table = parts.table
    years, curves = curves_of(fit, table)
    residuals = np.searchsorted(years, table.times)
    for column, name in enumerate(SPECIES):
        over.plot(years, curves[:, column], color=_COLOURS[name], label=f"{name}, fitted")
        over.plot(table.times, table[name], "o", ms=4, color=_COLOURS[name])
        gap = np.log(table[name] / curves[residuals, column])
        rest.plot(table.times, gap, "o-", ms=4, lw=0.8, color=_COLOURS[name], label=name)
    _years(over)
    over.set(ylabel=_PELTS, title="Lotka-Volterra, fitted to every year")
    _headroom(over, table)
    rest.axhline(0, color="0.6", lw=0.8, zorder=0)
    _years(rest)
    rest.set(ylabel="log of record over fit", title="What it leaves unexplained")
    return figure


def draw_fits(outcomes: tuple[Outcome, ...], parts: Split) -> Figure:
    """Each model over the years that it was trained on."""
    return _panels(outcomes, parts, "training", (parts.table.times[0], parts.last))


def draw_forecasts(outcomes: tuple[Outcome, ...], parts: Split) -> Figure:
    """Each model over all years, those that it has not seen shaded."""
    return _panels(outcomes, parts, "forecast", tuple(parts.table.times[[0, -1]]))


def _panels(outcomes: tuple[Outcome, ...], parts: Split, part: str, span: tuple) -> Figure:
    """A row for each model, a column for each species; the curves of all seeds."""
    figure = _figure(9.6, 0.8 + 1.9 * len(outcomes))
    grid = figure.subplots(len(outcomes), 2, sharex=True, sharey="col", squeeze=False)
    for outcome, row in zip(outcomes, grid, strict=True):
        for column, ax in enumerate(row):
            _panel(ax, outcome, parts, column, span)
        middle, low, high = (_short(value) for value in outcome.spread(part, "log"))
        row[0].set_title(outcome.contender.name, loc="left", fontweight="bold")
        row[1].set_title(f"log error {middle} ({low} to {high})", loc="right", fontsize=9)
        row[0].set_ylabel(_PELTS, fontsize=8)
    for name, ax in zip(SPECIES, grid[0], strict=True):
        ax.text(0.98, 0.86, name, transform=ax.transAxes, ha="right", color=_COLOURS[name])
    for ax in grid[-1]:
        _years(ax)
    return figure


def _panel(ax: Any, outcome: Outcome, parts: Split, column: int, span: tuple) -> None:
    """One species by one model over a span of years: the curves of all seeds, and the records."""
    name = SPECIES[column]
    years, seen, trained = parts.table.times, parts.table[name], parts.is_trained
    if span[1] > parts.last:
        _shade(ax, parts)
        ax.plot(years[~trained], seen[~trained], "o", ms=3.5, mfc="white", color="0.2", zorder=3)
    ax.plot(years[trained], seen[trained], "o", ms=3.5, color="0.2", zorder=3)
    for run in outcome.runs:
        shown = (run.years >= span[0]) & (run.years <= span[1])
        line = _line(run is outcome.median)
        ax.plot(run.years[shown], run.curves[shown, column], color=_COLOURS[name], **line)
    ax.set_ylim(0, 1.35 * seen.max())


def draw_interaction(known: Outcome, learned: Outcome, parts: Split) -> Figure:
    """What the hares lose and the lynx gain: the mechanistic product, and what was learned."""
    figure = _figure(9.6, 6.2)
    grid = figure.subplots(2, 3)
    table = parts.table
    pairs = ((lost, "hares lost to lynx"), (gained, "lynx gained from hares"))
    for row, (symbol, title) in zip(grid, pairs, strict=True):
        surfaces = [_surface(o.median.fit.model, symbol, table) for o in (known, learned)]
        _, _, rates = surfaces[0]
        levels = np.linspace(0, float(np.max(rates)), 11)
        for ax, outcome, (hare, lynx, values) in zip(row, (known, learned), surfaces, strict=False):
            filled = ax.contourf(hare, lynx, values, levels, cmap="YlGnBu", extend="max")
            for rows, fill in ((parts.is_trained, "0.1"), (~parts.is_trained, "white")):
                ax.plot(
                    table["hare"][rows],
                    table["lynx"][rows],
                    "o",
                    ms=3,
                    mfc=fill,
                    mec="0.1",
                    mew=0.7,
                )
            ax.set_title(f"{title}: {outcome.contender.name}", fontsize=9)
            ax.set(xlabel=f"hare ({_PELTS})", ylabel=f"lynx ({_PELTS})")
        figure.colorbar(filled, ax=row[1], label=f"{_PELTS} a year")
        _along(row[2], symbol, known, learned, parts)
        row[2].set_title(f"{title}, at the records", fontsize=9)
    grid[0][2].legend(frameon=False, fontsize=8)
    return figure


def _along(ax: Any, symbol: Any, known: Outcome, learned: Outcome, parts: Split) -> None:
    """The interaction at the populations recorded in each year, by every seed."""
    table = parts.table
    states = np.stack([table[name] for name in SPECIES], axis=1)
    _shade(ax, parts)
    for outcome, colour in ((known, "0.45"), (learned, "#1d7a5f")):
        for run in outcome.runs:
            values = evaluate(run.fit.model, symbol, states)
            bold = run is outcome.median
            label = outcome.contender.name if bold else None
            ax.plot(table.times, values, color=colour, label=label, **_line(bold))
    _years(ax)
    ax.set(ylabel=f"{_PELTS} a year", ylim=(0, None))


def _line(bold: bool) -> dict[str, float]:
    """How the curve of a seed is drawn: that of the median seed stands out."""
    return {"lw": 1.8, "alpha": 1.0} if bold else {"lw": 0.9, "alpha": 0.55}


def _surface(model: sm.Model, symbol: Any, table: sm.data.Table) -> tuple:
    """An observed quantity over the plane of both populations, a little beyond the records."""
    axes = [np.linspace(0.0, 1.1 * table[name].max(), _GRID) for name in SPECIES]
    hare, lynx = np.meshgrid(*axes)
    states = np.stack([hare.ravel(), lynx.ravel()], axis=1)
    return hare, lynx, evaluate(model, symbol, states).reshape(hare.shape)


def evaluate(model: sm.Model, symbol: Any, states: np.ndarray) -> np.ndarray:
    """A quantity at several states, shape (state, 2)."""
    one = jax.vmap(lambda state: model.evaluate(symbol, 0.0, state))
    return np.asarray(one(jnp.asarray(states, model.dtype)))


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    return file.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _shade(ax: Any, parts: Split) -> None:
    """Shades the years that were not trained on."""
    last = parts.table.times[-1]
    ax.axvspan(parts.last + 0.5, last + 0.5, color=_SHADE, zorder=0, lw=0)


def _years(ax: Any) -> None:
    """Whole years along the axis."""
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlabel("year")


def _headroom(ax: Any, table: sm.data.Table) -> None:
    """Room above the curves, for the legend."""
    ax.set_ylim(0, 1.25 * max(table[name].max() for name in SPECIES))
    ax.legend(frameon=False, loc="upper center", ncols=2)


def _short(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "diverged"
