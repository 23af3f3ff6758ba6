"""Where an equation was written: the line of a file, the cell of a notebook."""

import inspect

import pytest
import sympy
from IPython.core.interactiveshell import InteractiveShell

import sciml as sm
from sciml import D

x, y = sm.unknowns("x y")


def line_of(text):
    """The number of the first line of this file that holds a text."""
    with open(__file__, encoding="utf-8") as file:
        return next(i for i, line in enumerate(file, 1) if text in line)


def test_every_equation_of_a_system_in_several_lines_has_its_own_line():
    system = sm.System(
        sm.Eq(D(x), -x),  # first marked line
        sm.Eq(
            D(y),
            -y,
        ),
        initial={x: 1},
    )
    first, second = (equation.origin for equation in system.equations)
    start = line_of("first marked " + "line")
    assert first.line == start
    assert start < second.line <= start + 3
    assert first.file.endswith("test_errors_origin.py")
    assert first.cell is None


def test_the_message_points_at_the_line_of_the_mistake():
    with pytest.raises(sm.ModelError) as caught:
        sm.check(
            sm.System(
                sm.Eq(D(x), -x),
                sm.Eq(D(y), sympy.Symbol("wrong")),  # second marked line
            )
        )
    (fault,) = caught.value.faults
    assert fault.where.endswith(f"test_errors_origin.py:{line_of('second marked ' + 'line')}")
    assert f"written at {fault.where}" in str(caught.value)


def test_equations_of_sympy_have_the_line_of_the_system():
    here = inspect.currentframe().f_lineno
    system = sm.System(sympy.Eq(D(x), -x), initial={x: 1})
    assert system.equations[0].origin.line == here + 1


def test_simplified_equations_keep_their_origin():
    system = sm.System(sm.Eq(2 * D(x) + x, 0), sm.Eq(D(x) + D(y), x))
    declared = {str(e.origin) for e in system.equations}
    assert {str(e.origin) for e in sm.simplify(system).equations} == declared


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    yield shell
    InteractiveShell.clear_instance()


CELLS = [
    "import sympy; import sciml as sm; from sciml import D; x, y = sm.unknowns('x y')",
    "first = sm.Eq(D(x), -x)",
    "system = sm.System(\n    first,\n    sm.Eq(D(y), sympy.Symbol('wrong')),\n)",
    "first = sm.Eq(D(x), -2 * x)",
    "sm.check(system)",
]


def test_in_a_notebook_the_origin_is_the_cell_and_its_line(shell, capsys):
    results = [shell.run_cell(cell, store_history=True) for cell in CELLS]
    for result in results[:-1]:
        result.raise_error()
    one, other = (equation.origin for equation in shell.user_ns["system"].equations)
    assert (one.cell, one.line) == (2, 1)
    assert (other.cell, other.line) == (3, 3)
    assert shell.user_ns["first"].origin.cell == 4
    assert isinstance(results[-1].error_in_exec, sm.ModelError)
    assert "written at cell 3, line 3" in str(results[-1].error_in_exec)
    assert "written at cell 3, line 3" in capsys.readouterr().out
