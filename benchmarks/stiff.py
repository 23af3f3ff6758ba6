"""Work of the stiff steppers against achieved error, beside compiled C and scipy, in one run.

``python -m benchmarks.stiff [problem ...] [--limit 20]``, such as ``robertson pollu
brusselator_1d:1024``, prints a table for each problem: the time of each stepper and peer at errors
of 1e-4 and 1e-7 (`work.error`, the largest relative error of a component), and ratios. Peers run
in their own environment (`stiff_peers.py`), right before ours, on the same machine. Ours is one
compiled function of the initial state, parameters and all; compilation is told apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import numpy as np

import sciml as sm
from sciml.solvers import choose_solver, with_tolerances_of

from .stiff_environment import interpreter
from .stiff_problems import SMALL, problem, to_peer_order, unknowns
from .work import entries, error, time_at_error

_HERE = Path(__file__).parent
WANTED = (1e-4, 1e-7)
SIZES = tuple(f"brusselator_1d:{n}" for n in (64, 256, 1024, 4096))
SQUARES = tuple(f"brusselator_2d:{n}" for n in (32, 64, 128))
_SPAN, _MOST = 0.3, 30

Points = list[tuple[float, float]]


def steppers(name: str) -> dict[str, tuple[Any, tuple[float, ...]]]:
    """The steppers of a problem, with the powers of ten of their tolerances."""
    small = {
        "Rodas5P": (sm.Rodas5P(), (2, 3, 4, 5, 6, 7, 8, 9)),
        "Rosenbrock23": (sm.Rosenbrock23(), (3, 5, 7)),
    }
    if name in SMALL:
        return small
    bdf = sm.BDF(), (4, 5, 6, 7, 8, 9)
    if name == "brusselator_2d":
        return {"BDF": bdf, "RKC": (sm.RKC(), (3, 4, 5, 6, 7))}
    return {"Rodas5P": (sm.Rodas5P(), (3, 5, 7, 8)), "BDF": bdf}


def ours(name: str, size: int | None, floors: Iterable[float]) -> dict[str, Points]:
    """Pairs of error and milliseconds of each stepper, over its ladder of tolerances."""
    given = problem(name, size)
    model = sm.compile(given.system)
    reference = references()[name if size is None else f"{name} {size}"]
    found: dict[str, Points] = {}
    for label, (stepper, powers) in steppers(name).items():
        points: Points = []
        for power in powers:
            for floor in floors:
                rtol = 10.0**-power
                run, first = compiled(model, stepper, given.end, rtol, rtol * floor)
                y = np.asarray(run())
                if not np.isfinite(y).all():
                    continue
                state = {piece.name: y[piece.slice] for piece in model.states}
                parts = [state[str(symbol.func)] for symbol in unknowns(given)]
                ordered = to_peer_order(name, parts)
                wrong = error(ordered[entries(ordered.size)], reference)
                points.append((wrong, best(run)))
                print(
                    f"  {label} 1e-{power}, {floor:g}: error {wrong:.1e}, {points[-1][1]:.3f} ms, "
                    f"compiled in {first:.1f} s", flush=True,
                )  # fmt: skip
        found[label] = points
    return found


def compiled(
    model: sm.Model, stepper: Any, end: float, rtol: float, atol: float
) -> tuple[Callable[[], Any], float]:
    """The final state as one compiled call, and how long its first one took."""
    control = dfx.PIDController(rtol=rtol, atol=atol)
    solver = with_tolerances_of(choose_solver(stepper, rtol, model), control)
    arrays, rest = eqx.partition(model, eqx.is_array)

    @jax.jit
    def final(arrays: Any) -> Any:
        sol = sm.solve(
            eqx.combine(arrays, rest), t=(0, end), saveat=dfx.SaveAt(t1=True), solver=solver,
            rtol=rtol, atol=atol, stepsize_controller=control, max_steps=100_000, throw=False,
        )  # fmt: skip
        return sol.ys[-1]

    start = time.perf_counter()
    jax.block_until_ready(final(arrays))
    return lambda: jax.block_until_ready(final(arrays)), time.perf_counter() - start


def best(run: Callable[[], Any]) -> float:
    """Milliseconds of the quickest of several calls."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _SPAN and len(times) < _MOST):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def peers(name: str, size: int | None, limit: float) -> tuple[dict[str, Points], list[float]]:
    """The same of the peers, and the absolute tolerances that they took, over the relative ones."""
    words = [name, *([] if size is None else [str(size)]), "--limit", str(limit)]
    command = [interpreter(), _HERE / "stiff_peers.py", *words]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=_HERE).stdout
    found: dict[str, Points] = {}
    floors = set()
    for line in filter(lambda line: line.startswith("{"), told.splitlines()):
        point = json.loads(line)
        found.setdefault(point["peer"], []).append((point["error"], point["ms"]))
        floors.add(float(f"{point['atol'] / point['rtol']:.3g}"))
    return found, sorted(floors)


def references() -> Any:
    """Final states by two methods of the peers that agree."""
    return np.load(_HERE / "stiff_references.npz")


def table(name: str, mine: dict[str, Points], theirs: dict[str, Points]) -> str:
    """Milliseconds at each wanted error, and how many times as fast as groups of peers ours is."""
    both = {**mine, **theirs}
    times = {label: [time_at_error(points, w) for w in WANTED] for label, points in both.items()}
    lines = [f"| {name} | {' | '.join(f'{w:.0e}' for w in WANTED)} |", "|---" * 3 + "|"]
    lines += [f"| {label}, ms | {' | '.join(map(_short, row))} |" for label, row in times.items()]
    quickest = np.nanmin([times[label] for label in mine], axis=0)
    for group in ("CVODE", "numbalsoda", "scipy"):
        rows = [row for label, row in times.items() if label.startswith(group)]
        if rows and np.isfinite(rows).any():
            ratios = np.nanmin(rows, axis=0) / quickest
            lines.append(f"| times as fast as {group} | {' | '.join(map(_short, ratios))} |")
    return "\n".join(lines) + "\n"


def _short(number: float) -> str:
    return f"{number:.3g}" if np.isfinite(number) else "-"


def main() -> None:
    """The tables of the problems named, or of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problems", nargs="*", default=[*SMALL, *SIZES, *SQUARES])
    parser.add_argument("--limit", type=float, default=20.0)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for word in given.problems:
        name, _, size = word.partition(":")
        number = int(size) if size else None
        theirs, floors = peers(name, number, given.limit)
        print(table(word, ours(name, number, floors), theirs), flush=True)


if __name__ == "__main__":
    main()
