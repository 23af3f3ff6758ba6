"""Orders of the unknowns: a band is found again, and groups give small blocks."""

from __future__ import annotations

import numpy as np

from sciml.dsl.codegen.pattern import Pattern
from sciml.solvers.linear._ordering import bandwidth, block_order, reverse_cuthill_mckee


def test_a_shuffled_band_is_found_again():
    band = np.triu(np.tri(60, k=1), -1)
    shuffle = np.random.default_rng(0).permutation(60)
    pattern = Pattern.of(band[np.ix_(shuffle, shuffle)])
    assert bandwidth(pattern, np.arange(60)) > 10
    assert bandwidth(pattern, reverse_cuthill_mckee(pattern)) == 1


def test_an_order_kept_costs_no_permutation():
    order, size, offset = block_order(Pattern.of(np.triu(np.tri(20, k=2), -2)))
    assert (order.tolist(), size, offset) == (list(range(20)), 2, 0)


def test_two_species_one_after_the_other_are_found_to_be_blocks_of_two():
    line = np.triu(np.tri(32, k=1), -1)
    one = np.eye(32)
    pattern = Pattern.of(np.block([[line, one], [one, line]]))
    order, size, offset = block_order(pattern)
    block = (np.argsort(order) + offset) // size
    assert size == 2
    assert np.abs(block[pattern.rows] - block[pattern.cols]).max() == 1
