"""Models that sympy.physics.mechanics derives, taken in as they are."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.physics.mechanics import KanesMethod, LagrangesMethod

from ._equations import Eq, Equation
from ._errors import DeclarationError


def from_mechanics(method: Any) -> tuple[Equation, ...]:
    """The equations of motion of a `LagrangesMethod` or `KanesMethod` of sympy.

    Its ``dynamicsymbols`` are the unknowns and its plain symbols the parameters; they are named as
    they are in `initial` and `values` of the `System`. The equations are formed here if they were
    not yet; for Kane's method ``kanes_equations`` must have been called with the bodies and loads,
    unless the method was made with them.

    Returns one equation for each coordinate (and, by Kane's method, each speed).
    Raises `DeclarationError` for constrained motion, whose multipliers need a DAE solver.

    >>> import sciml as sm
    >>> from sympy import Rational, symbols
    >>> from sympy.physics.mechanics import LagrangesMethod, dynamicsymbols
    >>> (q,), (m, k) = dynamicsymbols("q,"), symbols("m k")
    >>> spring = LagrangesMethod(m * q.diff() ** 2 / 2 - k * q**2 / 2, [q])
    >>> sm.from_mechanics(spring)
    (Eq(k*q + m*D(q, 2), 0),)
    """
    if isinstance(method, LagrangesMethod):
        return _lagrange(method)
    if isinstance(method, KanesMethod):
        return _kane(method)
    raise DeclarationError(
        f"from_mechanics takes a LagrangesMethod or a KanesMethod, not {type(method).__name__}"
    )


def _lagrange(method: Any) -> tuple[Equation, ...]:
    if len(method.coneqs):
        raise DeclarationError(
            "this LagrangesMethod has constraints, so its equations hold multipliers: choose "
            "coordinates that need no constraint, as many as there are degrees of freedom"
        )
    motion: Any = method.eom
    if motion is None:
        motion = method.form_lagranges_equations()
    return tuple(Eq(entry, 0) for entry in motion)


def _kane(method: Any) -> tuple[Equation, ...]:
    if len(method._qdep) or len(method._udep):
        raise DeclarationError(
            "this KanesMethod has dependent coordinates or speeds: choose independent ones, as "
            "many as there are degrees of freedom"
        )
    active: Any = method._fr
    inertial: Any = method._frstar
    if active is None or inertial is None:
        if not method.bodies:
            raise DeclarationError("call kanes_equations(bodies, loads) on this KanesMethod first")
        active, inertial = method.kanes_equations()
    rates = method.kindiffdict()
    kinematics = [Eq(rate, value) for rate, value in rates.items()]
    balance: Any = sympy.Matrix(active + inertial).xreplace(rates)
    return (*kinematics, *(Eq(entry, 0) for entry in balance))
