"""Driving paths: Brownian motions and controls are given from outside, noise enters linearly."""

from __future__ import annotations

from typing import Any

import sympy

from .._drivers import Brownian, Driver
from .._equations import Equation
from .._errors import Fault
from .._noise import white
from .._show import name_of, text
from .._split import split, zero_of
from .._system import System
from .describe import entry, kind, listed, place


def driver_faults(system: System) -> list[Fault]:
    """Faults in the use of Brownian motions and controls."""
    survey = system.survey
    keys = [
        (field, key)
        for field in ("initial", "observed", "values")
        for key in getattr(system, field)
        if _driver_of(key) is not None
    ]
    faults = [_given(system, field, key) for field, key in keys]
    if not survey.drivers:
        return faults
    for equation in system.equations:
        fault = _determined(equation) or _noisy(system, equation)
        faults += [] if fault is None else [fault]
    for key, definition in system.observed.items():
        if any(definition.has(white(w)) for w in survey.noises):
            faults.append(_observed_noise(system, key))
    return faults


def _driver_of(key: Any) -> Any:
    inner = key.expr if isinstance(key, sympy.Derivative) else key
    return inner if isinstance(inner, Driver) else None


def _given(system: System, field: str, key: Any) -> Fault:
    driver = _driver_of(key)
    return Fault(
        f"{name_of(driver)} is {kind(driver)}: {field} cannot say what it is.",
        equation=entry(system, field, key),
        where=str(system.origin),
        expected="unknowns and parameters",
        received=kind(driver),
        cure=_HOW[isinstance(driver, Brownian)].format(name_of(driver)),
    )


_HOW = {
    True: "leave it away: solve(..., key=jax.random.key(0)) draws the path of {0}",
    False: "leave it away: solve(..., controls={{{0}: (times, values)}}) gives the path of {0}",
}


def _determined(equation: Equation) -> Fault | None:
    """An equation that has a driver for its unknown."""
    driver = _driver_of(equation.lhs)
    if driver is None:
        return None
    name = name_of(driver)
    return Fault(
        f"{name} is {kind(driver)}, and used as an unknown here.",
        equation=str(equation),
        where=str(equation.origin),
        culprit=text(equation.lhs),
        expected="an equation for an unknown, Eq(D(x), ...)",
        received=f"one for {name}, which is given from outside",
        causes=["the sides of the equation were exchanged", f"{name} was meant to be an unknown"],
        cure=f'write what it drives on the left; or declare {name} = sm.unknown("{name}")',
    )


def _noisy(system: System, equation: Equation) -> Fault | None:
    """A Brownian motion without its rate, or noise that is not linear."""
    rates = {white(w): zero_of(w) for w in system.survey.noises}
    for side in (equation.lhs, equation.rhs):
        bare = side.xreplace(rates).atoms(Brownian)
        if bare:
            return _bare(equation, sorted(map(name_of, bare))[0])
    if not any(equation.rhs.has(rate) or equation.lhs.has(rate) for rate in rates):
        return None
    if split(equation.lhs - equation.rhs, rates) is None:
        names = listed(w for w in system.survey.noises if (equation.lhs - equation.rhs).has(w))
        return Fault(
            f"The noise of {names} does not enter this equation linearly.",
            equation=str(equation),
            where=str(equation.origin),
            expected="D(x) = f + g*D(W), where f and g hold no D(W)",
            received="white noise inside a function, a product with itself, or a condition",
            causes=["a model of coloured noise was meant"],
            cure="give the noise an unknown of its own, Eq(D(n), -n/tau + s*D(W)), and use n here",
        )
    if not system.survey.rates[system.equations.index(equation)]:
        return Fault(
            "White noise stands in an equation without a rate: it has no value at an instant.",
            equation=str(equation),
            where=str(equation.origin),
            expected="a differential equation, Eq(D(x), f + g*D(W))",
            received="a definition, or an algebraic equation",
            cure="write the noise into the equations of rates that it acts on",
        )
    return None


def _bare(equation: Equation, name: str) -> Fault:
    return Fault(
        f"The Brownian motion {name} stands without D(...).",
        equation=str(equation),
        where=str(equation.origin),
        culprit=name,
        expected=f"its rate, D({name})",
        received=f"its value, {name}",
        causes=[f"D({name}) was meant", f"the path of {name} itself is wanted"],
        cure=f"write D({name}); for the path, an unknown B with Eq(D(B), D({name}))",
    )


def _observed_noise(system: System, key: Any) -> Fault:
    name = key if isinstance(key, str) else name_of(key)
    return Fault(
        f"The observed quantity {name} holds white noise, which has no value at an instant.",
        **place(system, ("observed", key)),
        expected="expressions of unknowns, parameters and time",
        received=text(system.observed[key]),
        cure="leave D(...) of the Brownian motion out of it, or observe what it drives",
    )
