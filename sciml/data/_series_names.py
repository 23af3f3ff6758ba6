"""How channels and series are called, and found."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from sciml.dsl import DataError, name_of


def shown_id(who: Any) -> str:
    """An id as messages have it: numbers bare, names in quotes."""
    return repr(who.item() if isinstance(who, np.generic) else who)


def position(channels: Sequence[Any], wanted: Any) -> int:
    """The place of a channel, by symbol or by name. Raises `DataError` if it is not there."""
    names = [name_of(channel) for channel in channels]
    name = name_of(wanted)
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise DataError(f"{name!r} is no channel of these series; they have {', '.join(names)}{hint}")
