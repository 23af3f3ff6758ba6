"""Which solver is taken for fields where none is asked for: few steps, whatever the grid."""

import diffrax as dfx
import jax
import numpy as np
import pytest
from sympy import I, exp, pi, sin

import sciml as sm
from sciml import D, t
from sciml.solvers._diffusion import solver_for_diffusion

x, y = sm.coordinates("x y")
u, q = sm.unknown("u", t, x), sm.unknown("q", t, x, y)
psi = sm.unknown("psi", t, x, complex=True)
k = sm.parameter("k", 1.0)
COLD = [sm.Eq(u.at(x=e), 0) for e in (0, 1)]
RING = [sm.Eq(u.at(x=0), u.at(x=1))]


def line(equation, boundary=COLD, initial=None):
    start = initial or {u: sin(2 * pi * x)}
    return sm.System(equation, domain={x: (0, 1)}, boundary=boundary, initial=start)


HEAT = line(sm.Eq(D(u, t), k * D(u, x, x)))
PLATE = sm.System(
    sm.Eq(D(q, t), sm.laplacian(q, x, y)), domain={x: (0, 1), y: (0, 1)},
    boundary=[sm.Eq(q.at(**{s: e}), 0) for s in "xy" for e in (0, 1)],
    initial={q: sin(pi * x) * sin(pi * y)},
)  # fmt: skip


def chosen(system, grid, end, **options):
    return solver_for_diffusion(sm.compile(system, grid=grid, **options), 0.0, end, 1e-6)


def test_heat_on_a_fine_grid_takes_few_implicit_steps():
    sol = sm.solve(HEAT, t=(0, 0.1), grid={x: 256}, saveat=[0.1])
    assert sol.method.startswith("BDF, for what would take 98")
    assert "sparse LU" in sol.method
    assert sol.stats["num_steps"] < 60
    exact = np.exp(-0.4 * np.pi**2) * np.sin(2 * np.pi * sol.model.grid["x"])
    np.testing.assert_allclose(sol[u][-1], exact, atol=2e-6)


def test_heat_in_the_plane_takes_few_steps_without_linear_algebra():
    sol = sm.solve(PLATE, t=(0, 0.1), grid={x: 96, y: 96}, saveat=[0.1])
    assert sol.method.startswith("RKC, for what would take 27")
    assert sol.stats["num_steps"] < 270
    across = np.sin(np.pi * sol.model.grid["x"])
    exact = np.exp(-0.2 * np.pi**2) * np.outer(across, across)
    np.testing.assert_allclose(sol[q][-1], exact, atol=5e-6)


def test_the_steps_that_are_foretold_are_those_that_an_explicit_method_takes():
    _, foretold = chosen(HEAT, {x: 129}, 0.1)
    given = {"solver": dfx.Tsit5(), "max_steps": 10_000}
    sol = sm.solve(HEAT, t=(0, 0.1), grid={x: 129}, saveat=[0.1], **given)
    assert foretold < sol.stats["num_steps"] < 2 * foretold


@pytest.mark.parametrize(
    ("system", "grid", "end", "options"),
    [
        (HEAT, {x: 33}, 0.1, {}),
        (HEAT, {x: 256}, 1e-4, {}),
        (HEAT, {x: sm.stretched(40, (0, 1), by=2)}, 0.05, {}),
        (line(sm.Eq(D(u, t, t), D(u, x, x)), initial={u: sin(2 * pi * x), D(u, t): 0}), {x: 4096},
         1.0, {}),
        (line(sm.Eq(D(u, t), -D(u, x)), RING), {x: 4096}, 1.0, {}),
        (line(sm.Eq(D(u, t), -D(u, x) + 1e-4 * D(u, x, x))), {x: 1024}, 2.0, {}),
        (line(sm.Eq(D(u, t), D(u, x, x)), RING), {x: 256}, 0.1, {"scheme": "fourier"}),
        (sm.System(
            sm.Eq(I * D(psi, t), -D(psi, x, x)), domain={x: (0, 1)},
            boundary=[sm.Eq(psi.at(x=0), psi.at(x=1))], initial={psi: exp(2 * pi * I * x)},
        ), {x: 256}, 0.1, {}),
    ],
    ids=["coarse", "short", "stretched", "wave", "advection", "moved", "Fourier", "Schroedinger"],
)  # fmt: skip
def test_where_diffusion_does_not_hold_steps_back_they_stay_explicit(system, grid, end, options):
    assert chosen(system, grid, end, **options) == (None, 0.0)


