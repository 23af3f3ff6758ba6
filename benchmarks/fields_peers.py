"""Fields beside py-pde (numba) and scipy's BDF with a sparsity pattern: to equal achieved errors.

``python -m benchmarks.fields_peers`` makes the environment ``.venv-fields`` and runs itself there.
All solve the same semi-discrete equations of second order on the same nodes, so that the error is
that of the steps: against scipy's DOP853 to 1e-11. Each runs down a ladder of tolerances; what
counts is the time of the first rung below an error, compilation excluded, runs in turn.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parent / ".venv-fields"
_PEERS = ("exponax==0.2.0", "py-pde==0.59.0", "numba==0.68.1", "scipy")
_OURS = ("jax[cpu]", "equinox", "diffrax", "optimistix", "lineax", "sympy", "tqdm", "optax")
ERRORS = (1e-4, 1e-6)
LADDER = tuple(10.0**-k for k in range(2, 11))
TURNS = 3


def interpreter() -> Path:
    """Python of the environment of the peers, made when it is missing."""
    python, ready = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        pins = _HERE.parent / "constraints.txt"
        subprocess.run([*pip, "-c", pins, *_OURS], check=True)
        subprocess.run([*pip, *_PEERS], check=True)
        ready.touch()
    return python


def laplacian(u: np.ndarray, step: float) -> np.ndarray:
    """On a ring in each direction."""
    total = -2.0 * u.ndim * u
    for axis in range(u.ndim):
        total = total + np.roll(u, 1, axis) + np.roll(u, -1, axis)
    return total / step**2


class Case:
    """A periodic problem: rates in numpy, as expressions of py-pde, and as a system of ours."""

    def __init__(
        self, name: str, count: int, rank: int, end: float, length: float, rates: Any, peer: dict,
        start: Callable[..., tuple], system: Callable[..., Any], solvers: Callable[[], dict],
    ) -> None:  # fmt: skip
        self.name, self.count, self.rank, self.end, self.length = name, count, rank, end, length
        self.rates, self.peer, self.system, self.solvers = rates, peer, system, solvers
        places = np.arange(count) * length / count
        mesh = np.meshgrid(*[places] * rank, indexing="ij")
        self.start = np.stack([np.broadcast_to(v, mesh[0].shape) for v in start(*mesh)])
        self.step = length / count

    def field(self, t: float, y: np.ndarray) -> np.ndarray:
        return np.ravel(np.stack(self.rates(y.reshape(self.start.shape), self.step)))


def cases() -> list[Case]:
    import diffrax as dfx
    import sympy as sp

    import sciml as sm
    from sciml import D, t

    x, y = sm.coordinates("x y")

    def ring(fields: Any, own: Any, length: float) -> Any:
        return [sm.Eq(f.at(**{s.name: 0}), f.at(**{s.name: length})) for f in fields for s in own]

    def allen_cahn(length: float) -> Any:
        u = sm.unknown("u", t, x)
        wave = 2 * sp.pi * x / length
        return sm.System(
            sm.Eq(D(u, t), D(u, x, x) / 100 + u - u**3), domain={x: (0, length)},
            initial={u: sp.sin(wave) / 2 + sp.cos(3 * wave) / 4}, boundary=ring([u], [x], length),
        )  # fmt: skip

    def brusselator(length: float) -> Any:
        u, v = sm.unknown("u", t, x, y), sm.unknown("v", t, x, y)
        a, b = 2 * sp.pi * x / length, 2 * sp.pi * y / length
        return sm.System(
            sm.Eq(D(u, t), 1 + u**2 * v - 4 * u + sm.laplacian(u, x, y) / 50),
            sm.Eq(D(v, t), 3 * u - u**2 * v + sm.laplacian(v, x, y) / 50),
            domain={x: (0, length), y: (0, length)},
            initial={u: 1 + sp.sin(a) * sp.cos(b) / 2, v: 3 + sp.cos(a) / 2},
            boundary=ring([u, v], [x, y], length),
        )

    return [
        Case(
            "Allen-Cahn, 1024 nodes", 1024, 1, 5.0, 8.0,
            lambda u, h: [laplacian(u[0], h) / 100 + u[0] - u[0] ** 3],
            {"u": "laplace(u) / 100 + u - u**3"},
            lambda s: (np.sin(np.pi * s / 4) / 2 + np.cos(3 * np.pi * s / 4) / 4,),
            allen_cahn, lambda: {"RKC": sm.RKC(), "BDF": sm.BDF(), "Tsit5": dfx.Tsit5()},
        ),
        Case(
            "Brusselator, 64 x 64", 64, 2, 5.0, 1.0,
            lambda w, h: [
                1 + w[0] ** 2 * w[1] - 4 * w[0] + laplacian(w[0], h) / 50,
                3 * w[0] - w[0] ** 2 * w[1] + laplacian(w[1], h) / 50,
            ],
            {"u": "1 + u**2 * v - 4 * u + laplace(u) / 50",
             "v": "3 * u - u**2 * v + laplace(v) / 50"},
            lambda a, b: (1 + np.sin(2 * np.pi * a) * np.cos(2 * np.pi * b) / 2,
                          3 + np.cos(2 * np.pi * a) / 2),
            brusselator, lambda: {"RKC": sm.RKC(), "Tsit5": dfx.Tsit5()},
        ),
    ]  # fmt: skip


def pattern(case: Case) -> Any:
    """Where the Jacobian of the rates is not zero."""
    import scipy.sparse as sps

    one = sps.diags_array([1.0, 1.0, 1.0], offsets=[-1, 0, 1], shape=(case.count,) * 2).tolil()
    one[0, -1] = one[-1, 0] = 1.0
    eye = sps.eye_array(case.count)
    space = one if case.rank == 1 else sps.kron(one, eye) + sps.kron(eye, one)
    fields = len(case.start)
    both = sps.kron(np.eye(fields), space) + sps.kron(
        np.ones((fields, fields)), sps.eye_array(space.shape[0])
    )
    return (both != 0).astype(float).tocsc()


def runs(case: Case) -> dict[str, Callable[[float], np.ndarray]]:
    """Of each contestant, the end for a tolerance."""
    import jax
    import pde
    from scipy.integrate import solve_ivp

    import sciml as sm

    grid = pde.CartesianGrid([[0, case.length]] * case.rank, case.count, periodic=True)
    fields = [pde.ScalarField(grid, values) for values in case.start]
    state = fields[0] if len(fields) == 1 else pde.FieldCollection(fields, labels=list(case.peer))
    equation = pde.PDE(case.peer)

    @functools.cache
    def stepper(tolerance: float) -> Any:
        made = pde.solvers.RungeKuttaSolver(
            equation, backend="numba", adaptive=True, tolerance=tolerance
        )
        return made.make_stepper(state)

    def py_pde(tolerance: float) -> np.ndarray:
        moving = state.copy()
        stepper(tolerance)(moving, 0.0, case.end)
        return np.asarray(moving.data).reshape(case.start.shape)

    sparsity = pattern(case)

    def scipy_bdf(tolerance: float) -> np.ndarray:
        found = solve_ivp(
            case.field, (0, case.end), case.start.ravel(), method="BDF", jac_sparsity=sparsity,
            rtol=tolerance, atol=tolerance,
        )  # fmt: skip
        return found.y[:, -1].reshape(case.start.shape)

    system = case.system(case.length)
    own = dict.fromkeys(system.coordinates, case.count)
    model = sm.compile(system, grid=own, order=2)
    made = {}
    for name, solver in case.solvers().items():

        def solved(tolerance: Any, solver: Any = solver) -> Any:
            sol = sm.solve(
                model, t=(0, case.end), saveat=[case.end], solver=solver, rtol=tolerance,
                atol=tolerance, max_steps=100_000,
            )  # fmt: skip
            return [sol[f][-1] for f in system.fields]

        made[f"sciml {name}"] = lambda tolerance, solved=solved: np.stack(
            [np.asarray(v) for v in jax.block_until_ready(solved(tolerance))]
        )
    return {**made, "py-pde": py_pde, "scipy BDF": scipy_bdf}


def measure(case: Case) -> dict[str, list[tuple[float, float]]]:
    """Of each contestant the times and errors, down the ladder until the last error is reached."""
    from scipy.integrate import solve_ivp

    exact = solve_ivp(
        case.field, (0, case.end), case.start.ravel(), method="DOP853", rtol=1e-11, atol=1e-12
    ).y[:, -1].reshape(case.start.shape)  # fmt: skip
    found: dict[str, list[tuple[float, float]]] = {}
    for name, run in runs(case).items():
        for tolerance in LADDER:
            run(tolerance)  # compiled
            times = []
            for _ in range(TURNS):
                begin = time.perf_counter()
                end = run(tolerance)
                times.append(time.perf_counter() - begin)
            error = float(np.max(np.abs(end - exact)) / np.max(np.abs(exact)))
            found.setdefault(name, []).append((min(times), error))
            print(f"  {name}, {tolerance:.0e}: {min(times):.4f} s, error {error:.1e}", flush=True)
            if error < min(ERRORS) or min(times) > 30:
                break
    return found


def main() -> None:
    """A table for each problem."""
    import jax

    jax.config.update("jax_enable_x64", True)
    for case in cases():
        print(case.name, flush=True)
        found = measure(case)
        for error in ERRORS:
            best = {
                name: min((s for s, e in ladder if e <= error), default=np.inf)
                for name, ladder in found.items()
            }
            ours = min(s for name, s in best.items() if name.startswith("sciml"))
            told = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in best.items())
            over = {n: s / ours for n, s in best.items() if not n.startswith("sciml")}
            ratios = ", ".join(f"{name} {r:.1f}" for name, r in over.items())
            print(f"| {case.name}, error {error:.0e} | {told} | over ours: {ratios} |", flush=True)


if __name__ == "__main__":
    if Path(sys.prefix) == _ENVIRONMENT:
        main()
    else:
        environment = {"PYTHONPATH": str(_HERE.parent), "PATH": "/usr/bin:/bin"}
        subprocess.run([interpreter(), __file__], check=True, env=environment)
