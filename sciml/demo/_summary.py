"""The demo's tables and sentences, as rows of text that a terminal and a report share."""

from __future__ import annotations

import csv
import io

import numpy as np

import sciml as sm

from ._compare import Budget, Outcome, Split

PUBLISHED = {"a": 0.55, "b": 0.028, "c": 0.80, "d": 0.024}  # posterior means, Carpenter (2018)
ESTIMATES = ("", "estimate", "standard error")
_MEASURES = (("training", "log"), ("training", "pelts"), ("forecast", "log"), ("forecast", "pelts"))


def estimates(fit: sm.Fit, *, published: bool) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and rows of the fitted parameters; with `published` values beside them."""
    header = (*ESTIMATES, "published") if published else ESTIMATES
    rows = []
    for name, estimate in fit.estimates.items():
        shown = {"x(t0)": "x0 (hare)", "y(t0)": "y0 (lynx)"}.get(name, name)
        row = [shown, f"{float(estimate.value):.4g}", f"{float(estimate.error):.2g}"]
        rows.append([*row, f"{PUBLISHED[name]:g}" if name in PUBLISHED else ""][: len(header)])
    return header, rows


def log_error(fit: sm.Fit) -> float:
    """The root mean square of a log-normal fit's residuals."""
    return float(np.sqrt(2 * fit.loss))


def comparison(
    outcomes: tuple[Outcome, ...], parts: Split
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and rows of the comparison: medians, and the lowest and highest of all seeds."""
    first, last = parts.table.times[[0, -1]]
    trained, judged = f"{first:g}-{parts.last:g}", f"{parts.last + 1:g}-{last:g}"
    pelts = "in 1000 pelts"
    header = ("model", "free", f"{trained}: log error", pelts, f"{judged}: log error", pelts)
    rows = []
    for outcome in outcomes:
        cells = [_spread(measure, *outcome.spread(part, measure)) for part, measure in _MEASURES]
        rows.append([outcome.contender.name, str(outcome.size), *cells])
    return header, rows


def verdict(outcomes: tuple[Outcome, ...]) -> str:
    """One sentence: the models by their median forecast error, the best first."""
    found = sorted((o.spread("forecast", "log")[0], o.contender.name) for o in outcomes)
    ranked = ", ".join(f"{name} {number('log', value)}" for value, name in found)
    return f"By the median log error of the forecast, the best first: {ranked}."


def how(parts: Split, budget: Budget) -> str:
    """One sentence: what every model was trained with."""
    first, last = parts.table.times[[0, -1]]
    return (
        f"Every model was trained on {first:g} to {parts.last:g} alone with the same budget, "
        f"{budget.matching} steps of derivative matching and {budget.steps} of Adam, from "
        f"{budget.seeds} seed{'s' if budget.seeds != 1 else ''}, and judged on the years after, "
        f"to {last:g}."
    )


def as_csv(outcomes: tuple[Outcome, ...]) -> str:
    """Every seed's errors, as comma-separated values."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "seed", *(f"{part}_{measure}" for part, measure in _MEASURES)])
    for outcome in outcomes:
        for seed, run in enumerate(outcome.runs):
            values = (getattr(getattr(run, part), measure) for part, measure in _MEASURES)
            writer.writerow([outcome.contender.name, seed, *(f"{value:.6g}" for value in values)])
    return file.getvalue()


def number(measure: str, value: float) -> str:
    """An error, or that there is none."""
    if not np.isfinite(value):
        return "diverged"
    return f"{value:.3f}" if measure == "log" else f"{value:.1f}"


def _spread(measure: str, *values: float) -> str:
    middle, low, high = (number(measure, value) for value in values)
    return f"{middle} ({low} to {high})"