@pytest.mark.parametrize(
    ("equation", "grid", "end"),
    [
        (sm.Eq(D(u, t), D((1 + u**2) * D(u, x), x)), {x: 256}, 0.1),
        (sm.Eq(D(u, t) + u * D(u, x), D(u, x, x) / 10), {x: 512}, 1.0),
        (sm.Eq(D(u, t), D(u, x, x)), {x: sm.stretched(128, (0, 1), by=10)}, 0.1),
        (sm.Eq(D(u, t), D(u, x, x)), {x: sm.Chebyshev(33)}, 0.1),
    ],
    ids=["nonlinear", "Burgers", "stretched", "Chebyshev"],
)
def test_where_it_does_they_are_implicit(equation, grid, end):
    solver, steps = chosen(line(equation), grid, end)
    assert solver == "stiff"
    assert steps > 2000


def test_a_value_given_in_the_solve_counts_and_what_was_asked_for_stays():
    model = sm.compile(HEAT, grid={x: 64})
    assert solver_for_diffusion(model, 0.0, 0.1, 1e-6) == (None, 0.0)
    assert solver_for_diffusion(model.replace(values={k: 100.0}), 0.0, 0.1, 1e-6)[0] == "stiff"
    sol = sm.solve(model, t=(0, 0.1), values={k: 5.0}, saveat=[0.1], adjoint="direct")
    assert sol.method == "Tsit5, as no solver was asked for"


def test_in_the_plane_tight_tolerances_stay_explicit():
    model = sm.compile(PLATE, grid={x: 96, y: 96})
    assert solver_for_diffusion(model, 0.0, 0.1, 1e-7) == (None, 0.0)
    assert isinstance(solver_for_diffusion(model, 0.0, 0.1, 1e-4)[0], sm.RKC)


def test_inside_of_jit_it_stays_explicit():
    model = sm.compile(HEAT, grid={x: 33})

    @jax.jit
    def end(value):
        sol = sm.solve(model, t=(0, 0.01), values={k: value}, saveat=[0.01], throw=False)
        return sol.ys[-1]

    assert np.all(np.isfinite(end(1.0)))


def test_a_front_between_few_nodes_is_taken_from_where_it_comes():
    """Until it forms, the solution is constant along lines: u(x + t f(x), t) = f(x)."""
    nu, start = 0.01 / np.pi, -sin(pi * x)
    burgers = sm.System(
        sm.Eq(D(u, t) + u * D(u, x), nu * D(u, x, x)), domain={x: (-1, 1)}, initial={u: start},
        boundary=[sm.Eq(u.at(x=-1), 0), sm.Eq(u.at(x=1), 0)],
    )  # fmt: skip
    sol = sm.solve(burgers, t=(0, 1), grid={x: 256}, saveat=[0.1, 1.0])
    assert sol.model.schemes[D(u, x)] == "WENO, order 5"
    assert np.max(np.abs(sol[u][1])) < 1.001
    nodes = np.asarray(sol.model.grid["x"])
    feet = nodes.copy()
    for _ in range(200):
        feet = nodes + 0.1 * np.sin(np.pi * feet)
    assert np.max(np.abs(sol[u][0] + np.sin(np.pi * feet))) < 5e-3  # of order nu


def test_a_front_that_the_grid_does_not_resolve_names_the_equation_and_a_cure():
    equation = sm.Eq(D(u, t) + u * D(u, x), D(u, x, x) / 1000)
    options = {"grid": {x: 64}, "saveat": [1.0], "max_steps": 1000}
    with pytest.raises(sm.SolveError) as caught:
        sm.solve(line(equation), t=(0, 1), scheme="central", **options)
    message = str(caught.value)
    assert str(equation) in message
    assert 'take more nodes of x, or scheme="weno"' in message
