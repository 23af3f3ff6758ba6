"""The peers' half of the stiff benchmark, run by the interpreter of ``.venv-stiff``.

``python stiff_peers.py <problem> [<size>] [--peers a,b] [--rtols 1e-4,1e-6] [--limit 60]`` solves a
problem of `stiff_rates.py` by each peer on a ladder of tolerances, and prints a line of JSON for
each: ``{"problem", "size", "peer", "rtol", "atol", "ms", "y", "steps", "rhs", "error"}``. Here `ms`
is the best of several solves after a first one, `y` the final state (those entries of it that
`work.entries` names) and `error` `work.error` against ``stiff_references.npz``. A peer ends its
ladder where the next solve would take longer than the limit, in seconds, or where it fails. With
``--table`` instead: the time of each at errors of 1e-4 and 1e-7. ``references`` in place of a
problem computes the references anew.

The absolute tolerance is the relative one times each of `Task.floors`, and the better of them
counts at each error. Every peer gets compiled right-hand sides and analytic Jacobians in the format
that suits it. CVODE and numbalsoda call them as a C program would (see `stiff_cvode.py`). scipy
calls them from Python, numba's dispatch included, which belongs to how it works: its own steps in
Python (Radau, BDF) take many times as long. All go through the jump of the source at t = 1.1 in the
two-dimensional Brusselator by error control; CVODE also, as ``stop``, by beginning anew there.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy.sparse.linalg
from numba import types
from scipy.integrate import solve_ivp
from stiff_cvode import Cvode, Outcome
from stiff_rates import SIZED, SMALL, Task, compiled, task
from work import entries, error, time_at_error

REFERENCES = Path(__file__).with_name("stiff_references.npz")
_LSODA = Path(sys.prefix) / "lib" / "liblsoda.so"
RTOLS = tuple(10.0**-power for power in range(2, 12))
_SPAN, _MOST = 0.3, 30  # seconds and solves that a timing takes, at least 3 solves or 5 s
_LARGEST_DENSE = 300

Solve = Callable[[float, float], Outcome]


class Scipy:
    """`solve_ivp` by one of its methods, the Jacobian dense, banded (LSODA) or sparse."""

    def __init__(self, problem: Task, method: str) -> None:
        self.problem, self.options = problem, {"method": method}
        self.rates = _returning(problem.rates, problem.size)
        if method == "LSODA" and problem.band:
            width = 2 * problem.band + 1
            self.options |= {"lband": problem.band, "uband": problem.band}
            self.options["jac"] = _matrix(problem, "lsoda band", (width, problem.size))
        elif method != "LSODA" and problem.name in SIZED:
            self.options["jac"] = self._sparse
            self.values = _matrix(problem, "sparse", (len(problem.indices),))
        else:
            self.options["jac"] = _matrix(problem, "rows", (problem.size, problem.size))

    def _sparse(self, t: float, y: np.ndarray) -> Any:
        problem = self.problem
        parts = self.values(t, y), problem.indices, problem.indptr
        return scipy.sparse.csc_matrix(parts, shape=(problem.size, problem.size))

    def __call__(self, rtol: float, atol: float) -> Outcome:
        problem = self.problem
        span = (0.0, problem.end)
        found = solve_ivp(self.rates, span, problem.start, rtol=rtol, atol=atol, **self.options)
        return Outcome(found.y[:, -1] if found.success else None, len(found.t) - 1, found.nfev)


def _returning(rates: Callable, size: int) -> Callable:
    @compiled
    def function(t, y):
        out = np.empty(size)
        rates(t, y, out)
        return out

    return function


def _matrix(problem: Task, format: str, shape: tuple[int, ...]) -> Callable:
    jacobian, place, length = problem.jacobian, problem.place(format), math.prod(shape)

    @compiled
    def function(t, y):
        out = np.zeros(length)
        jacobian(t, y, out, place)
        return out.reshape(shape)

    return function


class NumbaLsoda:
    """numbalsoda's LSODA, in C++; its Jacobian is dense and by differences, it takes no other."""

    def __init__(self, problem: Task) -> None:
        self.problem, rates, size = problem, problem.rates, problem.size
        self.count = np.zeros(1, np.int64)

        def callback(t, y, out, count):
            rates(t, numba.carray(y, size), numba.carray(out, size))
            numba.carray(count, 1)[0] += 1

        double, doubles, counter = types.double, *map(types.CPointer, (types.double, types.int64))
        signature = types.void(double, doubles, doubles, counter)
        self.callback = numba.cfunc(signature, error_model="numpy")(callback)
        self.call = ctypes.CDLL(str(_LSODA)).lsoda_wrapper
        pointer, real, integer = ctypes.c_void_p, ctypes.c_double, ctypes.c_int
        self.call.argtypes = [
            pointer, integer, pointer, pointer, integer, pointer, pointer, real, real, integer,
            pointer,
        ]  # fmt: skip
        self.call.restype = None

    def __call__(self, rtol: float, atol: float) -> Outcome:
        problem, success = self.problem, np.zeros(1, np.int32)
        times, states = np.array([0.0, problem.end]), np.empty((2, problem.size))
        self.count[0] = 0
        self.call(
            self.callback.address, problem.size, problem.start.ctypes.data, self.count.ctypes.data,
            2, times.ctypes.data, states.ctypes.data, rtol, atol, 10**6, success.ctypes.data,
        )  # fmt: skip
        # How many steps it took it does not tell.
        return Outcome(states[1] if success[0] == 1 else None, -1, int(self.count[0]))


