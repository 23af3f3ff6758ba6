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


def rates_of(size: int) -> sm.Model:
    x = sm.unknown("x", shape=size)
    return sm.compile(sm.System(sm.Eq(sm.D(x), -(x**2)), initial={x: 1}))


def constrained(size: int) -> sm.Model:
    x, z = (sm.unknown(name, shape=size // 2) for name in "xz")
    return sm.compile(sm.System(sm.Eq(sm.D(x), -z), sm.Eq(z**3 + z, x), initial={x: 1}))


ROWS_OF_SOLVERS = [
    ("nothing", "rtol > 1e-8", "any", None, 1.1e-8, 102),
    ("nothing", "rtol <= 1e-8", "any", None, 1e-8, 102),
    ('`"stiff"`', "rtol > 3e-3", "any", "stiff", 3.1e-3, 102),
    ('`"stiff"`', "rtol <= 3e-3", "up to 100", "stiff", 3e-3, 100),
    ('`"stiff"`', "rtol <= 3e-3", "more", "stiff", 3e-3, 102),
    ('`"auto"`', "any", "any", "auto", 1e-6, 102),
]


@pytest.mark.parametrize(
    ("asked", "tolerance", "unknowns", "solver", "rtol", "size"), ROWS_OF_SOLVERS
)
def test_the_default_solvers_are_those_of_the_table(asked, tolerance, unknowns, solver, rtol, size):
    chosen = type(choose_solver(solver, rtol, rates_of(size))).__name__
    assert row_of(asked, tolerance, unknowns)[3] == f"`{chosen}`"


@pytest.mark.parametrize("solver", [None, "auto"])
@pytest.mark.parametrize(("rtol", "size"), [(3.1e-3, 102), (3e-3, 100), (3e-3, 102)])
def test_with_algebraic_equations_the_default_is_stiff(solver, rtol, size):
    model = constrained(size)
    chosen = choose_solver(solver, rtol, model)
    assert type(chosen) is type(choose_solver("stiff", rtol, model))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_default_tolerances_are_those_of_the_table(dtype):
    told = tuple(float(cell) for cell in row_of(dtype)[1:])
    assert told == choose_tolerances(None, None, jax.numpy.dtype(dtype))


def test_a_solution_has_as_many_times_as_the_page_says():
    x = sm.unknown("x")
    sol = sm.solve(sm.System(sm.Eq(sm.D(x), -x), initial={x: 1}), t=(0, 1))
    assert f"{len(sol.ts)} equidistant times" in PAGE
