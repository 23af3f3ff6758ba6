"""Compile time and speed of many scalar equations, against sympy.lambdify and sympy2jax."""

from __future__ import annotations

import random
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
import sympy2jax

import sciml as sm
from sciml import D

from .timing import Row, pairs, ratio

_LOOP = 200  # evaluations inside one compiled loop, so that dispatch is not what is timed


def network(size: int) -> tuple[tuple, list[sympy.Expr]]:
    """Sums of 4 random products minus a decay."""
    generator = random.Random(0)
    x = sm.unknowns([f"x{i}" for i in range(size)])

    def product() -> sympy.Expr:
        return generator.random() * generator.choice(x) * generator.choice(x)

    return x, [sum(product() for _ in range(4)) - generator.random() * x[i] for i in range(size)]


def trees(size: int, depth: int = 5) -> tuple[tuple, list[sympy.Expr]]:
    """Random expression trees, no two of one shape."""
    generator = random.Random(0)
    x = sm.unknowns([f"x{i}" for i in range(size)])

    def tree(depth: int) -> sympy.Expr:
        if depth == 0 or generator.random() < 0.15:
            return (
                generator.choice(x) if generator.random() < 0.7 else sympy.Float(generator.random())
            )
        kind = generator.choice(("add", "mul", "sub", "sin", "exp", "tanh"))
        if kind == "add":
            return tree(depth - 1) + tree(depth - 1)
        if kind == "mul":
            return tree(depth - 1) * tree(depth - 1)
        if kind == "sub":
            return tree(depth - 1) - tree(depth - 1)
        inner = tree(depth - 1)
        return {"sin": sympy.sin(inner), "exp": sympy.exp(-(inner**2)), "tanh": sympy.tanh(inner)}[
            kind
        ]

    return x, [tree(depth) - x[i] for i in range(size)]


def ours(x: tuple, rates: list) -> tuple[float, Any]:
    """Seconds from declaration to the first value, and the vector field."""
    start = time.perf_counter()
    equations = [sm.Eq(D(u), rate) for u, rate in zip(x, rates, strict=True)]
    model = sm.compile(sm.System(equations))
    constants = model.constants()
    field = jax.jit(lambda y: model.program.rhs(0.0, y, *constants))
    field(jnp.full(len(x), 0.1)).block_until_ready()
    return time.perf_counter() - start, field


def lambdified(x: tuple, rates: list) -> tuple[float, Any]:
    """The same by sympy.lambdify with common subexpressions, and jit."""
    start = time.perf_counter()
    function = sympy.lambdify([list(x)], rates, modules="jax", cse=True)
    field = jax.jit(lambda y: jnp.stack(jnp.broadcast_arrays(*function(list(y)))))
    field(jnp.full(len(x), 0.1)).block_until_ready()
    return time.perf_counter() - start, field


def by_sympy2jax(x: tuple, rates: list) -> float:
    """The same by sympy2jax, whose symbols are plain."""
    plain = {u: sympy.Symbol(str(u)) for u in x}
    expressions = [rate.xreplace(plain) for rate in rates]
    names = [str(u) for u in x]
    start = time.perf_counter()
    module = sympy2jax.SymbolicModule(expressions)
    field = eqx.filter_jit(lambda m, y: jnp.stack(m(**dict(zip(names, list(y), strict=True)))))
    field(module, jnp.full(len(x), 0.1)).block_until_ready()
    return time.perf_counter() - start


def looped(field: Any, size: int) -> Any:
    """Many evaluations in one compiled loop, each depending on the one before."""

    def body(_: Any, y: Any) -> Any:
        return 0.1 + 1e-9 * field(y)

    run = jax.jit(lambda y: jax.lax.fori_loop(0, _LOOP, body, y))
    start = jnp.full(size, 0.1)
    return lambda: run(start)


def run() -> list[Row]:
    """The rows of this figure."""
    rows = []
    for size in (100, 1000, 5000):
        taken, field = ours(*network(size))
        asked = "<= 10 s" if size == 5000 else ""
        rows.append(Row(f"network model, declared to ready, n = {size}", asked, f"{taken:.2f} s"))
        if size == 1000:
            rows += _against_lambdify("network model", network(size), taken, field, "at least 20")
    x, rates = network(1000)
    taken, other = ours(x, rates)[0], by_sympy2jax(x, rates)
    what = "network model, compile time of sympy2jax over ours, n = 1000"
    figure = f"{other / taken:.0f} ({other:.1f} s against {taken:.2f} s)"
    rows.append(Row(what, "at least 20", figure))
    taken, field = ours(*trees(1000))
    rows += _against_lambdify("irregular trees", trees(1000), taken, field, "at least 1")
    return rows


def _against_lambdify(what: str, case: tuple, taken: float, field: Any, asked: str) -> list[Row]:
    other, function = lambdified(*case)
    y = jnp.linspace(0.1, 0.9, len(case[0]))
    np.testing.assert_allclose(field(y), function(y), rtol=1e-9, atol=1e-9)
    times = pairs(looped(function, len(y)), looped(field, len(y)), count=15)
    speed = "at least 3" if what == "network model" else ""
    micro = np.median(times, axis=0) / _LOOP * 1e6
    return [
        Row(
            f"{what}, compile time of lambdify over ours, n = {len(y)}",
            asked,
            f"{other / taken:.0f} ({other:.1f} s against {taken:.2f} s)",
        ),
        Row(
            f"{what}, evaluation time of lambdify over ours, n = {len(y)}",
            speed,
            f"{ratio(times)}; {micro[0]:.1f} against {micro[1]:.1f} us",
        ),
    ]