def peers(problem: Task) -> dict[str, Callable[[], Solve]]:
    """What can solve a problem of this size and structure in reasonable time, by name."""
    small = problem.size <= _LARGEST_DENSE
    found: dict[str, Callable[[], Solve]] = {}
    for method in ("BDF", "Radau", *(["LSODA"] if small or problem.band else [])):
        found[f"scipy {method}"] = lambda method=method: Scipy(problem, method)
    if small:
        found["CVODE dense"] = lambda: Cvode(problem, "dense")
    if problem.band:
        found["CVODE band"] = lambda: Cvode(problem, "band")
    if problem.name in SIZED:
        found["CVODE sparse"] = lambda: Cvode(problem, "sparse")
    if problem.name == "brusselator_2d":
        for linear in ("gmres", "bicgstab"):
            found[f"CVODE {linear}"] = lambda linear=linear: Cvode(problem, linear)
            found[f"CVODE {linear} stop"] = lambda linear=linear: functools.partial(
                Cvode(problem, linear), stops=_pieces(problem)
            )
    if small and _LSODA.exists():
        found["numbalsoda"] = lambda: NumbaLsoda(problem)
    return found


def timed(solve: Solve, rtol: float, atol: float) -> tuple[Outcome, float]:
    """A solve and the least time in ms that one took."""
    start = time.perf_counter()
    outcome = solve(rtol, atol)
    spent = [time.perf_counter() - start]
    while sum(spent) < 5.0 and (len(spent) < 4 or sum(spent) < _SPAN) and len(spent) < _MOST:
        start = time.perf_counter()
        outcome = solve(rtol, atol)
        spent.append(time.perf_counter() - start)
    return outcome, 1e3 * min(spent[1:] or spent)


def _late(*_: Any) -> None:
    """scipy's LSODA sets no bound on its steps: at 1e-11 on POLLU it does not arrive."""
    raise TimeoutError


def ladder(problem: Task, solve: Solve, rtols: tuple[float, ...], limit: float) -> Iterator[dict]:
    """What a peer does at each tolerance."""
    solve(1e-3, 1e-3 * problem.floors[-1])  # compiles
    for floor in problem.floors:
        for rtol in rtols:
            signal.setitimer(signal.ITIMER_REAL, limit + 10.0)  # a timing takes 5 s or one solve
            try:
                outcome, taken = timed(solve, rtol, rtol * floor)
            except TimeoutError:
                break
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
            if outcome.y is not None:
                yield {
                    "rtol": rtol, "atol": rtol * floor, "ms": taken,
                    "y": outcome.y[entries(problem.size)].tolist(),
                    "steps": outcome.steps, "rhs": outcome.rhs,
                }  # fmt: skip
            if 2 * taken > 1e3 * limit:  # a tenth of the tolerance costs about 1.5 times as much
                break


def key(problem: str, size: int | None) -> str:
    """The name of a reference."""
    return problem if size is None else f"{problem} {size}"


