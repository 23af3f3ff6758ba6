"""Pictures of surrogates beside solutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml.dsl import DeclarationError, name_of
from sciml.solvers import axes

from ._surrogate_train import applied


def draw_surrogate(learned: Any, symbol: Any, member: int, ax: Any) -> Any:
    """A field of an unseen member, by the solver and by the surrogate."""
    family, count = learned.family, len(learned.unseen)
    names = [name_of(u) for u in family.system.fields]
    name = names[0] if symbol is None else name_of(symbol)
    if name not in names:
        raise DeclarationError(f"{name} is no field of this surrogate; it has {', '.join(names)}")
    if not -count <= member < count:
        raise DeclarationError(f"there is no unseen member {member}: there are {count}")
    model = family.model(learned.grid)
    if len(model.grid) > 2:
        raise DeclarationError("drawn are fields over one coordinate and over two")
    one = learned.unseen.rows(member)
    given = one.inputs, one.numbers, family.shares(model)
    found = np.asarray(applied(learned.operator, *given))
    row = names.index(name)
    both = np.asarray(one.outputs)[row], found[row]
    if len(model.grid) == 2:
        return _maps(model, name, family.times, *both, ax)
    start = list(family.initial).index(name) if name in family.initial else None
    begun = None if start is None else np.asarray(one.inputs)[start]
    return _curves(model, name, family, begun, *both, axes(ax))


def _curves(
    model: Any, name: str, family: Any, begun: Any, true: np.ndarray, found: np.ndarray, ax: Any
) -> Any:
    """The start dotted, the solver grey, the surrogate dashed, from light to dark over time."""
    import matplotlib.pyplot as plt

    ((coordinate, nodes),) = model.grid.items()
    if begun is not None:
        ax.plot(nodes, begun, "k:", lw=1, label=f"t = {family.t[0]:g}")
    colours = plt.get_cmap("viridis_r")(np.linspace(0.4, 1, len(true)))
    for time, solved, learned, colour in zip(family.times, true, found, colours, strict=True):
        ax.plot(
            nodes, solved, color="0.7", lw=3, label=None if time > family.times[0] else "solver"
        )
        ax.plot(nodes, learned, "--", color=colour, label=f"surrogate, t = {time:.3g}")
    ax.set_xlabel(coordinate)
    ax.set_ylabel(name)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _maps(
    model: Any, name: str, times: np.ndarray, true: np.ndarray, found: np.ndarray, ax: Any
) -> Any:
    """Solver, surrogate and their difference at the last time."""
    if ax is not None:
        raise DeclarationError("maps of a surrogate need axes of their own: leave ax away")
    plain = axes()
    import matplotlib.pyplot as plt

    plt.close(plain.figure)
    figure, row = plt.subplots(1, 3, figsize=(9.6, 2.8), layout="constrained")
    (x, y), ends = model.grid, (float(true[-1].min()), float(true[-1].max()))
    for ax, title, values in zip(
        row,
        (f"{name} by the solver, t = {times[-1]:.3g}", "by the surrogate", "difference"),
        (true[-1], found[-1], found[-1] - true[-1]),
        strict=True,
    ):
        size = float(np.max(np.abs(values))) if title == "difference" else None
        low, high = ends if size is None else (-size, size)
        colours = "viridis" if size is None else "RdBu_r"
        drawn = ax.pcolormesh(
            *model.grid.values(), values.T, shading="nearest", vmin=low, vmax=high, cmap=colours
        )
        figure.colorbar(drawn, ax=ax, shrink=0.8)
        ax.set_title(title, loc="left")
        ax.set_xlabel(x)
        ax.set_ylabel(y)
    return row
