"""Draws the README's pictures from its own examples: python docs/pictures.py"""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def run_examples() -> dict:
    """What the README's Python examples define, run one after another."""
    text = README.read_text(encoding="utf-8")
    names: dict = {}
    for example in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(example, str(README), "exec"), names)
    return names


def draw_solution(names: dict) -> plt.Axes:
    ax = names["sol"].plot(names["x"], names["y"])
    ax.legend(["prey x", "predators y"], frameon=False, ncols=2, loc="upper center")
    ax.set_ylim(top=15)
    return ax


def draw_universal(names: dict) -> plt.Axes:
    """The fit over its data and its forecast beyond them, with the truth dotted."""
    solve, x, y = names["sm"].solve, names["x"], names["y"]
    truth, forecast = solve(names["lotka_volterra"], t=(0, 20)), names["fitted"].solve(t=(0, 20))
    ax = forecast.plot(x, y)
    for symbol, colour in ((x, "C0"), (y, "C1")):
        measured = np.asarray(names["data"][symbol])
        ax.plot(names["sol"].ts[::4], measured[::4], "o", ms=3, color=colour, alpha=0.5)
        ax.plot(truth.ts, truth[symbol], ":", color="0.3", lw=1)
    ax.axvspan(10, 20, color="0.95", zorder=-1)
    ax.text(10.2, 14, "forecast", color="0.4")
    ax.legend(["prey x", "predators y"], frameon=False, ncols=2, loc="upper left")
    ax.set_ylim(top=15)
    return ax


def main() -> None:
    matplotlib.use("Agg")
    names = run_examples()
    plt.close("all")  # what the examples drew
    for name, draw in {"lotka_volterra": draw_solution, "universal": draw_universal}.items():
        path = HERE / "_static" / f"{name}.png"
        draw(names).figure.savefig(path, dpi=120)
        print(f"{path.relative_to(HERE.parent)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
