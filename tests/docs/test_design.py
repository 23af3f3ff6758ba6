"""What the page "How it works" says about defaults is what the code does."""

import re
from pathlib import Path

import jax
import pytest

import sciml as sm
from sciml.solvers import choose_solver, choose_tolerances

PAGE = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", PAGE, re.M)
]


def row_of(*cells: str) -> list[str]:
    (row,) = [row for row in ROWS if row[: len(cells)] == list(cells)]
    return row


@pytest.mark.parametrize(
    ("asked", "tolerance", "solver", "rtol"),
    [
        ("nothing", "rtol > 1e-8", None, 1.1e-8),
        ("nothing", "rtol <= 1e-8", None, 1e-8),
        ('`"stiff"`', "any", "stiff", 1e-6),
    ],
)
def test_the_default_solvers_are_those_of_the_table(asked, tolerance, solver, rtol):
    chosen = type(choose_solver(solver, rtol)).__name__
    assert row_of(asked, tolerance)[2] == f"`{chosen}`"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_default_tolerances_are_those_of_the_table(dtype):
    told = tuple(float(cell) for cell in row_of(dtype)[1:])
    assert told == choose_tolerances(None, None, jax.numpy.dtype(dtype))


def test_a_solution_has_as_many_times_as_the_page_says():
    x = sm.unknown("x")
    sol = sm.solve(sm.System(sm.Eq(sm.D(x), -x), initial={x: 1}), t=(0, 1))
    assert f"{len(sol.ts)} equidistant times" in PAGE
