"""Fields: graph and compile time over the grid, bandwidth, memory, gradients by coefficients.

``python -m benchmarks fields``. Times are of this machine; the ratios are what counts. The peers of
fields are run by ``python -m benchmarks.fields_peers`` and ``python -m benchmarks.fields_exponax``,
in an environment of their own.
"""

from __future__ import annotations

import functools
import resource
import time
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp

import sciml as sm
from sciml import D, t

from .timing import Row, pairs, seconds

x, y, z = sm.coordinates("x y z")
u, v = sm.unknown("u", t, x, y), sm.unknown("v", t, x, y)
CONSTANT = dfx.ConstantStepSize()


def heat(rank: int) -> sm.System:
    """Heat in a line, a square or a cube, with cold walls."""
    own = (x, y, z)[:rank]
    field = sm.unknown("u", t, *own)
    walls = [sm.Eq(field.at(**{s.name: end}), 0) for s in own for end in (0, 1)]
    start = sp.Mul(*(sp.sin(sp.pi * s) for s in own))
    return sm.System(
        sm.Eq(D(field, t), sp.Add(*(D(field, s, s) for s in own))),
        domain=dict.fromkeys(own, (0, 1)), initial={field: start}, boundary=walls,
    )  # fmt: skip


def brusselator() -> sm.System:
    """The Brusselator of problems.md in the plane, periodic, with its spot that starts late."""
    spot = sp.Piecewise((5, sp.And((x - 0.3) ** 2 + (y - 0.6) ** 2 <= 0.01, t >= 1.1)), (0, True))
    ring = [sm.Eq(f.at(**{s.name: 0}), f.at(**{s.name: 1})) for f in (u, v) for s in (x, y)]
    return sm.System(
        sm.Eq(D(u, t), 1 + u**2 * v - 4.4 * u + 0.1 * sm.laplacian(u, x, y) / 100 + spot),
        sm.Eq(D(v, t), 3.4 * u - u**2 * v + 0.1 * sm.laplacian(v, x, y) / 100),
        domain={x: (0, 1), y: (0, 1)},
        initial={u: 22 * _hump(y), v: 27 * _hump(x)},
        boundary=ring,
    )  # fmt: skip


def _hump(s: Any) -> Any:
    return (s * (1 - s)) ** sp.Rational(3, 2)


def sizes() -> list[Row]:
    """Equations of the jaxpr and the time to compile, of small and large grids."""
    rows = []
    for rank, small, large in ((1, 64, 4096), (2, 32, 512), (3, 16, 128)):
        found = []
        for count in (small, large):
            system = heat(rank)
            start = time.perf_counter()
            model = sm.compile(system, grid=dict.fromkeys(system.coordinates, count))
            declared = time.perf_counter() - start

            def rates(state: Any, model: Any = model) -> Any:
                return model.vector_field(0.0, state)

            equations = len(jax.make_jaxpr(rates)(model.state()).eqns)
            start = time.perf_counter()
            jax.jit(rates).lower(model.state()).compile()
            found.append((equations, declared, time.perf_counter() - start))
        (a, b, c), (d, e, f) = found
        rows.append(
            Row(
                f"heat, {small}^{rank} and {large}^{rank}: equations; seconds to declare, of XLA",
                "equal; flat",
                f"{a} and {d}; {b:.2f} and {e:.2f}; {c:.2f} and {f:.2f}",
            )
        )
    return rows


def bandwidth() -> list[Row]:
    """What a stencil moves, over what ``a + 3 b`` of as many numbers moves, in turn."""
    rows = []
    for order in (2, 4):
        model = sm.compile(heat(2), grid={x: 2048, y: 2048}, order=order)
        state = jnp.asarray(np.random.default_rng(0).normal(size=model.program.size))
        other = state[::-1]
        rates = jax.jit(functools.partial(model.vector_field, 0.0))
        mine = functools.partial(rates, state)
        both = pairs(mine, functools.partial(_triad, state, other), count=31)
        part = np.median((2 / both[:, 0]) / (3 / both[:, 1]))
        ours, theirs = 1e3 * np.median(both, axis=0)
        rows.append(
            Row(
                f"Laplacian of order {order} at 2048 x 2048, of a triad's bandwidth",
                ">= .5", f"{part:.2f} ({ours:.1f} ms; triad {theirs:.1f} ms)",
            )
        )  # fmt: skip
    return rows


