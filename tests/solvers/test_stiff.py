"""Stiff problems, with ``solver="stiff"``: their answers to a stated accuracy, in few steps."""

from __future__ import annotations

import functools

import diffrax as dfx
import numpy as np
import pytest

import sciml as sm
from benchmarks import problems

# The accuracy is what one order of magnitude or two of accumulated local error leave.
CASES = [
    (problems.robertson, 1e-8, 1e-6),
    (problems.hires, 1e-9, 1e-6),
    (problems.oregonator, 1e-8, 1e-7),
    (problems.van_der_pol, 1e-6, 1e-3),
    (problems.pollu, 1e-9, 1e-6),
]


@functools.cache
def solved(case: problems.Problem, tolerance: float, solver="stiff") -> sm.Solution:
    options = {"solver": solver, "rtol": tolerance, "atol": tolerance}
    return sm.solve(case.system, t=(0, case.end), saveat=[case.end / 2, case.end], **options)


def errors(case: problems.Problem, sol: sm.Solution) -> list[float]:
    return [
        abs(float(sol[symbol][-1]) / float(listed) - 1) for symbol, (listed,) in case.listed.items()
    ]


@pytest.mark.parametrize(("problem", "tolerance", "accuracy"), CASES)
def test_stiff_problems_reach_their_listed_answers(problem, tolerance, accuracy):
    case = problem()
    assert max(errors(case, solved(case, tolerance))) < accuracy


def test_robertson_takes_34_steps():
    case = problems.robertson(100.0)
    sol = solved(case, 1e-8, dfx.Kvaerno5())
    assert int(sol.stats["num_steps"]) == 34  # 451 with diffrax's default root finder
    assert max(errors(case, sol)) < 1e-7


def test_robertson_conserves_mass():
    case = problems.robertson()
    y1, y2, y3 = case.listed
    np.testing.assert_allclose(solved(case, 1e-8)[y1 + y2 + y3], 1, rtol=1e-12)


def test_every_implicit_solver_gets_a_root_finder_that_converges():
    case = problems.robertson(100.0)
    sol = solved(case, 1e-8, dfx.Kvaerno4())
    assert int(sol.stats["num_rejected_steps"]) < 10  # most are, with diffrax's default
    assert max(errors(case, sol)) < 1e-6


def test_the_reactions_of_pollu_stay_indexable_although_they_are_eliminated():
    sol = solved(problems.pollu(), 1e-9)
    assert len(sol.model.states) == 20
    y1, y2 = sm.unknowns("y1 y2")
    np.testing.assert_allclose(sol["r1"], 0.35 * sol[y1], rtol=1e-12)
    np.testing.assert_allclose(sol["r2"], 26.6 * sol[y2] * sol["y4"], rtol=1e-12)


@pytest.mark.parametrize(
    ("solver", "steps"), [(dfx.KenCarp3(), 188), (dfx.KenCarp4(), 46), (dfx.KenCarp5(), 27)]
)
def test_kencarp_solves_robertson_with_all_of_it_implicit(solver, steps):
    """It fails with diffrax's default root finder, which takes what is unfinished for diverged."""
    case = problems.robertson(100.0)
    sol = solved(case, 1e-8, solver)
    assert int(sol.stats["num_steps"]) == steps
    assert max(errors(case, sol)) < 1e-6
