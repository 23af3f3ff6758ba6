"""Passes: functions from System to System, composed in order."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ._system import System

Pass = Callable[[System], System]


def chain(*passes: Pass) -> Pass:
    """The passes one after the other, as one pass.

    >>> from sciml.dsl._pass import chain
    >>> chain()("any system")
    'any system'
    """

    def chained(system: System) -> System:
        return functools.reduce(lambda result, one: one(result), passes, system)

    return chained
