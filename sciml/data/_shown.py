"""Series as text, as a table in a notebook, and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.dsl import name_of, table_html, table_text
from sciml.solvers import axes

from ._series_names import position

if TYPE_CHECKING:
    from ._series import Series

_HEADER = ("channel", "unit", "values", "missing", "least", "mean", "greatest")
_ROWS = 24  # channels, where a batch is printed
_CURVES = 60  # series that are drawn


def as_text(series: Series) -> str:
    """A line on the batch, and a table of its channels."""
    rows = _rows(series)
    more = [f"... {len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
    source = [f"source: {series.source}"] if series.source else []
    return "\n".join([_head(series), "", table_text(_HEADER, rows[:_ROWS]), *more, *source])


def as_html(series: Series) -> str:
    """The same for a notebook."""
    head, table = table_html([_head(series)], []), table_html(_HEADER, _rows(series))
    source = table_html([f"source: {series.source}"], []) if series.source else ""
    return head + table + source


def _head(series: Series) -> str:
    count, channels, lengths = len(series), len(series.channels), series.lengths
    span = f"{lengths.min()} to {lengths.max()}" if lengths.min() < lengths.max() else lengths[0]
    first = min(times[0] for times in series.times)
    last = max(times[-1] for times in series.times)
    unit = series.units.get("t", "")
    unit = f" {unit}" if unit and unit != "year" else ""
    head = f"Series: {count} of {channels} channel{'s' * (channels > 1)}, {span} times"
    head += f", t = {first:g} to {last:g}{unit}, {100 * series.missing:.3g} % missing"
    if series.labels is not None:
        head += f"; {len(series.classes)} classes"
    return head


def _rows(series: Series) -> list[list[str]]:
    values = np.concatenate(series.values)
    rows = []
    for channel, column in zip(series.channels, values.T, strict=True):
        known = column[np.isfinite(column)]
        name = name_of(channel)
        share = 100 * (1 - len(known) / len(column))
        spread = [f"{f(known):.4g}" for f in (np.min, np.mean, np.max)] if len(known) else [""] * 3
        missing = f"{share:.3g} %" if share else ""
        rows.append([name, series.units.get(name, ""), str(len(known)), missing, *spread])
    return rows


def draw(series: Series, channels: tuple, ax: Any) -> Any:
    """Values over time, with a colour for each channel, or for each label of a single one."""
    ax = axes(ax)
    columns = [position(series.channels, one) for one in channels or series.channels]
    count = len(series)
    rows = np.unique(np.linspace(0, count - 1, min(count, _CURVES)).round().astype(int))
    labels = series.labels if len(columns) == 1 else None
    colours: dict[Any, Any] = {}
    for row in rows.tolist():
        for column in columns:
            name = name_of(series.channels[column])
            group = labels[row] if labels is not None else name
            colour = colours.get(group)
            line = _curve(ax, series, row, column, colour, None if colour else str(group))
            colours.setdefault(group, line.get_color())
    _finish(ax, series, columns, labels is not None)
    if len(rows) < count:
        ax.set_title(f"{len(rows)} of {count} series", fontsize="medium")
    return ax


def _curve(ax: Any, series: Series, row: int, column: int, colour: Any, label: Any) -> Any:
    values = series.values[row][:, column]
    known = np.isfinite(values)
    style = {"lw": 1, "marker": "o", "ms": 2, "color": colour, "label": label}
    (line,) = ax.plot(series.times[row][known], values[known], **style)
    return line


def _finish(ax: Any, series: Series, columns: list[int], by_label: bool) -> None:
    names = [name_of(series.channels[column]) for column in columns]
    units = {series.units.get(name) for name in names}
    unit = units.pop() if len(units) == 1 else None
    if by_label:
        ax.set_ylabel(f"{names[0]} ({unit})" if unit else names[0])
    elif unit:
        ax.set_ylabel(unit)
    time = series.units.get("t")
    ax.set_xlabel(f"t ({time})" if time else "t")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
