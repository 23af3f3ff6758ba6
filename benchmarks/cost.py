"""Cost of the abstraction: a generated model against the same Diffrax call written by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import sciml as sm
from sciml import Model
from sciml.solvers import Field

from . import by_hand, counting, problems
from .timing import Row, pairs, ratio, seconds

_SAVED = 101  # times


@dataclasses.dataclass(frozen=True)
class Case:
    """A problem, the vector field by hand with its arguments, and how it is solved."""

    declare: Callable[[], problems.Problem]
    field: Callable
    args: tuple[float, ...] | None
    solver: dfx.AbstractSolver
    tolerance: float

    @property
    def given(self) -> tuple | None:
        """The arguments as arrays."""
        return None if self.args is None else tuple(jnp.asarray(a) for a in self.args)


_FINDER = dfx.with_stepsize_controller_tols(optx.Chord)()  # one that converges
CASES: dict[str, Case] = {
    "Lotka-Volterra": Case(
        problems.lotka_volterra, by_hand.lotka_volterra, (1.5, 1.0, 3.0), dfx.Tsit5(), 1e-8
    ),
    "Pleiades, arrays": Case(problems.pleiades, by_hand.pleiades, None, dfx.Tsit5(), 1e-8),
    "Pleiades, scalars": Case(
        problems.pleiades_scalar, by_hand.pleiades_scalar, None, dfx.Tsit5(), 1e-8
    ),
    "POLLU": Case(problems.pollu, by_hand.pollu, None, dfx.Kvaerno5(root_finder=_FINDER), 1e-6),
}


def solves(name: str) -> tuple[Callable, Callable]:
    """Both jitted solves of a case: `sm.solve`, and Diffrax by hand.

    The state by hand is in the order in which the problem is published, the generated one too.
    """
    case = CASES[name]
    problem = case.declare()
    model = sm.compile(problem.system)
    ts = jnp.linspace(0.0, problem.end, _SAVED)
    tolerances = {"rtol": case.tolerance, "atol": case.tolerance}

    @jax.jit
    def generated(initial: Any, parameters: Any) -> Any:
        leaves = Model(parameters, initial, {}, model.program)
        span = (0.0, problem.end)
        return sm.solve(leaves, t=span, saveat=ts, solver=case.solver, **tolerances).ys

    @jax.jit
    def written(y0: Any, args: Any) -> Any:
        return dfx.diffeqsolve(
            dfx.ODETerm(case.field),
            case.solver,
            0.0,
            problem.end,
            None,
            y0,
            args,
            saveat=dfx.SaveAt(ts=ts),
            stepsize_controller=dfx.PIDController(**tolerances),
        ).ys

    y0, given = model.state(), case.given
    return (lambda: generated(model.initial, model.parameters)), (lambda: written(y0, given))


def operations(name: str) -> tuple[int, int]:
    """Equations in the jaxpr of the generated vector field, and of the one by hand."""
    case = CASES[name]
    model = sm.compile(case.declare().system)
    y0 = model.state()
    made = counting.equations(Field(model.program), 0.0, y0, model.constants())
    return made, counting.equations(case.field, 0.0, y0, case.given)


def step_instructions(name: str) -> tuple[int, int]:
    """Instructions of one compiled step with the generated vector field, and with that by hand."""
    case = CASES[name]
    model = sm.compile(case.declare().system)
    solver = case.solver
    if isinstance(solver, dfx.Kvaerno5):  # outside of a solve there are no tolerances to take
        solver = dfx.Kvaerno5(root_finder=optx.Chord(rtol=1e-6, atol=1e-6))
    y0 = model.state()
    made = counting.step(Field(model.program), solver, y0, model.constants())
    return made.total(), counting.step(case.field, solver, y0, case.given).total()


def run() -> list[Row]:
    """The rows of this figure."""
    rows = []
    for name in CASES:
        generated, written = solves(name)
        np.testing.assert_allclose(generated(), written(), rtol=1e-3, atol=1e-6)
        times = pairs(generated, written, count=101)
        micro = np.median(times, axis=0) * 1e6
        measured = f"{ratio(times)}; {micro[0]:.0f} against {micro[1]:.0f} us"
        rows.append(Row(f"solve time over hand-written Diffrax, {name}", "<= 1.02", measured))
        for what, count in (
            ("equations of the vector field", operations),
            ("instructions of a compiled step", step_instructions),
        ):
            made, by_hand_ = count(name)
            rows.append(Row(f"{what}, {name}", "<= by hand", f"{made} against {by_hand_}"))
    return [*rows, _latency()]


def _latency() -> Row:
    """What Python adds to a call of `solve` outside of `jit`."""
    problem = problems.lotka_volterra()
    model = sm.compile(problem.system)
    ts = np.linspace(0.0, problem.end, _SAVED)

    def call() -> Any:
        return sm.solve(model, t=(0, problem.end), saveat=ts, solver=dfx.Tsit5()).ys

    def again() -> Any:
        values = {"a": 1.5, "b": 1.0, "c": 3.0}
        span = (0, problem.end)
        return sm.solve(model, t=span, values=values, saveat=ts, solver=dfx.Tsit5()).ys

    inside = eqx.filter_jit(
        lambda m: sm.solve(m, t=(0, problem.end), saveat=ts, solver=dfx.Tsit5()).ys
    )
    calls = (call, again, lambda: inside(model))
    plain, new, jitted = (
        1e3 * float(np.median([seconds(c) for _ in range(50)][5:])) for c in calls
    )
    measured = f"{plain:.1f} ms, {new:.1f} ms with new values; {jitted:.1f} ms inside of jit"
    return Row("one call of sm.solve outside of jit, Lotka-Volterra", "", measured)