@jax.jit
def _triad(a: Any, b: Any) -> Any:
    return a + 3.0 * b


def large() -> list[Row]:
    """Large grids by explicit steps: seconds, and memory over that of the state."""
    rows = []
    square, cube = {x: 256, y: 256}, dict.fromkeys((x, y, z), 64)
    adaptive = {"solver": sm.RKC(), "rtol": 1e-4, "atol": 1e-6}
    cases: tuple[tuple[str, sm.System, dict, float, dict[str, Any]], ...] = (
        ("Brusselator, 256 x 256, to t = 11.5, RKC", brusselator(), square, 11.5, adaptive),
        ("the same, Heun, steps of .002", brusselator(), square, 11.5, _constant(0.002)),
        ("heat, 64 x 64 x 64, to t = .1, RKC", heat(3), cube, 0.1, adaptive),
        ("the same, Heun, steps of 4e-5", heat(3), cube, 0.1, _constant(4e-5)),
    )
    for name, system, grid, end, options in cases:
        model = sm.compile(system, grid=grid, order=2)

        def run(state: Any, model: Any = model, end: float = end, options: Any = options) -> Any:
            field = model.system.fields[0]
            sol = sm.solve(
                model, t=(0, end), saveat=[end], max_steps=100_000, throw=False, **options
            )
            return sol[field][-1], sol.stats["num_steps"], state[:1]

        compiled = jax.jit(run).lower(model.state()).compile()
        memory = compiled.memory_analysis()
        state = model.state().nbytes
        took = seconds(lambda compiled=compiled, model=model: compiled(model.state()))
        steps = int(compiled(model.state())[1])
        rows.append(
            Row(
                f"{name}: memory over the state; time",
                "<= 8; minutes",
                f"{(memory.temp_size_in_bytes + memory.output_size_in_bytes) / state:.1f}; "
                f"{took:.1f} s, {steps} steps",
            )
        )
    return rows


def _constant(step: float) -> dict[str, Any]:
    return {"solver": dfx.Heun(), "dt0": step, "stepsize_controller": CONSTANT}


def by_coefficient() -> list[Row]:
    """The gradient of a functional of the end by a conductivity of 10 000 values."""
    field, k = sm.unknown("u", t, x, y), sm.parameter("k", shape=(100, 100))
    walls = [sm.Eq(field.at(**{s.name: end}), 0) for s in (x, y) for end in (0, 1)]
    system = sm.System(
        sm.Eq(D(field, t), D(k * D(field, x), x) + D(k * D(field, y), y)),
        domain={x: (0, 1), y: (0, 1)},
        initial={field: sp.sin(sp.pi * x) * sp.sin(2 * sp.pi * y)}, boundary=walls,
        values={k: np.ones((100, 100))},
    )  # fmt: skip
    model = sm.compile(system, grid={x: 100, y: 100}, order=2)
    random = np.random.default_rng(0)
    weights = jnp.asarray(random.normal(size=(100, 100)))
    here = jnp.asarray(1 + 0.3 * random.random((100, 100)))

    def functional(value: Any) -> Any:
        sol = sm.solve(
            model, t=(0, 0.02), values={k: value}, saveat=[0.02], solver=sm.RKC(), rtol=1e-5,
            atol=1e-8, dt0=1e-3, stepsize_controller=CONSTANT,
        )  # fmt: skip
        return jnp.sum(weights * sol[field][-1])

    primal, both = jax.jit(functional), jax.jit(jax.value_and_grad(functional))
    gradient = both(here)[1]
    apart = []
    for _ in range(3):
        way, step = jnp.asarray(random.normal(size=(100, 100))), 1e-5
        difference = (primal(here + step * way) - primal(here - step * way)) / (2 * step)
        apart.append(abs(float(jnp.sum(gradient * way) / difference) - 1))
    times = pairs(functools.partial(both, here), functools.partial(primal, here), count=7)
    cost = np.median(times[:, 0] / times[:, 1])
    return [
        Row(
            "gradient by 10 000 coefficients over the solve; from differences in 3 directions",
            "<= 5; <= 1e-5", f"{cost:.2f}; {max(apart):.1e}",
        )
    ]  # fmt: skip


def run() -> list[Row]:
    """All rows."""
    return [*sizes(), *bandwidth(), *large(), *by_coefficient()]


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for row in run():
        print(f"| {row.what} | {row.asked} | {row.measured} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process: {peak:.2f} GiB")
