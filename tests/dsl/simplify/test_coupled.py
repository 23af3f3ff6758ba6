"""Derivatives that equations hold in combinations: what elimination leaves, and what it refuses."""

import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t
from sciml.dsl import ModelError
from sciml.dsl._open import open_rates
from sciml.dsl.simplify.eliminate import eliminated, is_singular

x, y, z, w = sm.unknowns("x y z w")
a, b = sm.parameters("a b")


def simplified(*equations, **given):
    return sm.simplify(sm.check(sm.System(*equations, **given)))


# -- elimination -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "matrix",
    [
        [[1e-6, -1e-6], [-1e-6, 1e-6]],
        [[0.1, 0.2, 0.3], [0.3, 0.6, 0.9], [1.0, 1.0, 1.0]],
        [[1 / 3, 1.0], [1.0, 3.0]],
        [[a, -a, 0], [-a, a + b, -b], [0, -b, b]],
        [[x**2 + 1, -(x**2) - 1], [-1, 1]],
    ],
)
def test_the_transform_makes_the_echelon_form_and_zeros_below_it(matrix):
    entries = [[sympy.sympify(e) for e in row] for row in matrix]
    found = eliminated(entries)
    product = sympy.Matrix(found.transform) * sympy.Matrix(entries)
    assert len(found.pivots) == len(entries) - 1
    for row, made in zip(found.rows, product.tolist(), strict=False):
        assert all(abs(sympy.simplify(p - q)) < 1e-12 for p, q in zip(row, made, strict=True))
    assert all(abs(sympy.simplify(e)) < 1e-12 for e in product.tolist()[-1])
    for row, pivot in enumerate(found.pivots):
        column = [r[pivot] for r in found.rows]
        assert column == [int(i == row) for i in range(len(column))]


def test_columns_that_come_last_get_no_pivot_if_others_have_one():
    matrix = [[sympy.Integer(1), sympy.Integer(-1)], [sympy.Integer(-1), sympy.Integer(1)]]
    assert eliminated(matrix, [0]).pivots == [1]
    assert eliminated(matrix, [1]).pivots == [0]
    assert eliminated([[a, -a], [-a, a]], [0]).pivots == [1]


def test_a_matrix_is_singular_for_all_values_or_not_at_all():
    assert is_singular([[a, b], [2 * a, 2 * b]])
    assert not is_singular([[a, b], [b, a]])  # but for equal ones
    zero = sympy.S.Zero
    assert not is_singular([[sympy.Float(1e-9), zero], [zero, sympy.Float(1e9)]])


# -- equations -------------------------------------------------------------------------------------


def test_equations_with_independent_derivatives_are_solved_for_them_as_before():
    system = simplified(sm.Eq(a * (D(x) - D(y)), x), sm.Eq(D(x) + D(y), y))
    assert {e.lhs for e in system.equations} == {D(x), D(y)}
    assert not open_rates(system)


def test_dependent_equations_leave_one_rate_open_and_an_algebraic_equation():
    system = simplified(sm.Eq(a * (D(x) - D(y)), x), sm.Eq(a * (D(y) - D(x)), y))
    rate, fixed = system.equations
    assert rate.lhs - rate.rhs.coeff(D(x)) * D(x) - rate.rhs.coeff(D(y)) * D(y) in (
        D(x) - D(y),
        D(y) - D(x),
    )
    assert fixed.lhs == 0
    assert sympy.simplify(fixed.rhs / (x + y)).is_number
    assert len(open_rates(system)) == 1


def test_what_holds_an_open_rate_is_coupled_too():
    system = simplified(
        sm.Eq(D(x) - D(y), -x), sm.Eq(D(y) - D(x), -y), sm.Eq(D(z), 2 * D(x) + 3 * z)
    )
    (state,) = open_rates(system)
    assert {e.lhs for e in system.equations[:2]} == {D(u) for u in (x, y, z) if u != state}
    assert all(e.rhs.coeff(D(state)) != 0 for e in system.equations[:2])


def test_the_rate_stays_open_of_what_the_algebraic_equation_holds():
    """Elimination without pivoting then finds it on the diagonal."""
    for held in (x, y):
        system = simplified(sm.Eq(D(x) + D(y), -1), sm.Eq(0, held**3 + held - t))
        assert list(open_rates(system)) == [held]


def test_a_factor_that_moves_is_no_hindrance_where_the_combination_stays():
    system = simplified(sm.Eq((1 + x**2) * (D(x) - D(y)), 1), sm.Eq(D(y) - D(x), -y))
    assert len(open_rates(system)) == 1


def test_observed_quantities_hold_the_combinations_that_equations_give():
    pair = sm.Eq(a * (D(x) - D(y)), -x), sm.Eq(a * (D(y) - D(x)), -y)
    system = simplified(*pair, sm.Eq(z, a * D(x) - a * D(y)))
    definition = system.observed[z]
    assert not definition.atoms(sympy.Derivative)
    # a consequence of the equations: -x, or y, or what is between them, as x + y = 0
    assert definition.subs({x: 3, y: -3}) == -3
    with pytest.raises(ModelError, match=r"z holds D\([xy]\), which no equation gives"):
        simplified(*pair, sm.Eq(z, D(x) + D(y)))


def test_noise_leaves_no_rate_open():
    W = sm.brownian("W")
    with pytest.raises(ModelError, match="beside equations with noise"):
        simplified(sm.Eq(D(x) - D(y), -x), sm.Eq(D(y) - D(x), -y + D(W)))


def test_a_name_for_a_derivative_makes_a_nonlinear_equation_an_algebraic_one():
    system = simplified(sm.Eq(D(x), z), sm.Eq(z**3 + z, x))
    assert [str(e) for e in system.equations] == ["D(x) = z", "0 = x - z**3 - z"]


def test_whole_arrays_are_coupled_as_scalars_are():
    u, v = sm.unknown("u", shape=5), sm.unknown("v", shape=5)
    system = simplified(sm.Eq(D(u) - D(v), -u), sm.Eq(D(v) - D(u), -v))
    assert len(system.equations) == 2
    assert len(open_rates(system)) == 1


def test_a_number_of_equations_is_eliminated_together():
    """A ladder of condensers, each between neighbours: the sum of all rows holds no derivative."""
    n = 12
    u = sm.unknowns(" ".join(f"u{i}" for i in range(n)))
    c = np.linspace(1, 2, n - 1)
    equations = []
    for i in range(n):
        left = c[i - 1] * (D(u[i]) - D(u[i - 1])) if i else 0
        right = c[i] * (D(u[i]) - D(u[i + 1])) if i < n - 1 else 0
        equations.append(sm.Eq(left + right, -u[i]))
    system = simplified(*equations)
    assert len(open_rates(system)) == 1
    total = system.equations[-1].rhs
    weights = {float(total.coeff(s) / total.coeff(u[0])) for s in u}
    np.testing.assert_allclose(sorted(weights), 1.0, rtol=1e-10)
