"""Cost of the abstraction: a generated model against the same Diffrax call written by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np

import sciml as sm
from sciml.solvers import Field, choose_solver

from . import by_hand, problems
from .timing import Row, pairs, ratio

CASES: dict[str, tuple[Callable, Callable, Any, bool, float]] = {
    "Lotka-Volterra": (
        problems.lotka_volterra,
        by_hand.lotka_volterra,
        (1.5, 1.0, 3.0),
        False,
        1e-8,
    ),
    "Pleiades, arrays": (problems.pleiades, by_hand.pleiades, None, False, 1e-8),
    "Pleiades, scalars": (problems.pleiades_scalar, by_hand.pleiades_scalar, None, False, 1e-8),
    "POLLU": (problems.pollu, by_hand.pollu, None, True, 1e-6),
}


def solvers_of(name: str) -> tuple[Callable, Callable, Any]:
    """Both jitted solves of a case, as functions of the initial state; and that state.

    The state by hand is in the order that the problem is published in, which is the generated one.
    """
    declare, field, args, stiff, tolerance = CASES[name]
    problem = declare()
    model = sm.compile(problem.system)
    y0 = model.state()
    solver = choose_solver("stiff", tolerance) if stiff else dfx.Tsit5()

    def run(vector_field: Callable, y0: Any, args: Any) -> Any:
        return dfx.diffeqsolve(
            dfx.ODETerm(vector_field),
            solver,
            0.0,
            problem.end,
            None,
            y0,
            args=args,
            stepsize_controller=dfx.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=100_000,
            throw=False,
        ).ys

    given = None if args is None else tuple(jnp.asarray(a) for a in args)
    generated = jax.jit(functools.partial(run, Field(model.program)))
    by_hand_ = jax.jit(functools.partial(run, field))
    constants = model.constants()
    return (lambda y: generated(y, constants)), (lambda y: by_hand_(y, given)), y0


def operations(name: str) -> tuple[int, int]:
    """Equations in the jaxpr of the generated vector field, and of the one by hand."""
    declare, field, args, *_ = CASES[name]
    model = sm.compile(declare().system)
    y0, given = model.state(), None if args is None else tuple(jnp.asarray(a) for a in args)
    made = jax.make_jaxpr(lambda y, c: Field(model.program)(0.0, y, (c, {})))(
        y0, model.constants()[0]
    )
    return count(made.jaxpr), count(jax.make_jaxpr(lambda y, a: field(0.0, y, a))(y0, given).jaxpr)


def count(jaxpr: Any) -> int:
    """Number of equations, those of inner jaxprs included."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [p for p in equation.params.values() if hasattr(p, "jaxpr")]
        total += sum(count(p.jaxpr) for p in inner) if inner else 1
    return total


def run() -> list[Row]:
    """The rows of this figure."""
    rows = []
    for name in CASES:
        generated, hand, y0 = solvers_of(name)
        np.testing.assert_allclose(generated(y0), hand(y0), rtol=1e-3, atol=1e-6)
        times = pairs(lambda g=generated, y=y0: g(y), lambda h=hand, y=y0: h(y), count=101)
        micro = np.median(times, axis=0) * 1e6
        rows.append(
            Row(
                f"solve time over hand-written Diffrax, {name}",
                "<= 1.02",
                f"{ratio(times)}; {micro[0]:.0f} against {micro[1]:.0f} us",
            )
        )
        made, written = operations(name)
        rows.append(
            Row(
                f"operations of the vector field, {name}", "<= by hand", f"{made} against {written}"
            )
        )
    return rows
