"""Exponential steps beside exponax: the same integrator, grid and steps, in one process.

Run by `fields.py` with the Python of ``.venv-fields``. Both are compiled before; each figure is the
median of the ratios of pairs, run one after the other. exponax is taken as it steps fastest, from
coefficients to coefficients, and as it is called, from values to values.
"""

from __future__ import annotations

import json
import statistics
import time

import diffrax as dfx
import exponax as ex
import jax
import jax.numpy as jnp
import numpy as np
import sympy as sp

import sciml as sm
from sciml import D, t

jax.config.update("jax_enable_x64", True)
PAIRS = 9


def ring(fields, coordinates, length):
    return [sm.Eq(f.at(**{s.name: 0}), f.at(**{s.name: length}))
            for f in fields for s in coordinates]  # fmt: skip


x, y = sm.coordinates("x y")
u = sm.unknown("u", t, x)
v, w = sm.unknown("v", t, x, y), sm.unknown("w", t, x, y)


def one(equation, length, start):
    return sm.System(equation, domain={x: (0, length)}, initial={u: start},
                     boundary=ring([u], [x], length))  # fmt: skip


def burgers(n):
    length, dt = 2 * np.pi, 2e-4
    system = one(sm.Eq(D(u, t) + D(u**2 / 2, x), D(u, x, x) / 50), length, 1 + sp.sin(x))
    return system, {x: n}, dt, ex.stepper.Burgers(
        1, length, n, dt, diffusivity=0.02, conservative=True, order=4
    )  # fmt: skip


def kuramoto_sivashinsky(n):
    length, dt = 32 * np.pi, 0.05
    system = one(sm.Eq(D(u, t) + D(u**2 / 2, x), -D(u, x, x) - D(u, x, 4)), length,
                 sp.cos(x / 16) * (1 + sp.sin(x / 16)))  # fmt: skip
    stepper = ex.stepper.KuramotoSivashinskyConservative(1, length, n, dt, order=4)
    return system, {x: n}, dt, stepper


def korteweg_de_vries(n):
    length, dt = 40.0, 1e-3
    equation = sm.Eq(D(u, t), D(3 * u**2, x) - D(u, x, 3))
    return one(equation, length, 1 / (2 * sp.cosh((x - 20) / 2) ** 2)), {x: n}, dt, (
        ex.stepper.KortewegDeVries(1, length, n, dt, hyper_diffusivity=0.0, conservative=True,
                                   order=4)
    )  # fmt: skip


def gray_scott(n):
    """Its products are no derivatives, and keep all waves here, as in the vector field."""
    length, dt = 2.5, 0.5
    bump = sp.sin(sp.pi * x / length) ** 8 * sp.sin(sp.pi * y / length) ** 8
    system = sm.System(
        sm.Eq(D(v, t), 2e-5 * sm.laplacian(v, x, y) - v * w**2 + 0.04 * (1 - v)),
        sm.Eq(D(w, t), 1e-5 * sm.laplacian(w, x, y) + v * w**2 - 0.1 * w),
        domain={x: (0, length), y: (0, length)},
        initial={v: 1 - bump / 2, w: bump / 4},
        boundary=ring([v, w], [x, y], length),
    )
    return system, {x: n, y: n}, dt, ex.stepper.reaction.GrayScott(
        2, length, n, dt, order=4, dealiasing_fraction=1.0
    )  # fmt: skip


CASES = {
    "Burgers, 256": (burgers, 256, 2000),
    "Burgers, 4096": (burgers, 4096, 400),
    "Kuramoto-Sivashinsky, 256": (kuramoto_sivashinsky, 256, 2000),
    "Kuramoto-Sivashinsky, 4096": (kuramoto_sivashinsky, 4096, 400),
    "Korteweg-de Vries, 256": (korteweg_de_vries, 256, 2000),
    "Korteweg-de Vries, 4096": (korteweg_de_vries, 4096, 400),
    "Gray-Scott, 128 x 128": (gray_scott, 128, 300),
    "Gray-Scott, 256 x 256": (gray_scott, 256, 100),
}


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(make, n, steps):
    system, grid, dt, stepper = make(n)
    model = sm.compile(system, grid=grid, scheme="fourier")
    shape = tuple(grid.values())
    start = model.state().reshape(-1, *shape)
    options = {"dt0": dt, "stepsize_controller": dfx.ConstantStepSize(), "max_steps": steps + 8}

    @jax.jit
    def ours(y):
        started = model.replace(initial=dict(zip(model.fields, y, strict=True)))
        sol = sm.solve(started, t=(0, steps * dt), solver=sm.ETDRK4(), saveat=[steps * dt],
                       throw=False, **options)  # fmt: skip
        return jnp.stack([sol[f][-1] for f in model.system.fields])

    dims = len(shape)

    @jax.jit
    def spectral(y):
        z = ex.fft(y, num_spatial_dims=dims)
        z = jax.lax.fori_loop(0, steps, lambda _, z: stepper.step_fourier(z), z)
        return ex.ifft(z, num_spatial_dims=dims, num_points=n)

    @jax.jit
    def called(y):
        return jax.lax.fori_loop(0, steps, lambda _, y: stepper(y), y)

    ends = [np.asarray(jax.block_until_ready(f(start))) for f in (ours, spectral, called)]
    apart = float(np.max(np.abs(ends[0] - ends[1])) / np.max(np.abs(ends[1])))
    ratios, seconds = ([], []), []
    for _ in range(PAIRS):
        mine = timed(lambda: jax.block_until_ready(ours(start)))
        seconds.append(mine)
        for found, other in zip(ratios, (spectral, called), strict=True):
            found.append(mine / timed(lambda other=other: jax.block_until_ready(other(start))))
    return {
        "steps": steps,
        "milliseconds": 1e3 * statistics.median(seconds),
        "over_spectral": statistics.median(ratios[0]),
        "over_called": statistics.median(ratios[1]),
        "apart": apart,
    }


if __name__ == "__main__":
    for name, case in CASES.items():
        print(json.dumps({"case": name, **measure(*case)}), flush=True)