def measure(name: str, size: int | None, chosen: Any, rtols: Any, limit: float) -> Iterator[dict]:
    """The lines of a problem."""
    problem = task(name, size)
    with np.load(REFERENCES) as stored:
        reference = stored.get(key(name, size))
    for peer, make in peers(problem).items():
        if chosen and peer not in chosen:
            continue
        for line in ladder(problem, make(), rtols, limit):
            found = None if reference is None else error(line["y"], reference)
            yield {"problem": name, "size": size, "peer": peer, **line, "error": found}


def table(lines: Iterator[dict]) -> Iterator[str]:
    """The time of each peer at two errors."""
    points: dict[str, list] = {}
    for line in lines:
        if line["error"] is None:
            raise SystemExit("no reference for this size: run `stiff_peers.py references`")
        points.setdefault(line["peer"], []).append((line["error"], line["ms"]))
    for peer, ladder in points.items():
        times = [time_at_error(ladder, wanted) for wanted in (1e-4, 1e-7)]
        yield f"{peer:22}" + "".join(f"{value:12.4g}" for value in times)


def references(only: str | None = None) -> None:
    """Computes the references by two methods, says how far they agree, and stores the first.

    By scipy's Radau and by CVODE; the Brusselator in two dimensions by scipy's DOP853, explicit and
    held to so small a step by stability that it is accurate to rounding, and by CVODE, both of
    which begin anew at t = 1.1, where the source jumps.
    """
    cases = [(name, None) for name in SMALL]
    cases += [(name, size) for name, (_, sizes) in SIZED.items() for size in sizes]
    for name, size in cases:
        if only and not key(name, size).startswith(only):
            continue
        problem = task(name, size)
        chosen = entries(problem.size)
        one, other = exact(problem)[chosen], second(problem)[chosen]
        print(f"{key(name, size)}: agree to {error(other, one):.1e}", file=sys.stderr, flush=True)
        stored = dict(np.load(REFERENCES)) if REFERENCES.exists() else {}
        np.savez(REFERENCES, **stored | {key(name, size): one})


def exact(problem: Task) -> np.ndarray:
    """The reference, by scipy."""
    if problem.name != "brusselator_2d":
        found = Scipy(problem, "Radau")(3e-14, 1e-14 * problem.floors[-1]).y
        assert found is not None
        return found
    rates = _returning(problem.rates, problem.size)
    # Steps beyond its limit of stability, about 6 over the norm, would only be refused.
    norm = scipy.sparse.linalg.norm(Scipy(problem, "BDF")._sparse(0.0, problem.start), np.inf)
    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12, "max_step": 4 / norm}
    state, start = problem.start, 0.0
    for end in _pieces(problem):
        # The source belongs to t >= 1.1: no stage of the first piece may see it.
        inside = lambda t, y, end=end: rates(min(t, np.nextafter(end, 0)), y)
        state = solve_ivp(inside, (start, end), state, t_eval=[end], **options).y[:, -1]
        start = end
    return state


def _pieces(problem: Task) -> tuple[float, ...]:
    return (1.1, problem.end) if problem.name == "brusselator_2d" else (problem.end,)


def second(problem: Task) -> np.ndarray:
    """The reference, by CVODE."""
    linear = "bicgstab" if problem.name == "brusselator_2d" else "band" if problem.band else "dense"
    outcome = Cvode(problem, linear)(3e-14, 1e-14 * problem.floors[-1], _pieces(problem))
    assert outcome.y is not None
    return outcome.y


def main() -> None:
    """Prints what was asked for, and nothing of what SuperLU_MT prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("problem", choices=[*SMALL, *SIZED, "references"])
    parser.add_argument("size", nargs="?")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=())
    parser.add_argument("--rtols", type=lambda text: tuple(map(float, text.split(","))))
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if asked.problem == "references":
        references(asked.size)
        return
    signal.signal(signal.SIGALRM, _late)
    size = None if asked.size is None else int(asked.size)
    lines = measure(asked.problem, size, asked.peers, asked.rtols or RTOLS, asked.limit)
    for line in table(lines) if asked.table else map(json.dumps, lines):
        print(line, file=out, flush=True)


if __name__ == "__main__":
    main()
