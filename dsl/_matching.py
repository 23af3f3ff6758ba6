"""Matching: as many rows as possible to a column of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching


def maximum_matching(rows: Sequence[Any], columns: list[Any]) -> list[Any]:
    """For each row, a set of things, the column it is matched to, or None."""
    number = {column: j for j, column in enumerate(columns)}
    pairs = [(i, number[c]) for i, row in enumerate(rows) for c in row if c in number]
    if not pairs:
        return [None] * len(rows)
    places = np.array(sorted(pairs), int).T
    shape = (len(rows), len(columns))
    incidence = csr_array((np.ones(len(pairs)), tuple(places)), shape=shape)
    matched = maximum_bipartite_matching(incidence, perm_type="column")
    return [None if j < 0 else columns[j] for j in matched]
