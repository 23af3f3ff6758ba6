"""Words for faults: where a symbol was named, what it is, and which name was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._drivers import Brownian, Driver
from .._equations import Equation
from .._neural import Neural
from .._show import name_of, number, text
from .._symbols import Parameter
from .._system import System

_MOST = 8  # so many names are listed before the rest is counted


def place(system: System, where: Any) -> dict[str, str]:
    """The `equation` and `where` of a fault: an equation's, or an entry's of the system.

    `where` is an `Equation` or, as in `Survey`, a field and a key of it.
    """
    if isinstance(where, Equation):
        return {"equation": str(where), "where": str(where.origin)}
    field, key = where
    return {"equation": entry(system, field, key), "where": str(system.origin)}


def entry(system: System, field: str, key: Any) -> str:
    """One entry of a mapping as the user would write it: ``initial={x: 1}``."""
    name = repr(key) if isinstance(key, str) else name_of(key)
    return f"{field}={{{name}: {shown(getattr(system, field)[key])}}}"


def shown(value: Any) -> str:
    """A value in short form."""
    if isinstance(value, str):
        return repr(value)
    return text(value) if isinstance(value, sympy.Basic) else number(value)


def listed(names: Iterable[Any]) -> str:
    """``x, y and z``; the rest of a long list is counted."""
    found = list(dict.fromkeys(name_of(name) for name in names))
    if len(found) > _MOST:
        return f"{', '.join(found[:_MOST])} and {len(found) - _MOST} more"
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def counted(n: int, what: str) -> str:
    """``1 equation``, ``2 equations``."""
    return f"{n} {what}" + ("" if n == 1 else "s")


def kind(symbol: Any) -> str:
    """What a symbol is, with its article."""
    if isinstance(symbol, Neural):
        return "a network" if symbol.trainable else "a forcing term"
    if isinstance(symbol, Driver):
        return "a Brownian motion" if isinstance(symbol, Brownian) else "a control"
    if isinstance(symbol, AppliedUndef):
        return "an unknown"
    return "a parameter" if isinstance(symbol, Parameter) else "a plain sympy symbol"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was perhaps meant to be."""
    near = [k for k in known if k != name and abs(len(k) - len(name)) <= 2]
    for candidate in near:
        if candidate.lower() == name.lower():
            return candidate
    alike = [k for k in near if k[:1] == name[:1] or k[-1:] == name[-1:]]
    found = difflib.get_close_matches(name, alike, n=1, cutoff=0.6)
    return found[0] if found else None
