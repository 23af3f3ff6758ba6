"""Whether diffusion on a grid makes a system of fields too stiff for explicit steps."""

from __future__ import annotations

from typing import Any

import diffrax as dfx

from sciml.dsl import Model

from ._results import is_traced
from ._step_limit import damped_steps
from .stepping._chebyshev import RKC

_MANY = 2000  # explicit steps, from which on others are worth their compilation
LOCAL = 0.1  # of the asked tolerance, per step of RKC, which is of order 2: many errors add up
_LOOSE = 1e-6  # the tightest tolerance at which steps of order 2 are fewer
_NARROW = 0.05  # imaginary over real parts that RKC is stable for


def solver_for_diffusion(model: Model, t0: Any, t1: Any, rtol: float) -> tuple[Any, float]:
    """What to take where diffusion asks for too many explicit steps, and how many; else None.

    By the eigenvalues of the schemes (von Neumann) with the coefficients at the start: those of a
    second derivative grow with the square of the number of nodes. "stiff" on a line, where the
    Jacobian is banded; in the plane and in space RKC, which needs none and is compiled quickly, but
    is of order 2: for tolerances that are not tight.
    Where the longest step is set by waves, whose eigenvalues are imaginary, implicit steps would
    save nothing. None inside of `jit`, where values are not known, and with Fourier's coefficients,
    whose Jacobian is full.
    """
    fields = model.program.fields
    if fields is None or "Fourier" in fields.schemes.values() or is_traced(model, t0, t1):
        return None, 0.0
    steps, slant = damped_steps(model, dfx.Tsit5(), t0, t1, _MANY)
    if not steps:
        return None, 0.0
    if len(fields.axes) == 1:
        return "stiff", steps
    return (RKC(), steps) if rtol >= _LOOSE and slant < _NARROW else (None, 0.0)
