"""Steady states: elliptic problems against closed forms, gradients, and what has no solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from sympy import cos, exp, pi, sin

import sciml as sm
from sciml import D, t

x, y = sm.coordinates("x y")
u, v, r = sm.unknown("u", x, y), sm.unknown("v", x), sm.unknown("r")
k = sm.parameter("k", 1.0)
UNIT = {"domain": {x: (0, 1)}}
HELD = [sm.Eq(v.at(x=0), 0), sm.Eq(v.at(x=1), 0)]
POISSON = sm.System(
    sm.Eq(sm.laplacian(u, x, y), -2 * pi**2 * sin(pi * x) * sin(pi * y)),
    domain={x: (0, 1), y: (0, 1)},
    boundary=[sm.Eq(u.at(x=end), 0) for end in (0, 1)] + [sm.Eq(u.at(y=end), 0) for end in (0, 1)],
)
BRATU = sm.System(sm.Eq(D(v, x, x) + k * exp(v), 0), boundary=HELD, **UNIT)


def manufactured(sol):
    one, two = np.meshgrid(sol.model.grid["x"], sol.model.grid["y"], indexing="ij")
    return np.sin(np.pi * one) * np.sin(np.pi * two)


@pytest.fixture(scope="module")
def plate():
    return sm.solve(POISSON, grid={x: 33, y: 33})


def test_a_linear_problem_takes_one_iteration(plate):
    assert int(plate.stats["num_steps"]) == 1
    assert "Newton's method, SuperLU of 961 x 961" in plate.method
    np.testing.assert_allclose(plate[u], manufactured(plate), atol=2e-6)


@pytest.mark.parametrize("order", [2, 4])
def test_poisson_converges_with_the_order_of_the_scheme(order):
    errors = []
    for count in (17, 33):
        sol = sm.solve(POISSON, grid={x: count, y: count}, order=order)
        errors.append(np.max(np.abs(sol[u] - manufactured(sol))))
    assert np.log2(errors[0] / errors[1]) > order - 0.3


def test_there_is_no_axis_of_time(plate):
    assert plate[u].shape == (33, 33)
    assert plate[u.at(x=0.5)].shape == (33,)
    slope = np.pi * np.cos(np.pi * plate.model.grid["x"])
    np.testing.assert_allclose(plate[D(u, x)][:, 16], slope, atol=1e-4)
    places = plate(x=0.3, y=[0.2, 0.5])[u]
    expected = np.sin(0.3 * np.pi) * np.sin(np.pi * np.array([0.2, 0.5]))
    np.testing.assert_allclose(places, expected, atol=1e-5)
    assert plate.to_xarray()["u"].dims == ("x", "y")
    assert "Steady state: 1 iteration" in str(plate)


def test_it_is_drawn_over_space(plate, tmp_path):
    assert plate.plot().get_xlabel() == "x"
    line = sm.solve(BRATU, grid={x: 17})
    assert len(line.plot(v).lines[0].get_xdata()) == 17
    assert len(line.plot(v, D(v, x))) == 2
    with pytest.raises(sm.DeclarationError, match="a steady state has no times"):
        line.slices(v)
    with pytest.raises(sm.DeclarationError, match="a steady state"):
        line(0.5)


def test_bratus_equation_has_its_lower_solution():
    angle = brentq(lambda a: a - np.sqrt(2) * np.cosh(a / 4), 0, 3)
    sol = sm.solve(BRATU, grid={x: 65})
    middle = (sol.model.grid["x"] - 0.5) * angle / 2
    np.testing.assert_allclose(sol[v], -2 * np.log(np.cosh(middle) / np.cosh(angle / 4)), atol=1e-8)


def test_beyond_the_fold_there_is_no_solution():
    with pytest.raises(
        sm.SolveError, match=r"no solution was found after \d+ iterations.* v still"
    ):
        sm.solve(BRATU, grid={x: 33}, values={k: 4.0})
    failed = sm.solve(BRATU, grid={x: 33}, values={k: 4.0}, throw=False)
    assert "1 failed" in str(failed)


def test_nonlinear_diffusion_and_a_nonlinear_condition():
    out = (1 + v.at(x=1)) * sm.at(D(v, x), x=1)
    system = sm.System(
        sm.Eq(D((1 + v) * D(v, x), x), 0),
        boundary=[sm.Eq(v.at(x=0), 0), sm.Eq(out, 3.5 - v.at(x=1) ** 2 - v.at(x=1) / 2)],
        initial={v: x},
        **UNIT,
    )
    sol = sm.solve(system, grid={x: 33})
    end = brentq(lambda a: a + a**2 / 2 - (3.5 - a**2 - a / 2), 0, 4)
    expected = np.sqrt(1 + 2 * (end + end**2 / 2) * sol.model.grid["x"]) - 1
    np.testing.assert_allclose(sol[v], expected, atol=1e-6)


def test_robin_and_neumann_conditions_in_closed_form():
    ends = [sm.Eq(sm.at(D(v, x), x=0), 1), sm.Eq(sm.at(D(v, x), x=1), -2 * v.at(x=1))]
    sol = sm.solve(sm.System(sm.Eq(D(v, x, x), -1), boundary=ends, **UNIT), grid={x: 17})
    nodes = sol.model.grid["x"]
    np.testing.assert_allclose(sol[v], 0.5 * (1 - nodes**2) + nodes - 1, atol=1e-10)


def test_slopes_alone_do_not_determine_a_solution():
    ends = [sm.Eq(sm.at(D(v, x), x=end), 0) for end in (0, 1)]
    system = sm.System(sm.Eq(D(v, x, x), cos(pi * x)), boundary=ends, **UNIT)
    with pytest.raises(sm.SolveError, match=r"do not determine v: .*singular"):
        sm.solve(system, grid={x: 33})
    fixed = system.replace(equations=[sm.Eq(D(v, x, x) - sm.integral(v, x), cos(pi * x))])
    sol = sm.solve(fixed, grid={x: 33})
    expected = -np.cos(np.pi * sol.model.grid["x"]) / np.pi**2
    np.testing.assert_allclose(sol[v], expected, atol=2e-6)


def test_gradients_by_parameters_and_coefficient_fields():
    model = sm.compile(BRATU, grid={x: 33})
    top = lambda value: sm.solve(model, values={k: value})[v][16]
    step = 1e-5
    slope = (top(1 + step) - top(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(top)(1.0), slope, rtol=1e-7)
    np.testing.assert_allclose(jax.jacfwd(top)(1.0), slope, rtol=1e-7)
    curved = (jax.grad(top)(1 + 1e-4) - jax.grad(top)(1 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.grad(jax.grad(top))(1.0), curved, rtol=1e-6)
    table = sm.parameter("table", np.linspace(1, 2, 33))
    layered = sm.System(sm.Eq(D(table * D(v, x), x), -1), boundary=HELD, **UNIT)
    model = sm.compile(layered, grid={x: 33})
    heat = lambda value: jnp.sum(sm.solve(model, values={table: value})[v] ** 2)
    start, moved = jnp.linspace(1, 2, 33), jnp.zeros(33).at[7].set(step)
    slope = (heat(start + moved) - heat(start - moved)) / (2 * step)
    np.testing.assert_allclose(jax.grad(heat)(start)[7], slope, rtol=1e-6)


def test_several_are_solved_at_once():
    model = sm.compile(BRATU, grid={x: 17})
    many = jax.vmap(lambda value: sm.solve(model, values={k: value})[v])(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(many[1], sm.solve(model)[v], rtol=1e-12)


def test_plain_unknowns_are_solved_for():
    sol = sm.solve(sm.System(sm.Eq(r**2, 2), initial={r: 1}))
    np.testing.assert_allclose(sol[r], np.sqrt(2), rtol=1e-15)
    assert sol.to_pandas().shape == (1, 1)


def test_the_steady_state_of_a_system_with_rates():
    w = sm.unknown("w", t, x)
    ends = [sm.Eq(w.at(x=0), 0), sm.Eq(w.at(x=1), 1)]
    heat = sm.System(sm.Eq(D(w, t), D(w, x, x) + 2), boundary=ends, initial={w: x}, **UNIT)
    sol = sm.steady(heat, grid={x: 17})
    nodes = sol.model.grid["x"]
    np.testing.assert_allclose(sol[w], nodes + nodes * (1 - nodes), atol=1e-10)
    with pytest.raises(sm.DeclarationError, match=r"has rates.*sm\.steady"):
        sm.solve(heat, grid={x: 17})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sm.steady(sm.System(sm.Eq(D(r), t - r))), "depends on time"),
        (lambda: sm.steady(sm.System(sm.Eq(D(r), -r + D(sm.brownian("W"))))), "noise or controls"),
        (lambda: sm.solve(BRATU, grid={x: 9}, dt0=0.1), "dt0 is for a solve over an interval"),
        (lambda: sm.steady(BRATU, grid={x: 9}, max_steps=0), "max_steps is a positive"),
    ],
)  # fmt: skip
def test_what_has_no_steady_state_is_refused(make, said):
    with pytest.raises(sm.DeclarationError, match=said):
        make()


def test_a_guess_where_the_equation_is_infinite_is_told():
    with pytest.raises(sm.SolveError, match="the equation of r is infinite or not a number"):
        sm.solve(sm.System(sm.Eq(1 / r, 2)))


def test_an_elliptic_field_beside_a_parabolic_one():
    a, b = sm.unknown("a", t, x), sm.unknown("b", t, x)
    system = sm.System(
        sm.Eq(D(a, t), D(a, x, x) + b),
        sm.Eq(D(b, x, x), a),
        boundary=[sm.Eq(q.at(x=end), 0) for q in (a, b) for end in (0, 1)],
        initial={a: sin(pi * x)},
        **UNIT,
    )
    decay = np.exp(-0.1 * (np.pi**2 + 1 / np.pi**2))
    sol = sm.solve(system, t=(0, 0.1), grid={x: 401}, saveat=[0.1])  # sparse initial values
    shape = np.sin(np.pi * sol.model.grid["x"]) * decay
    np.testing.assert_allclose(sol[a][0], shape, atol=5e-6)
    np.testing.assert_allclose(sol[b][0], -shape / np.pi**2, atol=1e-6)
