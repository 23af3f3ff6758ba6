"""Derivatives in combinations, end to end: against published digits, closed forms, other forms."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import sympy

import sciml as sm
from sciml import D, t
from sciml.solvers._choose import choose_solver, with_mass_of
from sciml.solvers._initial import start

x, y, z, w = sm.unknowns("x y z w")
a = sm.parameter("a", 2.0)


def transistor_amplifier():
    """Test set for IVP solvers, University of Bari, "transistor amplifier": an index-1 DAE.

    Also Hairer and Wanner II (1996), section VI.1. Condensers between two unknowns each.
    """
    y1, y2, y3, y4, y5, y6, y7, y8 = u = sm.unknowns("y1 y2 y3 y4 y5 y6 y7 y8")
    supply, thermal, alpha, beta, r0, r = 6, 0.026, 0.99, 1e-6, 1000, 9000
    c = [1e-6 * k for k in range(6)]
    signal = 0.1 * sympy.sin(200 * sympy.pi * t)

    def g(v):
        return beta * (sympy.exp(v / thermal) - 1)

    system = sm.System(
        sm.Eq(c[1] * (D(y2) - D(y1)), (y1 - signal) / r0),
        sm.Eq(c[1] * (D(y1) - D(y2)), (2 * y2 - supply) / r + (1 - alpha) * g(y2 - y3)),
        sm.Eq(-c[2] * D(y3), y3 / r - g(y2 - y3)),
        sm.Eq(c[3] * (D(y5) - D(y4)), (y4 - supply) / r + alpha * g(y2 - y3)),
        sm.Eq(c[3] * (D(y4) - D(y5)), (2 * y5 - supply) / r + (1 - alpha) * g(y5 - y6)),
        sm.Eq(-c[4] * D(y6), y6 / r - g(y5 - y6)),
        sm.Eq(c[5] * (D(y8) - D(y7)), (y7 - supply) / r + alpha * g(y5 - y6)),
        sm.Eq(c[5] * (D(y7) - D(y8)), y8 / r),
        initial=dict(zip(u, (0, 3, 3, 6, 3, 3, 6, 0), strict=True)),
    )
    listed = (
        -0.5562145012262709e-2, 0.3006522471903042e1, 0.2849958788608128e1, 0.2926422536206241e1,
        0.2704617865010554e1, 0.2761837778393145e1, 0.4770927631616772e1, 0.1236995868091548e1,
    )  # fmt: skip
    return system, dict(zip(u, listed, strict=True))


@pytest.mark.parametrize(
    ("solver", "accuracy"), [(sm.Rodas5P(), 2e-9), (sm.Radau5(), 2e-9), (sm.BDF(), 2e-7)]
)
def test_the_transistor_amplifier_has_the_listed_digits(solver, accuracy):
    system, listed = transistor_amplifier()
    sol = sm.solve(
        system, t=(0, 0.2), saveat=[0.2], solver=solver, rtol=1e-8, atol=1e-10, max_steps=20_000
    )
    for symbol, value in listed.items():
        assert float(sol[symbol][-1]) == pytest.approx(value, rel=accuracy)


def test_consistent_initial_values_keep_the_charges():
    system, listed = transistor_amplifier()
    y1, y2, _, y4, y5, _, y7, y8 = listed
    moved = {y1: 0.5, y2: 3.5, y4: 7.0, y5: 4.0, y7: 6.2, y8: 0.2}
    models = [sm.compile(system), sm.compile(system).replace(initial=moved)]
    # y1 = Ue(0) = 0 and the rest follows from the charges of the condensers, which are the same
    found = [start(model, 0.0) for model in models]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-9)


# -- closed forms ----------------------------------------------------------------------------------


def test_a_mass_matrix_that_moves_and_is_regular():
    """``x = e^-t, y = 1 - e^-t``, whatever the regular matrix is that both sides are times."""
    system = sm.System(
        sm.Eq((1 + x**2) * D(x) + x * D(y), -(1 + x**2) * x + x**2),
        sm.Eq(x * D(x) + (2 + t) * D(y), -(x**2) + (2 + t) * x),
        initial={x: 1, y: 0},
    )
    sol = sm.solve(system, t=(0, 1), saveat=[1.0], solver="stiff", rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([sol[x][-1], sol[y][-1]], [np.exp(-1), 1 - np.exp(-1)], rtol=1e-8)


def test_a_full_regular_mass_matrix_is_that_of_the_system_solved_by_hand():
    size = 5
    draw = np.random.default_rng(3)
    mass = draw.normal(size=(size, size)) + size * np.eye(size)
    field = draw.normal(size=(size, size)) - 2 * np.eye(size)
    u = sm.unknowns(" ".join(f"u{i}" for i in range(size)))
    equations = [
        sm.Eq(left @ np.array([D(v) for v in u]), right @ np.array(u))
        for left, right in zip(mass, field, strict=True)
    ]
    system = sm.System(*equations, initial={v: i + 1.0 for i, v in enumerate(u)})
    exact = scipy.linalg.expm(np.linalg.solve(mass, field)) @ np.arange(1.0, size + 1)
    sol = sm.solve(system, t=(0, 1), saveat=[1.0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([sol[v][-1] for v in u], exact, rtol=1e-8)


# D(x) + a D(y) = -x and x = a y: (x + a y) e^(t/2) is constant
SHARED = sm.System(sm.Eq(D(x) + a * D(y), -x), sm.Eq(0, x - a * y), initial={x: 1, y: 1})


@pytest.mark.parametrize("solver", [sm.Rodas5P(), sm.Radau5(), sm.BDF(), sm.Rosenbrock23()])
def test_fewer_combinations_than_derivatives_and_a_constraint(solver):
    sol = sm.solve(
        SHARED, t=(0, 1), saveat=[1.0], values={a: 3}, solver=solver, rtol=1e-7, atol=1e-9,
        max_steps=20_000,
    )  # fmt: skip
    assert float(sol[x][-1]) == pytest.approx(2 * np.exp(-0.5), rel=5e-6)
    assert float(sol[y][-1]) == pytest.approx(2 * np.exp(-0.5) / 3, rel=5e-6)


@pytest.mark.parametrize("solver", [sm.Rodas5P(), sm.Radau5(), sm.BDF()])
def test_derivatives_go_through_a_mass_matrix_that_holds_a_parameter(solver):
    """``y(1) = (1 + a) / (2 a) e^-1/2``, by a."""

    def end(value):
        options = {"saveat": [1.0], "rtol": 1e-9, "atol": 1e-11, "solver": solver}
        return sm.solve(SHARED, t=(0, 1), values={a: value}, **options)[y][-1]

    assert float(jax.grad(end)(2.0)) == pytest.approx(-np.exp(-0.5) / 8, rel=1e-6)


def test_a_solver_follows_the_parameters_of_its_mass_matrix():
    model = sm.compile(SHARED)
    solver = choose_solver(None, 1e-6, model)
    other = with_mass_of(solver, model.replace(values={a: 5.0}))
    assert not np.allclose(solver.mass.dense(), other.mass.dense())
    np.testing.assert_array_equal(other.mass.dense(), model.replace(values={a: 5.0}).mass.dense())


def test_equations_of_second_order_share_a_derivative():
    """``w = x - y`` swings as ``cos t``, and ``x + y`` rests."""
    pull = x - y
    system = sm.System(
        sm.Eq(D(x, 2) - D(y, 2), -pull),
        sm.Eq(D(y, 2) - D(x, 2), pull + D(x) + D(y)),
        initial={x: 1, y: 0, D(x): 0.3, D(y): 0.3},
    )
    sol = sm.solve(system, t=(0, 2), saveat=[0.0, 2.0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(sol[D(x)][0], 0, atol=1e-12)
    np.testing.assert_allclose(sol[x][-1], (1 + np.cos(2)) / 2, rtol=1e-7)
    np.testing.assert_allclose(sol[D(x)][-1], -np.sin(2) / 2, rtol=1e-7)


def test_whole_arrays_share_a_derivative():
    u, v = sm.unknown("u", shape=4), sm.unknown("v", shape=4)
    system = sm.System(
        sm.Eq(D(u) - D(v), v - u), sm.Eq(D(v) - D(u), 2 * u - 2), initial={u: np.arange(4.0), v: 0}
    )
    sol = sm.solve(system, t=(0, 1), saveat=[1.0], rtol=1e-9, atol=1e-11)
    # the sum of both: u + v = 2; the difference decays
    left = np.arange(4.0) * np.exp(-1)
    np.testing.assert_allclose(sol[u][-1] - sol[v][-1], left, atol=1e-8)
    np.testing.assert_allclose(sol[u][-1] + sol[v][-1], 2, atol=1e-12)


def test_a_large_system_keeps_its_structure():
    """Pairs of unknowns, each with a shared rate, in a chain: 600 unknowns in blocks."""
    n = 300
    u, v = sm.unknown("u", shape=n), sm.unknown("v", shape=n)
    chain = sm.roll(u, 1) - 2 * u + sm.roll(u, -1)
    wave = np.cos(2 * np.pi * np.arange(n) / n)
    system = sm.System(
        sm.Eq(D(u) + D(v), chain), sm.Eq(0, u - v), initial={u: 2 * wave, v: np.zeros(n)}
    )
    sol = sm.solve(system, t=(0, 1), saveat=[1.0], rtol=1e-8, atol=1e-10, solver="stiff")
    assert "dense" not in sol.method
    rate = 1 - np.cos(2 * np.pi / n)  # of (u + v)' = 2 u'
    np.testing.assert_allclose(sol[u][-1], np.exp(-rate) * wave, atol=1e-7)


def test_charges_that_are_no_linear_function_are_unknowns_of_their_own():
    """``(q(x) - y)' = -y`` with ``q = x + x^3`` and ``x = y``, against the solved form."""
    whole = sm.System(
        sm.Eq(D(z) - D(y), -y), sm.Eq(0, z - x - x**3), sm.Eq(0, x - y), initial={x: 1, y: 1, z: 2}
    )
    apart = sm.System(sm.Eq((1 + 3 * x**2) * D(x) - D(x), -x), initial={x: 1})
    ends = [
        float(sm.solve(s, t=(0, 0.4), saveat=[0.4], rtol=1e-9, atol=1e-11)[x][-1])
        for s in (whole, apart)
    ]
    assert ends[0] == pytest.approx(np.sqrt(1 - 0.8 / 3), rel=1e-8)  # 3 x x' = -1
    assert ends[1] == pytest.approx(ends[0], rel=1e-7)


# -- what can be asked for -------------------------------------------------------------------------


def test_combinations_of_rates_can_be_asked_for_and_others_are_refused():
    sol = sm.solve(SHARED, t=(0, 1), saveat=[0.5])
    np.testing.assert_allclose(sol[D(x) + a * D(y)], -sol[x], rtol=1e-12)
    with pytest.raises(sm.DeclarationError, match=r"no equation gives D\([xy]\) alone"):
        sol[D(x)]


def test_the_mass_matrix_has_the_combinations_in_its_rows():
    model = sm.compile(SHARED)
    dense = np.asarray(model.mass.dense())
    row = dense[list(model.program.algebraic).index(False)]
    names = [s.name for s in model.states]
    assert row[names.index("y")] / row[names.index("x")] == pytest.approx(2.0)
    vector = jnp.asarray([3.0, 5.0])
    np.testing.assert_allclose(model.mass.apply(vector), dense @ vector)
    np.testing.assert_array_equal(dense[list(model.program.algebraic).index(True)], [0, 0])


def test_an_explicit_solver_is_refused():
    with pytest.raises(sm.DeclarationError, match="an explicit solver cannot take them"):
        sm.solve(SHARED, t=(0, 1), solver=dfx.Tsit5())
