"""Simplification: a declared system to one that is solved for its highest derivatives."""

from __future__ import annotations

from .._pass import chain
from .._system import System
from .algebraic import write_residuals
from .definitions import extract_definitions
from .order import solve_for_highest

_passes = chain(
    # explicit algebraic equations first: what they define is then no unknown of the next pass
    extract_definitions,
    # then each highest derivative alone on its left; lower ones become states when compiled
    solve_for_highest,
    # what is left then is algebraic, and has no part in the linear blocks of the pass before
    write_residuals,
)


def simplify(system: System) -> System:
    """The equivalent system ``D(x, n) = ...``: one equation for each highest derivative.

    Algebraic equations follow as ``0 = right - left``, one for each unknown without a rate.

    Where the equations hold fewer combinations of highest derivatives than derivatives, they are
    ``D(x) = ... + c * D(y)`` with constants c, and D(y) has no equation, but an algebraic one.

    Explicit algebraic equations ``z = ...`` move to `observed`; equations that are linear in the
    highest derivatives are solved for them, in blocks. Every equation keeps its origin.

    Raises `ModelError` for an equation that cannot be solved for its highest derivative.

    >>> import sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k")
    >>> sm.simplify(sm.System(sm.Eq(2 * sm.D(x, 2) + k * x, 0))).equations
    (Eq(D(x, 2), -k*x/2),)
    """
    return _passes(system)
