"""Checks: every fault of a declared system, all at once, before anything is compiled."""

from __future__ import annotations

from .._errors import ModelError
from .._system import System
from .balance import balance_faults, empty_fault
from .complete import check_complete as check_complete
from .complexes import complex_faults
from .conditions import condition_faults
from .drivers import driver_faults
from .fields import field_faults
from .match import match
from .names import name_faults
from .shapes import shape_faults
from .values import value_faults


def check(system: System) -> System:
    """Looks for every fault of a system: names, balance, shapes, initial values, parameter values.

    Missing initial values and parameter values are no faults here: they may be given to `solve`,
    or estimated by `fit`.

    Returns the system, unchanged.
    Raises `ModelError` with every fault that was found: what is wrong, the equation and where it
    was written, and a cure.

    >>> import sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k")
    >>> sm.check(sm.System(sm.Eq(sm.D(x), -k * x))).unknowns
    (x,)
    """
    if not system.equations:
        raise ModelError([empty_fault(system)], system.name)
    if faults := complex_faults(system):
        raise ModelError(faults, system.name)
    if system.coordinates:
        if faults := field_faults(system):
            raise ModelError(faults, system.name)
        return system
    matched = match(system)
    drivers = driver_faults(system)
    if drivers:  # what the others find then follows from these
        raise ModelError(drivers, system.name)
    faults = [
        # a wrong name explains much of what the others find: it comes first
        *name_faults(system),
        *balance_faults(system, matched),
        *shape_faults(system, matched),
        *condition_faults(system, matched),
        *value_faults(system),
    ]
    if faults:
        raise ModelError(faults, system.name)
    return system
