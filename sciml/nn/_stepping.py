"""How a module is solved: the options of `solve`, in one object."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax as dfx

from sciml.dsl import Model
from sciml.solvers import Solution, solve

from ._states import checked_times, starting


@dataclasses.dataclass(frozen=True)
class Stepping:
    """How the steps of a solve are taken, for the modules of `sciml.nn`.

    The fields are options of `solve`, with its meanings and defaults: `solver`, `rtol`, `atol`,
    `stepsize_controller`, `dt0`, `adjoint`, `max_steps`.

    >>> import diffrax as dfx, sciml as sm
    >>> sm.nn.Stepping(solver=dfx.Heun(), rtol=1e-3).rtol
    0.001
    """

    solver: Any = None
    rtol: float | None = None
    atol: float | None = None
    stepsize_controller: dfx.AbstractStepSizeController | None = None
    dt0: Any = None
    adjoint: dfx.AbstractAdjoint | str | None = None
    max_steps: int | None = 4096

    def solve(
        self,
        model: Model,
        t: Any,
        *,
        saveat: Any = None,
        initial: Any = None,
        key: Any = None,
        throw: bool = True,
        noise: str = "refinable",
        regularise: Any = None,
    ) -> Solution:
        """`sciml.solve` with these options."""
        return solve(
            model,
            t,
            initial=initial,
            saveat=saveat,
            solver=self.solver,
            rtol=self.rtol,
            atol=self.atol,
            stepsize_controller=self.stepsize_controller,
            dt0=self.dt0,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=throw,
            key=key,
            noise=noise,
            regularise=regularise,
        )

    def through(self, model: Model, times: Any, state: Any, **options: Any) -> Solution:
        """The solution at `times`, from the state (a vector) at the first of them."""
        times = checked_times(times, model.dtype)
        span = (times[0], times[-1])
        return self.solve(starting(model, state), span, saveat=times, **options)


ADAPTIVE = Stepping()
