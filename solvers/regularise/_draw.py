"""Pictures of where a model is hard to solve."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml.dsl import SciMLError


def draw_difficulty(difficulty: Any, axes: Any) -> Any:
    """Step sizes, errors and stiffness, each as a staircase over the steps."""
    shown = {
        "step size": difficulty.sizes,
        "error / tolerance": difficulty.errors,
        "stiffness": difficulty.stiffness,
    }
    shown = {label: np.asarray(each) for label, each in shown.items() if each is not None}
    axes = _new_axes(len(shown)) if axes is None else np.ravel(axes)
    ts, sizes = np.asarray(difficulty.ts), np.asarray(difficulty.sizes)
    edges = np.append(ts, ts[-1:] + sizes[-1:])
    for ax, (label, values) in zip(axes, shown.items(), strict=True):
        ax.stairs(values, edges, baseline=None)
        if np.all(values > 0):
            ax.set_yscale("log")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("t")
    return axes


def _new_axes(rows: int) -> Any:
    """Axes one below the other. Needs matplotlib, the extra `plot`."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SciMLError("drawing needs matplotlib: pip install 'sciml-jax[plot]'") from None
    size = (6.4, 0.6 + 1.6 * rows)
    return np.ravel(plt.subplots(rows, figsize=size, sharex=True, layout="constrained")[1])
