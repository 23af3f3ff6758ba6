"""Pictures of fields: maps of space and time, slices, frames and films."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sciml.dsl import DeclarationError, SciMLError, expression_text

from ._draw import axes

_FRAMES = 4  # of a field over two coordinates
_CURVES = 6  # of slices, where no times are given
_FORWARD = "viridis"
_AROUND = "RdBu_r"  # of what has both signs
_SEEN = 0.05  # of the one, as a part of the other


def draw_fields(solution: Any, expressions: tuple, ax: Any) -> Any:
    """A map of space and time for each field over one coordinate, frames for one over two."""
    model = solution.model
    flat = [len(model.coordinates_of(e)) for e in expressions]
    if any(n not in (1, 2) for n in flat):
        worst = expressions[[n in (1, 2) for n in flat].index(False)]
        raise DeclarationError(
            f"{_name(worst)} has {len(model.coordinates_of(worst))} coordinates; drawn are one and "
            "two: take it at a place, u.at(s=...), or draw one quantity at a time"
        )
    if len(expressions) == 1 and flat == [1]:
        return _map(solution, expressions[0], axes(ax))
    if ax is not None:
        raise DeclarationError("several fields, or frames, need axes of their own: leave ax away")
    rows, columns = len(expressions), _FRAMES if 2 in flat else 1
    _, grid = _figure(rows, columns)
    for row, expression in zip(grid, expressions, strict=True):
        if len(model.coordinates_of(expression)) == 1:
            _map(solution, expression, row[0])
            for unused in row[1:]:
                unused.set_axis_off()
        else:
            _frames(solution, expression, row)
    return grid if rows > 1 else grid[0]


def draw_steady(solution: Any, expressions: tuple, ax: Any) -> Any:
    """A curve over one coordinate, or a map of two, for each field of a steady state."""
    model = solution.model
    own = [_coordinates(solution, e, (1, 2), steady=True) for e in expressions]
    if not own:
        raise DeclarationError("there is nothing to draw: numbers that do not vary, sol[x]")
    if len(own) > 1 and ax is not None:
        raise DeclarationError("several fields need axes of their own: leave ax away")
    grid = [axes(ax)] if len(own) == 1 else list(_figure(len(own), 1)[1][:, 0])
    for place, e, coordinates in zip(grid, expressions, own, strict=True):
        values, nodes = np.asarray(solution[e]), [model.grid[s.name] for s in coordinates]
        if len(coordinates) == 2:
            drawn = _image(place, coordinates, nodes, values, values)
            place.figure.colorbar(drawn, ax=place, label=_label(e))
            continue
        place.plot(nodes[0], values)
        place.set_xlabel(_label(coordinates[0]))
        place.set_ylabel(_label(e))
        place.spines[["top", "right"]].set_visible(False)
    return grid[0] if len(own) == 1 else np.array(grid)


def draw_slices(solution: Any, expression: Any, times: Any, ax: Any) -> Any:
    """Curves over the one coordinate, from early (light) to late (dark)."""
    (s,) = _coordinates(solution, expression, (1,))
    ts, values = np.asarray(solution.ts), np.asarray(solution[expression])
    if times is not None and solution.interpolation is not None:
        ts = np.asarray(times, float)
        values = np.asarray(solution(ts)[expression])
    else:
        wanted = np.linspace(ts[0], ts[-1], _CURVES) if times is None else np.asarray(times)
        rows = [int(np.argmin(np.abs(ts - time))) for time in wanted]
        ts, values = ts[rows], values[rows]
    ax = axes(ax)
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("viridis_r")(np.linspace(0.1, 1, len(ts)))
    for time, curve, colour in zip(ts, values, colours, strict=True):
        ax.plot(solution.model.grid[s.name], curve, color=colour, label=f"t = {time:.3g}")
    ax.set_xlabel(_label(s))
    ax.set_ylabel(_label(expression))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def animate(solution: Any, expression: Any, path: Any, seconds: float) -> Path:
    """A film, one frame for each saved time."""
    own = _coordinates(solution, expression, (1, 2))
    ax = axes()
    from matplotlib import animation

    path = Path(path)
    values, ts = np.asarray(solution[expression]), np.asarray(solution.ts)
    grid = [solution.model.grid[s.name] for s in own]
    if len(own) == 1:
        (drawn,) = ax.plot(grid[0], values[0])
        spread = np.ptp(values) or 1.0
        ax.set_ylim(values.min() - 0.05 * spread, values.max() + 0.05 * spread)
        ax.set_xlabel(_label(own[0]))
        ax.set_ylabel(_label(expression))
        show = lambda n: drawn.set_ydata(values[n])  # noqa: E731
    else:
        drawn = _image(ax, own, grid, values[0], values)
        show = lambda n: drawn.set_array(values[n].T)  # noqa: E731
        ax.figure.colorbar(drawn, ax=ax, label=_label(expression))

    def frame(n: int) -> list:
        show(n)
        ax.set_title(f"t = {ts[n]:.3g}", loc="left")
        return [drawn]

    rate = max(round(len(ts) / seconds), 1)
    if path.suffix == ".gif":
        writer: Any = animation.PillowWriter(fps=rate)
    elif path.suffix == ".mp4":
        if not animation.FFMpegWriter.isAvailable():
            raise SciMLError("an MP4 needs the program ffmpeg; write a GIF, which needs nothing")
        writer = animation.FFMpegWriter(fps=rate)
    else:
        raise DeclarationError(f"a film is a .gif or a .mp4, not {path.name!r}")
    film = animation.FuncAnimation(ax.figure, frame, frames=len(ts))
    film.save(path, writer=writer)
    import matplotlib.pyplot as plt

    plt.close(ax.figure)
    return path


def _map(solution: Any, expression: Any, ax: Any) -> Any:
    """Time upwards, space across."""
    (s,) = _coordinates(solution, expression, (1,))
    values, ts = np.asarray(solution[expression]), np.asarray(solution.ts)
    x = solution.model.grid[s.name]
    low, high, colours = _range(values)
    drawn = ax.pcolormesh(x, ts, values, shading="nearest", vmin=low, vmax=high, cmap=colours)
    ax.set_xlabel(_label(s))
    ax.set_ylabel("t")
    ax.figure.colorbar(drawn, ax=ax, label=_label(expression))
    return ax


def _frames(solution: Any, expression: Any, row: Any) -> None:
    own = _coordinates(solution, expression, (2,))
    values, ts = np.asarray(solution[expression]), np.asarray(solution.ts)
    grid = [solution.model.grid[s.name] for s in own]
    rows = np.linspace(0, len(ts) - 1, len(row)).round().astype(int)
    for ax, n in zip(row, rows, strict=True):
        drawn = _image(ax, own, grid, values[n], values)
        ax.set_title(f"t = {ts[n]:.3g}", loc="left")
    row[-1].figure.colorbar(drawn, ax=list(row), label=_label(expression), shrink=0.8)


def _image(ax: Any, own: Any, grid: list, values: np.ndarray, whole: np.ndarray) -> Any:
    low, high, colours = _range(whole)
    ax.set_xlabel(_label(own[0]))
    ax.set_ylabel(_label(own[1]))
    ax.set_aspect("equal")
    return ax.pcolormesh(*grid, values.T, shading="nearest", vmin=low, vmax=high, cmap=colours)


def _range(values: np.ndarray) -> tuple[float, float, str]:
    low, high = float(values.min()), float(values.max())
    if low < -_SEEN * high and high > -_SEEN * low:
        size = max(-low, high)
        return -size, size, _AROUND
    return low, high, _FORWARD


def _coordinates(
    solution: Any, expression: Any, counts: tuple[int, ...], *, steady: bool = False
) -> tuple:
    if solution.is_steady and not steady:
        raise DeclarationError("a steady state has no times: draw it by sol.plot(u)")
    if np.ndim(solution.ts) != (0 if steady else 1):
        raise DeclarationError("a batch of solutions is drawn one by one")
    solution.model.expression(expression)  # real, or refused
    own = solution.model.coordinates_of(expression)
    if len(own) not in counts:
        raise DeclarationError(
            f"{_name(expression)} has {len(own)} coordinates, and this picture takes "
            f"{' or '.join(map(str, counts))}"
        )
    return own


def _figure(rows: int, columns: int) -> tuple[Any, Any]:
    axes_ = axes()
    import matplotlib.pyplot as plt

    plt.close(axes_.figure)
    size = (3.0 * columns if columns > 1 else 6.4, 2.8 * rows)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)


def _label(e: Any) -> str:
    unit = getattr(e, "unit", None)
    return f"{_name(e)} [{unit}]" if unit else _name(e)


def _name(e: Any) -> str:
    return e if isinstance(e, str) else expression_text(e)
